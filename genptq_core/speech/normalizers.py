"""Text normalizers: what counts as the same text, and whether words or characters are counted.

Typography is folded before any normalizer: curly apostrophes and quotes, dashes, runs of dots,
spaces that do not break, invisible characters, and compatibility forms such as full-width letters
and ligatures are written as a keyboard would write them. ASCII text without runs of dots stays as
it is.

`whisper-english` writes numbers as digits and uses American spelling, which is fair to Whisper. But
if a set spells out its numbers it joins them ("five five" becomes "55"), and counts fewer words
than were said; for such sets `basic` is right: lower case, no punctuation. `basic` also drops
combining marks, which are vowels in Hindi, so that a wrong word counts as right; `multilingual`
keeps them. Texts written without spaces between words are counted in characters, by
`multilingual-characters`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Literal

from ..errors import SpeechError

WHISPER_ENGLISH = "whisper-english"
BASIC = "basic"
MULTILINGUAL = "multilingual"
MULTILINGUAL_CHARACTERS = "multilingual-characters"
NORMALIZERS = (WHISPER_ENGLISH, BASIC, MULTILINGUAL, MULTILINGUAL_CHARACTERS)

Unit = Literal["word", "character"]

_APOSTROPHES = (
    "\u2018\u2019\u201b\u02b9\u02bb\u02bc\u02bd\u02c8\u2032\u2035\u00b4\u055a\u05f3\ua78c"
)
_QUOTES = (
    "\u201a\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u2033\u2036\u301d\u301e\u301f\u05f4"
)
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u02d7\u2e3a\u2e3b"
_AS_TYPED = str.maketrans(
    {
        **dict.fromkeys(_APOSTROPHES, "'"),
        **dict.fromkeys(_QUOTES, '"'),
        **dict.fromkeys(_DASHES, "-"),
    }
)
_INVISIBLE = "\u034f\u115f\u1160\u180b\u180c\u180d\u180f\u3164\u20e3"  # besides category Cf
_TATWEEL = "\u0640"  # stretches Arabic words
_LONG = 10_000  # characters of a text in which a search from each bracket would take long
_DOTS = re.compile(r"\.{2,}")
_ASIDES = (re.compile(r"[<\[][^>\]]*[>\]]"), re.compile(r"\(([^)]+?)\)"))


@cache
def _normalizer(name: str) -> Callable[[str], str]:
    if name == WHISPER_ENGLISH:
        from whisper_normalizer.english import EnglishTextNormalizer

        return EnglishTextNormalizer()
    if name == BASIC:
        from whisper_normalizer.basic import BasicTextNormalizer

        return BasicTextNormalizer()
    if name == MULTILINGUAL:
        return _multilingual
    if name == MULTILINGUAL_CHARACTERS:
        return _characters
    raise SpeechError(
        f"There is no text normalizer {name!r}.", f"Known are {', '.join(NORMALIZERS)}."
    )


def normalize(text: str, normalizer: str = WHISPER_ENGLISH) -> str:
    """Text after normalization: what is counted, separated by spaces.

    Args:
        text: what was said or written.
        normalizer: "whisper-english"; "basic": lower case, brackets and punctuation gone;
            "multilingual": the same with combining marks kept; or "multilingual-characters": that,
            every character by itself.

    Raises:
        SpeechError: there is no such normalizer.
    """
    folded = fold(text)
    if len(folded) > _LONG:
        folded = _without_open_brackets(folded)
    return _normalizer(normalizer)(folded).strip()


def _without_open_brackets(text: str) -> str:
    """Text without brackets that are never closed: normalizers look for the end of each one."""
    for opening, closing in (("(", ")"), ("<[", ">]")):
        end = max(text.rfind(mark) for mark in closing) + 1
        text = text[:end] + text[end:].translate(dict.fromkeys(map(ord, opening), " "))
    return text


def unit_of(normalizer: str) -> Unit:
    """What is counted after a normalizer: "word" or "character".

    A character is a code point of the normalized text; spaces do not count.
    """
    return "character" if normalizer == MULTILINGUAL_CHARACTERS else "word"


def rate_of(normalizer: str) -> str:
    """What the error rate after a normalizer is called: "WER" or "CER"."""
    return "CER" if unit_of(normalizer) == "character" else "WER"


def fold(text: str) -> str:
    """Text with its typography written as on a keyboard; see the module."""
    if not text.isascii():
        composed = unicodedata.normalize("NFKC", text.translate(_AS_TYPED)).translate(_AS_TYPED)
        text = "".join(filter(_visible, composed))
    return _DOTS.sub(". ", text)


@cache
def _visible(character: str) -> bool:
    """Whether a character shows; joiners, marks of direction and soft hyphens do not."""
    return not (
        unicodedata.category(character) == "Cf"
        or character in _INVISIBLE
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )


def _multilingual(text: str) -> str:
    """Lower case, no asides in brackets, punctuation or symbols; digits of any script as 0-9."""
    for aside in _ASIDES:
        text = aside.sub("", text)
    text = unicodedata.normalize("NFKC", text.casefold().replace("i\u0307", "i"))
    kept = [" "]
    for character in text:
        kind = _kind(character)
        if kind == "N":
            kept.append(str(unicodedata.decimal(character, character)))
        elif kind == "L" or (kind == "M" and kept[-1] != " "):  # a mark needs a letter to stand on
            kept.append(character)
        elif kind:
            kept.append(" ")
    return " ".join("".join(kept).split())


@cache
def _kind(character: str) -> str:
    """ "L" for letters, "N" for numbers, "M" for marks, "S" for what separates, "" for nothing."""
    if character == _TATWEEL:
        return ""
    category = unicodedata.category(character)[0]
    return category if category in "LNM" else "S"


def _characters(text: str) -> str:
    """The same, with a space between all characters."""
    return " ".join(_multilingual(text).replace(" ", ""))
