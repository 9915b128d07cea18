"""Speech that ships: every recording whole, its source named, the folders of bounded size."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from genptq_core.speech.utterances import RATE, load_audio, load_manifest
from genptq_core.storage.locations import bundled_speech
from tests.conftest import ROOT

VOICES = bundled_speech() / "librispeech"


def rows(folder: Path) -> list[dict[str, object]]:
    text = (folder / "manifest.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("folder", sorted(bundled_speech().glob("*/")), ids=lambda p: p.name)
def test_every_recording_is_whole(folder: Path) -> None:
    if not (folder / "manifest.jsonl").is_file():
        pytest.skip("a folder without a manifest is none of ours")
    speech = load_manifest(folder / "manifest.jsonl")
    for utterance, row in zip(speech.utterances, rows(folder), strict=True):
        assert abs(len(load_audio(utterance)) / RATE - float(str(row["duration"]))) < 0.01
        assert utterance.text and utterance.speaker
    assert {u.audio for u in speech.utterances} == set((folder / "audio").iterdir())


def test_real_voices_are_many_small_and_named_with_their_licence() -> None:
    listed = rows(VOICES)
    speakers = [row["speaker"] for row in listed]
    assert 48 <= len(listed) <= 64 and len(set(speakers)) == 28
    assert sum(path.stat().st_size for path in VOICES.rglob("*") if path.is_file()) <= 9e6
    readme = " ".join((VOICES / "README.md").read_text(encoding="utf-8").split())
    for named in ("Panayotov", "CC BY 4.0", "openslr.org/31", f"{len(set(speakers))} people"):
        assert named in readme


@pytest.fixture(scope="module")
def rule() -> ModuleType:
    path = ROOT / "data" / "speech" / "make_librispeech.py"
    spec = importlib.util.spec_from_file_location("make_librispeech", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_rule_takes_the_two_shortest_of_each_speaker(rule: ModuleType) -> None:
    lengths = {"a": 2.9, "b": 5.0, "c": 4.0, "d": 4.0, "e": 3.0}
    split = [
        {"audio": f"x/{speaker}-{name}.flac", "duration": length, "speaker": speaker}
        for speaker in ("10", "9")
        for name, length in lengths.items()
    ]
    assert [Path(row["audio"]).stem for row in rule.chosen(split[::-1])] == [
        *("9-c", "9-e"),
        *("10-c", "10-e"),
    ]


def test_the_rule_gives_what_ships(rule: ModuleType, shared_speech: Path) -> None:
    picked = rule.chosen(rows_of_split(shared_speech))
    assert [Path(row["audio"]).name for row in picked] == [
        Path(str(row["audio"])).name for row in rows(VOICES)
    ]


def rows_of_split(shared: Path) -> list[dict[str, object]]:
    text = (shared / "librispeech-mini" / "dev.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
