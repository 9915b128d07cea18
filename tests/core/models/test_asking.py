"""Languages and tasks: in the prompt, in keys, records, profiles and exports."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.cli.main import main
from genptq_core.errors import ModelError
from genptq_core.export.export import export
from genptq_core.loading import load_model, load_model_of
from genptq_core.measurement.measure import measure, transcribe_files, usual_normalizer
from genptq_core.measurement.shards import random_blocks, shard_key
from genptq_core.measurement.store import load_measured, save_measured, ship
from genptq_core.models.asking import asked_of, in_language, with_language
from genptq_core.models.decoding import FALLBACK, with_decoding
from genptq_core.models.whisper_asking import may_be_asked
from genptq_core.options import grid_options
from genptq_core.profile import Settings, load_profile
from genptq_core.profiling.compute import compute
from genptq_core.rounding.baseline import baseline
from genptq_core.speech.utterances import SpeechSet, load_audio, load_manifest, speech_set
from genptq_core.storage.locations import bundled_profiles
from genptq_core.workers.local_copies import identity_of, local_model
from tests.core.tiny_models import PARAKEET, random_ctc

CODES = ("en", "de", "ko", "ja", "hi")


@pytest.fixture(scope="module")
def folder(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny multilingual Whisper."""
    made = tmp_path_factory.mktemp("models") / "multilingual"
    shutil.copytree(random_whisper, made)
    tokens = {
        t["content"]: t["id"]
        for t in json.loads((made / "tokenizer.json").read_text())["added_tokens"]
    }
    path = made / "generation_config.json"
    said = json.loads(path.read_text())
    said |= {
        "is_multilingual": True,
        "lang_to_id": {f"<|{code}|>": tokens[f"<|{code}|>"] for code in CODES},
        "task_to_id": {task: tokens[f"<|{task}|>"] for task in ("transcribe", "translate")},
    }
    path.write_text(json.dumps(said))
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load_model(str(folder))


@pytest.fixture
def speech(tones: Path) -> SpeechSet:
    """Six tones, of rows in German, in English and in none."""
    rows = load_manifest(tones).utterances
    languages = ("de", "", "en", "de", "", "en")
    return speech_set(
        "mixed", [dataclasses.replace(u, language=c) for u, c in zip(rows, languages, strict=True)]
    )


def test_what_is_asked_for_is_in_the_prompt(model: Any) -> None:
    german, same = with_language(model, "German"), with_language(model, "en", "transcribe")
    assert german.prompt[1] != model.prompt[1] and german.prompt[2:] == model.prompt[2:]
    assert with_language(model, "", "translate").prompt[2] != model.prompt[2]
    assert "de transcribe" in german.decoding and asked_of(german) == ("de", "")
    assert german.module is model.module and german.digest == model.digest
    assert same.text_digest == model.text_digest != german.text_digest
    assert with_language(german, "de").text_digest == german.text_digest
    assert with_language(model) is model
    guarded = with_language(with_decoding(model, FALLBACK), "de")
    assert "again at temperature" in guarded.decoding
    assert guarded.text_digest == with_decoding(german, FALLBACK).text_digest
    assert guarded.text_digest != german.text_digest


def test_how_its_errors_are_counted(model: Any) -> None:
    counted = {code: with_language(model, code).normalizer for code in CODES}
    assert counted["en"] == "whisper-english" and counted["de"] == counted["hi"] == "multilingual"
    assert counted["ko"] == counted["ja"] == "multilingual-characters"
    assert with_language(model, "ja", "translate").normalizer == "whisper-english"


