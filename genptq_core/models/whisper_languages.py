"""Codes of the languages that a Whisper may know, in the order of its tokens. Without transformers.

A test compares them with the table of `transformers`.
"""

from __future__ import annotations

_CODES = """
en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr
bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn
yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw
su yue
"""

LANGUAGES = tuple(_CODES.split())


def code_of(name: str) -> str:
    """The code of a language that is called by a code or by its English name; else the name."""
    if name in LANGUAGES:
        return name
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    return str(TO_LANGUAGE_CODE.get(name, name))
