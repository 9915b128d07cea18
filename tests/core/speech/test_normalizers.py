"""Typography is no error, marks are, and ASCII text is normalized as it always was."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from genptq_core.errors import SpeechError
from genptq_core.speech.normalizers import (
    BASIC,
    MULTILINGUAL,
    MULTILINGUAL_CHARACTERS,
    NORMALIZERS,
    WHISPER_ENGLISH,
    fold,
    normalize,
    rate_of,
    unit_of,
)
from genptq_core.speech.wer import align, count_errors


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize(
    ("typeset", "typed"),
    [
        ("Don’t you think it’s ten o’clock?", "Don't you think it's ten o'clock?"),
        ("Don‘t, donʼt, don′t, don‛t, don´t, don＇t", "Don't, don't, don't, don't, don't, don't"),
        ("“Hello,” she said, ‘well’.", "\"Hello,\" she said, 'well'."),
        ("«Hello», „hello‟, ″hello″", '"Hello", "hello", "hello"'),
        ("Well... I see...", "Well, I see."),
        ("Hello… there…", "Hello there."),
        ("And‥ then .... nothing", "And then nothing"),
        ("twenty‑one well–known — words", "twenty-one well-known - words"),
        ("a−b ‒ c ― d", "a-b - c - d"),
        ("ten\u00a0thousand\u202fmen\u2009on\u3000foot\u2003now", "ten thousand men on foot now"),
        ("in\u00advis\u200bible\ufeff \u200ewords\u2060", "invisible words"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ　４２！", "Full width 42!"),
        ("the ﬁrst oﬃce ﬂoor", "the first office floor"),
        ("the heart ❤\ufe0f beats", "the heart beats"),
        ("cafe\u0301 open", "caf\u00e9 open"),
    ],
)
def test_typography_is_no_error(typeset: str, typed: str, normalizer: str) -> None:
    for reference, hypothesis in [(typeset, typed), (typed, typeset)]:
        counts = count_errors([reference], [hypothesis], normalizer)
        assert counts.errors[0] == 0 < counts.words[0], normalize(typeset, normalizer)


ascii_text = st.text(st.sampled_from(string.printable), max_size=60)


@settings(max_examples=300, deadline=None)
@given(ascii_text.filter(lambda text: ".." not in text))
def test_ascii_is_normalized_as_it_was(text: str) -> None:
    assert fold(text) == text
    assert normalize(text, BASIC) == BasicTextNormalizer()(text).strip()
    assert normalize(text, WHISPER_ENGLISH) == _english(text).strip()


_english = EnglishTextNormalizer()


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.sampled_from(NORMALIZERS))
def test_any_text_is_normalized_to_words(text: str, normalizer: str) -> None:
    normalized = normalize(text, normalizer)
    assert count_errors([text], [text], normalizer).errors[0] == 0
    assert count_errors([text], [text], normalizer).words[0] == len(normalized.split())
    if unit_of(normalizer) == "character":
        assert all(len(character) == 1 for character in normalized.split())


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "words"),
    [
        ("क्या आप ठीक हैं", "क्या आप ठीक है", 1, 4),  # one mark makes another word
        ("schön", "schon", 1, 1),
        ("Die Straße, 5 %", "die STRASSE 5", 0, 3),
        ("مَرحبا", "مُرحبا", 1, 1),
        ("مرحـــبا بكم", "مرحبا بكم", 0, 2),  # stretched
        ("ΣΟΦΟΣ", "σοφος", 0, 1),
        ("İstanbul", "istanbul", 0, 1),
        ("कमरा २१", "कमरा 21", 0, 2),
        ("안녕하세요 여러분", "안녕하세요 여러분.", 0, 2),
        ("[шум] привет (смех) мир", "Привет, мир!", 0, 2),
    ],
)
def test_words_of_other_languages(reference: str, hypothesis: str, errors: int, words: int) -> None:
    counts = count_errors([reference], [hypothesis], MULTILINGUAL)
    assert (counts.errors[0], counts.words[0]) == (errors, words)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "characters"),
    [
        ("今天天气很好", "今天天气真好", 1, 6),
        ("今天天气很好。", "今天 天气 很好", 0, 6),  # spaces are no characters
        ("東京タワー、２０２４", "東京ﾀﾜｰ 2024", 0, 9),
        ("สวัสดีครับ", "สวัสดีคับ", 1, 10),
        ("ສະບາຍດີ", "ສະບາຍດີ", 0, 7),
        ("用 iPhone 拍", "用iphone拍", 0, 8),
        ("the cat", "the cut", 1, 6),
    ],
)
def test_characters(reference: str, hypothesis: str, errors: int, characters: int) -> None:
    counts = count_errors([reference], [hypothesis], MULTILINGUAL_CHARACTERS)
    assert (counts.errors[0], counts.words[0]) == (errors, characters)


def test_characters_are_aligned_without_spaces() -> None:
    spans = align("今天天气很好", "今天天气真好", MULTILINGUAL_CHARACTERS)
    assert [(s.kind, s.reference, s.hypothesis) for s in spans] == [
        ("equal", "今天天气", "今天天气"),
        ("substitute", "很", "真"),
        ("equal", "好", "好"),
    ]


def test_what_is_counted() -> None:
    assert [unit_of(name) for name in NORMALIZERS] == ["word", "word", "word", "character"]
    assert [rate_of(name) for name in NORMALIZERS] == ["WER", "WER", "WER", "CER"]
    with pytest.raises(SpeechError, match="no text normalizer 'german'"):
        normalize("ja", "german")