@pytest.mark.parametrize(
    ("language", "task", "said"),
    [
        ("tlh", "", "does not know the language 'tlh'; it knows de, en, hi, ja, ko"),
        ("fr", "", "does not know the language 'fr'"),
        ("", "sing", "does not know the task 'sing'"),
    ],
)
def test_what_it_does_not_know_is_refused(model: Any, language: str, task: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        with_language(model, language, task)


def test_others_refuse_it_by_name(random_whisper: Path, tmp_path: Path, speech: SpeechSet) -> None:
    english = load_model(str(random_whisper))
    assert with_language(english, "en", "transcribe").text_digest == english.text_digest
    for asked in (("de", ""), ("", "translate")):
        with pytest.raises(ModelError, match=r"knows only English, and (de|en) trans"):
            with_language(english, *asked)
    with pytest.raises(ModelError, match="knows only English, and de transcribe is asked for"):
        transcribe_files(english, speech)
    ctc = load_model(str(random_ctc(tmp_path / "ctc", PARAKEET)))
    assert len(transcribe_files(ctc, speech)) == 6  # it writes what it was trained on
    assert usual_normalizer(ctc, speech) == "multilingual"
    with pytest.raises(ModelError, match=r"\(parakeet_ctc\) cannot be asked for a language"):
        with_language(ctc, "de")


def test_rows_are_heard_in_their_languages(model: Any, speech: SpeechSet) -> None:
    expected = []
    for one in speech.utterances:
        asked: Any = with_language(model, one.language)
        with torch.no_grad():
            expected.append(asked.transcribe(asked.encode([load_audio(one)]))[0].text)
    assert transcribe_files(model, speech) == expected
    written, _ = baseline(model, speech.utterances)
    assert [t.text for t in written] == expected
    assert in_language(model, "en") is model and in_language(model, "de") is in_language(
        model, "de"
    )
    forced = with_language(model, "de")
    assert in_language(forced, "en") is forced
    keys = {shard_key(one, "w", speech.utterances[:1]) for one in (model, forced)}
    assert (
        len(keys) == 1 != len({shard_key(m, "w", speech.utterances[1:2]) for m in (model, forced)})
    )
    (block,) = random_blocks(speech)
    assert all(len({speech.utterances[i].language for i in shard}) == 1 for shard in block)
    assert usual_normalizer(model, speech) == "multilingual"


def test_profiles_records_and_exports_say_it(model: Any, speech: SpeechSet, tmp_path: Path) -> None:
    settings = Settings(grid_options((4,), (8,)), draws=1, rank=4)
    few = speech_set("few", list(speech.utterances[:2]))
    asked, folder = with_language(model, "", "translate"), tmp_path / "profile"
    profile = compute(asked, few, folder, settings).profile
    source = load_profile(folder).source
    assert (source.language, source.task) == ("", "translate")
    assert asked_of(load_model_of(profile)) == ("", "translate")
    assert asked_of(load_model_of(profile, asked=("de", ""))) == ("de", "translate")
    chosen = bit_map(profile, [4] * len(profile.units))
    records = [measure(m, profile, chosen, few) for m in (asked, with_language(model, "de"))]
    assert [r.asked for r in records] == ["de, en translate", "de transcribe"]
    assert len({r.set_key for r in records}) == 2 and all(r.asked in r.set_key for r in records)
    for record in records:
        save_measured(folder, profile.digest, record)
    assert {r.set_key for r in load_measured(folder, profile.digest)} == {
        r.set_key for r in records
    }
    ship(tmp_path, records)
    assert json.loads((tmp_path / "measured.json").read_text())["version"] == 5
    out = export(profile, chosen, "integer", tmp_path / "model").folder
    exported: Any = load_model(str(out))
    assert exported.prompt == asked.prompt != model.prompt


def test_workers_ask_the_same(folder: Path, model: Any) -> None:
    local_model.cache_clear()
    asked = with_language(model, "de", "translate")
    found = local_model(str(folder), identity_of(asked), "cpu", asked_of(asked))
    assert identity_of(found) == identity_of(asked)
    local_model.cache_clear()


def test_the_command_line_asks(
    folder: Path, tones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = str(tones.parent / "0.wav")
    texts = {}
    for flags in ((), ("--language", "German"), ("--task", "translate")):
        assert main(["transcribe", "--model", str(folder), audio, *flags, "--json"]) == 0
        texts[flags] = capsys.readouterr().out
    assert len(set(texts.values())) > 1
    assert main(["transcribe", "--model", str(folder), audio, "--language", "xyzzy"]) == 2
    assert "'xyzzy' is no language that is known" in capsys.readouterr().err


def test_a_profile_tells_whether_its_model_may_be_asked() -> None:
    expected = {"whisper-base": True, "whisper-tiny.en": False, "conformer-an4": False}
    told = {name: may_be_asked(load_profile(bundled_profiles() / name)) for name in expected}
    assert told == expected
