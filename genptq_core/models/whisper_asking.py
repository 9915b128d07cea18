"""What a Whisper can be asked for: the tokens of languages and tasks, and prompts made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..errors import ModelError
from ..profile import Profile
from ..speech.languages import LANGUAGES

TRANSCRIBE, TRANSLATE = "transcribe", "translate"
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_EMBEDDING = "embed_tokens.weight"  # the end of the name of the parameter with a row for each token
_ENGLISH = 51_864  # tokens of OpenAI's Whispers that know only English

_Settings = TypeVar("_Settings", bound=Any)


@dataclass(frozen=True)
class Known:
    """What a Whisper can be asked for.

    Attributes:
        languages: tokens by code; none of a model that knows only English.
        tasks: tokens by name.
    """

    languages: Mapping[str, int]
    tasks: Mapping[str, int]


def may_be_asked(profile: Profile) -> bool:
    """Whether a profile's model may know several languages, as far as can be told without it."""
    rows = max((u.stop for u in profile.units if u.parameter.endswith(_EMBEDDING)), default=0)
    return profile.source.family == "whisper" and rows != _ENGLISH


def known_in(vocabulary: Mapping[str, int], prompt: Sequence[int]) -> Known:
    """What a Whisper can be asked for, by its tokenizer and a prompt of its own."""
    controls = control_tokens(vocabulary, prompt[0], prompt[-1])
    return Known(languages_in(controls), tasks_in(controls))


def asked_prompt(
    name: str, prompt: Sequence[int], known: Known, language: str, task: str
) -> tuple[int, ...]:
    """A prompt with another language or task.

    Args:
        name: the model's, for messages.
        prompt: tokens that open every decoding: start, (language, task), no timestamps.
        known: what the model can be asked for.
        language: a code; "" for the same one.
        task: "transcribe" or "translate"; "" for the same one.

    Raises:
        ModelError: it does not know the language or the task.
    """
    if len(prompt) != 4:
        if language in ("", "en") and task in ("", TRANSCRIBE):
            return tuple(prompt)
        raise ModelError(
            f"{name} knows only English, and {language or 'en'} {task or TRANSCRIBE} is asked for.",
            "Take a multilingual Whisper, such as whisper-base.",
        )
    start, *middle, silent = prompt
    for place, (what, value, tokens) in enumerate(
        (("language", language, known.languages), ("task", task, known.tasks))
    ):
        if value and value not in tokens:
            raise ModelError(
                f"{name} does not know the {what} {value[:40]!r}; it knows "
                f"{', '.join(sorted(tokens)[:100]) or 'none'}."
            )
        middle[place] = tokens[value] if value else middle[place]
    return (start, *middle, silent)


def asked_for(name: str, settings: _Settings, known: Known, language: str, task: str) -> _Settings:
    """How a Whisper decodes (`WhisperSettings`), with another language or task; see
    `asked_prompt`."""
    prompt = asked_prompt(name, settings.prompt, known, language, task)
    if prompt == settings.prompt:
        return settings
    changed: _Settings = replace(
        settings,
        prompt=prompt,
        language=language or settings.language,
        task=task or settings.task,
    )
    return changed


def control_tokens(own: Mapping[str, int], start: int, silent: int) -> Mapping[str, int]:
    """Tokens of languages and tasks: as the tokenizer has them, if it is of this vocabulary.

    Otherwise as OpenAI laid them out: start, the languages, translate, transcribe, three more, no
    timestamps.
    """
    if (own.get("<|startoftranscript|>"), own.get("<|notimestamps|>")) == (start, silent):
        return own
    count = silent - start - 6
    if not 0 < count <= len(LANGUAGES):
        return {}
    names = [*LANGUAGES[:count], TRANSLATE, TRANSCRIBE]
    return {f"<|{name}|>": start + 1 + index for index, name in enumerate(names)}


def languages_in(said: Mapping[str, int], every: bool = False) -> dict[str, int]:
    """Tokens by code, of what looks like languages; those that are known, or every one."""
    found = {m[1]: i for token, i in said.items() if (m := _LANGUAGE.fullmatch(token))}
    return {code: i for code, i in found.items() if every or code in LANGUAGES}


def tasks_in(controls: Mapping[str, int]) -> dict[str, int]:
    written = {task: f"<|{task}|>" for task in (TRANSCRIBE, TRANSLATE)}
    return {task: controls[token] for task, token in written.items() if token in controls}
