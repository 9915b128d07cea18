"""Which normalizer fits texts, by the letters that they are written in."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from ..errors import SpeechError
from .languages import IN_CHARACTERS
from .normalizers import (
    BASIC,
    MULTILINGUAL,
    MULTILINGUAL_CHARACTERS,
    WHISPER_ENGLISH,
    normalize,
    unit_of,
)

LONGEST = 300_000
"""Characters that a reference may have: five hours of speech, and few enough to be aligned in a
minute."""

_UNSPACED = (  # blocks of Chinese, Japanese, Thai, Lao, Burmese and Khmer
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3038, 0x312F),
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0x1B000, 0x1B16F),
    (0x20000, 0x323AF),
)
_FEW = 0.01  # of the letters: loan words and slips
_FOREIGN = 0.05  # of the letters in other alphabets, or of the words with accents
_HALF = 0.5
_NAMES = 4  # words with accents that even a short English text may have


@dataclass(frozen=True)
class _Writing:
    """Texts in numbers.

    Attributes:
        letters: letters in all.
        other: letters that are not Latin.
        marks: combining marks that no letter has in itself.
        unspaced: letters of scripts that are written without spaces.
        hangul: letters of Korean.
        words: runs of all other letters and numbers.
        accented: those with a Latin letter that is not ASCII.
    """

    letters: int
    other: int
    marks: int
    unspaced: int
    hangul: int
    words: int
    accented: int

    @staticmethod
    def of(texts: Sequence[str]) -> _Writing:
        """That of texts."""
        found: Counter[str] = Counter()
        words = accented = 0
        for text in texts:
            plain = normalize(text, MULTILINGUAL)
            found.update(plain)
            runs = "".join(" " if _is_unspaced(c) else c for c in plain).split()
            words += len(runs)
            accented += sum(any(map(_is_accented, run)) for run in runs if not run.isascii())
        kinds: Counter[str] = Counter()
        for character, count in found.items():
            category = unicodedata.category(character)[0]
            kinds[category] += count
            if category == "L":
                kinds["other"] += count * (not _is_latin(character))
                kinds["unspaced"] += count * _is_unspaced(character)
                kinds["hangul"] += count * unicodedata.name(character, "").startswith("HANGUL")
        return _Writing(
            letters=kinds["L"],
            other=kinds["other"],
            marks=kinds["M"],
            unspaced=kinds["unspaced"],
            hangul=kinds["hangul"],
            words=words,
            accented=accented,
        )

    def misfit(self, normalizer: str) -> str:
        """Why a normalizer does not fit, as the end of a sentence; "" if it fits."""
        if unit_of(normalizer) == "character" or not self.letters:
            return ""
        if self.unspaced > self.words:
            return "most of which are written without spaces between words"
        if normalizer in (WHISPER_ENGLISH, BASIC) and self.marks > _FEW * self.letters:
            return "whose combining marks it drops"
        if normalizer == WHISPER_ENGLISH:
            if self.other > _FOREIGN * self.letters:
                return f"{self.other / self.letters:.0%} of whose letters are not Latin"
            if self.accented > max(_NAMES, _FOREIGN * self.words):
                return f"{self.accented} of whose words have accents, which it drops"
        return ""


def normalizer_for(
    references: Sequence[str], own: str, wanted: str = "", where: str = "the reference texts"
) -> str:
    """The normalizer with which to count errors against references.

    Args:
        references: what was said.
        own: the model's normalizer, taken if it fits; otherwise one that does is taken. Texts in
            Korean are counted in characters.
        wanted: the one that was asked for; "" for none.
        where: what holds the references, for messages.

    Raises:
        SpeechError: there is no normalizer `wanted`, it does not fit, or a text is too long.
    """
    for text in references:
        if len(text) > LONGEST:
            raise SpeechError(
                f"A text among {where} has {len(text):,} characters: {text[:40]!r}...",
                f"At most {LONGEST:,} can be said in one recording; divide it.",
            )
    normalize("", wanted or own)  # raises if there is none
    writing = _Writing.of(references)
    if not wanted and writing.hangul > _HALF * writing.letters:  # as is usual, though words fit
        return MULTILINGUAL_CHARACTERS
    fault = writing.misfit(wanted or own)
    if not fault:
        return wanted or own
    fitting = MULTILINGUAL_CHARACTERS if writing.misfit(MULTILINGUAL) else MULTILINGUAL
    if wanted:
        raise SpeechError(
            f"The normalizer {wanted!r} does not fit {where}, {fault}.",
            f"Use {fitting!r}.",
        )
    return fitting


def unlike(language: str, texts: Sequence[str]) -> str:
    """What is odd about texts for a language, as a sentence; "" if nothing is.

    Only what their letters tell: texts in Latin letters for a language that is written without
    them, or the other way round for English.
    """
    writing = _Writing.of(texts)
    if not writing.letters or not language:
        return ""
    other = writing.other / writing.letters
    if language in IN_CHARACTERS and other < _HALF:
        return f"{language} is asked for, and {1 - other:.0%} of the texts' letters are Latin."
    if language == "en" and other > _HALF:
        return f"en is asked for, and {other:.0%} of the texts' letters are not Latin."
    return ""


@cache
def _is_latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")


def _is_accented(letter: str) -> bool:
    return not letter.isascii() and _is_latin(letter)


@cache
def _is_unspaced(character: str) -> bool:
    """Whether a character belongs to a script that is written without spaces."""
    code = ord(character)
    return any(first <= code <= last for first, last in _UNSPACED)
