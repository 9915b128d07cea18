"""Languages: codes and names as people write them, in rows of any layout, and how they count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.errors import SpeechError
from genptq_core.speech.languages import IN_CHARACTERS, LANGUAGES, code_of, name_of, normalizer_in
from genptq_core.speech.normalizers import rate_of
from genptq_core.speech.sources import load_speech
from genptq_core.speech.utterances import speech_set, utterance
from genptq_core.speech.writing import unlike


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("de", "de"),
        ("German", "de"),
        ("deu", "de"),
        ("<|de|>", "de"),
        (" DE-at ", "de"),
        ("pt_br", "pt"),
        ("zh-CN", "zh"),
        ("cmn_hans_cn", "zh"),
        ("zh-yue", "yue"),
        ("yue_hant_hk", "yue"),
        ("nb-NO", "no"),
        ("nn-NO", "nn"),
        ("fil_ph", "tl"),
        ("iw", "he"),
        ("jv", "jw"),
        ("Haitian Creole", "ht"),
        ("Burmese", "my"),
        ("eo", "eo"),  # what is not known stays, and a model refuses it by name
        ("Klingon", "klingon"),
        ("german-ish", "german-ish"),
        ("", ""),
    ],
)
def test_codes_and_names(written: str, code: str) -> None:
    assert code_of(written) == code


@given(st.text(max_size=20))
def test_any_text_has_a_code(text: str) -> None:
    code = code_of(text)
    assert code_of(code) == code
    assert code in LANGUAGES or code == text.strip().casefold()


@given(st.sampled_from(LANGUAGES), st.sampled_from(["", "-XX", "_yy", "-Latn-zz"]), st.booleans())
def test_regions_scripts_and_case_do_not_matter(code: str, after: str, upper: bool) -> None:
    written = (code.upper() if upper else code) + after
    assert code_of(written) == code == code_of(name_of(code))


def test_how_they_are_counted() -> None:
    assert normalizer_in("") == normalizer_in("en") == "basic"
    assert normalizer_in("en", "whisper-english") == "whisper-english"
    rates = {code: rate_of(normalizer_in(code)) for code in LANGUAGES}
    assert {code for code, rate in rates.items() if rate == "CER"} == IN_CHARACTERS
    assert normalizer_in("hi") == normalizer_in("eo") == "multilingual"


def test_texts_that_are_unlike_their_language() -> None:
    assert unlike("ja", ["hello there"]) == (
        "ja is asked for, and 100% of the texts' letters are Latin."
    )
    assert "not Latin" in unlike("en", ["今日は"])
    for language, text in (
        ("ja", "今日は"),
        ("en", "hello"),
        ("de", "今日は"),
        ("ko", ""),
        ("", "今"),
    ):
        assert unlike(language, [text]) == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(1600, 0.1), 16_000)
    return tmp_path


def spoken(source: Path | str) -> list[str]:
    return [one.language for one in load_speech(source).utterances]


def test_rows_say_their_language(folder: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"audio": "a.wav", "lang": "German"},
        {"audio": "b.wav", "locale": "pt-BR"},
        {"audio": "c.wav", "language": None},
    ]
    path = folder / "dev.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert spoken(path) == ["de", "pt", ""]
    (folder / "dev.tsv").write_text("path\tlocale\tspoken\na.wav\tsv-SE\tfi\nb.wav\t\tfi\n")
    assert spoken(folder / "dev.tsv") == ["sv", ""]
    assert spoken(f"{folder / 'dev.tsv'}?language=spoken") == ["fi", "fi"]
    (folder / "wav.scp").write_text("x a.wav\ny b.wav\n")
    (folder / "utt2lang").write_text("x eng\n")
    assert spoken(folder / "wav.scp") == ["en", ""]


@pytest.mark.parametrize("value", [7, ["de"], {"de": 1}, "x" * 50, "d\x1be"])
def test_what_is_no_language_is_refused_with_its_line(folder: Path, value: Any) -> None:
    path = folder / "dev.jsonl"
    path.write_text(json.dumps({"audio": "a.wav", "language": value}))
    with pytest.raises(SpeechError, match=r'line 1 has a "language" that is n'):
        load_speech(path)


def test_english_adds_nothing_to_a_set(folder: Path) -> None:
    digests = {
        language: speech_set("x", [utterance(folder / "a.wav", "said", "", language)]).digest
        for language in ("", "en", "de", "fr")
    }
    assert digests[""] == digests["en"] and len(set(digests.values())) == 3
