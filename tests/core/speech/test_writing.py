"""Which normalizer fits which texts, and that one that does not is refused by name."""

from __future__ import annotations

import pytest

from genptq_core.errors import SpeechError
from genptq_core.speech.normalizers import (
    BASIC,
    MULTILINGUAL,
    MULTILINGUAL_CHARACTERS,
    WHISPER_ENGLISH,
)
from genptq_core.speech.writing import LONGEST, normalizer_for

ENGLISH = ["The café is open.", "Beyoncé sang, naïve as ever."]
GERMAN = ["Die Bäckerei öffnet früh, größere Brötchen gibt es später für müde Gäste."]
RUSSIAN = ["Йод и ёлка", "Привет, мир"]
HINDI = ["क्या आप ठीक हैं"]
KOREAN = ["안녕하세요 여러분"]
UNSPACED = {
    "Chinese": ["今天天气很好", "我昨天用iPhone拍照"],
    "Japanese": ["カフェで会いましょう", "ありがとう"],
    "Thai": ["สวัสดีครับ"],
    "Lao": ["ສະບາຍດີ"],
    "Khmer": ["សួស្តីអ្នកទាំងអស់គ្នា"],
    "Burmese": ["မင်္ဂလာပါ"],
}


@pytest.mark.parametrize(
    ("texts", "own", "expected"),
    [
        (ENGLISH, WHISPER_ENGLISH, WHISPER_ENGLISH),
        (ENGLISH, BASIC, BASIC),
        (["", "[noise]"], WHISPER_ENGLISH, WHISPER_ENGLISH),
        (GERMAN, WHISPER_ENGLISH, MULTILINGUAL),
        (GERMAN, BASIC, BASIC),
        (RUSSIAN, WHISPER_ENGLISH, MULTILINGUAL),
        (RUSSIAN, BASIC, BASIC),
        (KOREAN, WHISPER_ENGLISH, MULTILINGUAL_CHARACTERS),
        (KOREAN, BASIC, MULTILINGUAL_CHARACTERS),
        (HINDI, WHISPER_ENGLISH, MULTILINGUAL),
        (HINDI, BASIC, MULTILINGUAL),
        *((texts, BASIC, MULTILINGUAL_CHARACTERS) for texts in UNSPACED.values()),
        *((texts, MULTILINGUAL, MULTILINGUAL_CHARACTERS) for texts in UNSPACED.values()),
        ([*ENGLISH, "今天"], MULTILINGUAL, MULTILINGUAL),  # a few words of it
    ],
)
def test_the_model_s_own_is_taken_where_it_fits(texts: list[str], own: str, expected: str) -> None:
    assert normalizer_for(texts, own) == expected
    assert normalizer_for(texts, own, expected) == expected


@pytest.mark.parametrize(
    ("texts", "wanted", "message", "fitting"),
    [
        (HINDI, BASIC, "combining marks", MULTILINGUAL),
        (RUSSIAN, WHISPER_ENGLISH, "100% of whose letters are not Latin", MULTILINGUAL),
        (GERMAN, WHISPER_ENGLISH, "words have accents", MULTILINGUAL),
        *(
            (texts, name, "without spaces", MULTILINGUAL_CHARACTERS)
            for texts in UNSPACED.values()
            for name in (BASIC, WHISPER_ENGLISH, MULTILINGUAL)
        ),
    ],
)
def test_one_that_does_not_fit_is_refused(
    texts: list[str], wanted: str, message: str, fitting: str
) -> None:
    with pytest.raises(SpeechError, match=message) as caught:
        normalizer_for(texts, BASIC, wanted, "the texts of talks")
    assert "the texts of talks" in caught.value.message
    assert repr(fitting) in caught.value.hint
    assert normalizer_for(texts, BASIC, fitting) == fitting


def test_characters_may_be_counted_in_any_language() -> None:
    assert normalizer_for(ENGLISH, BASIC, MULTILINGUAL_CHARACTERS) == MULTILINGUAL_CHARACTERS


def test_unknown_names_and_endless_texts_are_refused() -> None:
    with pytest.raises(SpeechError, match="no text normalizer 'german'"):
        normalizer_for(ENGLISH, BASIC, "german")
    with pytest.raises(SpeechError, match="300,001 characters"):
        normalizer_for(["(" * (LONGEST + 1)], BASIC)
    for mark in "(<[":  # and quickly
        assert normalizer_for([mark * LONGEST], BASIC) == BASIC


def test_korean_is_counted_in_characters_unless_words_are_asked_for() -> None:
    texts = ["오늘 날씨가 좋네요", "네"]
    assert normalizer_for(texts, BASIC) == MULTILINGUAL_CHARACTERS
    assert normalizer_for(texts, BASIC, MULTILINGUAL) == MULTILINGUAL
    assert normalizer_for([*ENGLISH, "네"], WHISPER_ENGLISH) == WHISPER_ENGLISH
