"""Sets with long recordings: measured, cached, stored, and told of."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.cli.measured import long_speech, public_record
from genptq_core.loading import load_model
from genptq_core.measurement.long_figures import LongHeard, LongSpeech, summary
from genptq_core.measurement.measure import measure, transcribe_files
from genptq_core.measurement.shards import random_blocks
from genptq_core.measurement.store import SQLITE_NAME, load_measured, save_measured, ship
from genptq_core.models import SpeechModel
from genptq_core.options import grid_options
from genptq_core.profile import Profile, Settings
from genptq_core.profiling.compute import compute
from genptq_core.rounding import long_recordings
from genptq_core.speech.utterances import RATE, SpeechSet, load_manifest, speech_set, utterance
from genptq_core.speech.wer import BLOCK, LONG_TEXT, blockwise, count_errors


@pytest.fixture(scope="module")
def model(random_whisper: Path) -> SpeechModel:
    return load_model(str(random_whisper))


@pytest.fixture
def speech(tones: Path) -> SpeechSet:
    """Two short recordings, and one of 35 s between them."""
    short = load_manifest(tones, limit=2).utterances
    path = tones.parent / "long.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 35 * RATE), RATE)
    return speech_set("mixed", [short[0], utterance(path, "noise and noise"), short[1]])


@pytest.fixture
def profile(model: SpeechModel, speech: SpeechSet, tmp_path: Path) -> Profile:
    settings = Settings(grid_options((3,), (8,)), draws=1, rank=4)
    return compute(model, speech, tmp_path / "profile", settings).profile


def test_long_speech_is_calibrated_on_measured_and_kept(
    model: SpeechModel,
    speech: SpeechSet,
    profile: Profile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert profile.source.utterances == 4  # the long one in two windows
    chosen = bit_map(profile, profile.settings.options * len(profile.units))
    record = measure(model, profile, chosen, speech)
    (_, full, _heard) = record.transcripts[1]
    assert record.long is not None and record.long.recordings == 1
    assert record.long.seconds == 35 and record.long.windows > 1
    assert 0 < record.long.covered <= 1 and record.loss > 0
    assert full == transcribe_files(model, speech)[1]
    texts = transcribe_files(model, speech)
    assert texts == [text for _, text, _ in record.transcripts]
    monkeypatch.setattr(long_recordings, "_heard", None)  # all is in the cache
    again = measure(model, profile, chosen, speech)
    assert dataclasses.replace(again, seconds=record.seconds) == record
    save_measured(tmp_path, profile.digest, record)
    assert load_measured(tmp_path, profile.digest) == [record]
    ship(tmp_path, [record])
    assert json.loads((tmp_path / "measured.json").read_text())["version"] == 5
    assert (tmp_path / SQLITE_NAME).exists()
    said = long_speech(record)
    assert "One recording of more than 30 s (0.6 minutes)" in said and "windows loop" in said
    assert public_record(profile, record)["long_recordings"]["windows"] == record.long.windows


def test_a_long_recording_is_a_shard_of_its_own(speech: SpeechSet) -> None:
    ((short, long),) = random_blocks(speech)
    assert sorted(short) == [0, 2] and long == (1,)


def test_what_was_cut_off_goes_on(
    model: SpeechModel, speech: SpeechSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_recordings, "GROUP", 3)
    long = speech.utterances[1]
    every = list(long_recordings.groups(model, long, ["full"], states=True))
    assert [len(g.windows) for g in every[:-1]] == [3] * (len(every) - 1) and every[-1].ends
    assert all(len(g.states) == len(g.windows) for g in every)
    again = list(long_recordings.groups(model, long, ["full"], states=True))
    assert [g.windows for g in again] == [g.windows for g in every]
    other = long_recordings.groups(model, long, ["other"], states=True)
    assert next(other).windows == every[0].windows
    other.close()
    left = list(long_recordings.groups(model, long, ["other"], states=True))
    assert [w for g in left for w in g.windows] == [w for g in every for w in g.windows]


def test_figures_of_several_recordings() -> None:
    one = LongHeard(40.0, 3, 2, 1, 0, 20.0, 40.0)
    assert summary([one, one]) == LongSpeech(2, 80.0, 6, 4, 2, 0, 0.5, 1.0)
    assert summary([]) is None


def test_long_texts_are_resampled_in_blocks() -> None:
    words = [f"w{i}" for i in range(LONG_TEXT + 30)]
    wrong = [*words[:60], "x", *words[61:], "more", "more"]
    references, hypotheses = ["short one", " ".join(words)], ["short two", " ".join(wrong)]
    errors = count_errors(references, hypotheses, "basic")
    blocks = blockwise(errors, references, hypotheses, "basic")
    assert blocks.words.tolist() == [2, *[BLOCK] * 6, 30]
    assert blocks.errors.tolist() == [1, 0, 1, 0, 0, 0, 0, 2]
    assert blocks.errors.sum() == errors.errors.sum()
    few = count_errors(references[:1], hypotheses[:1], "basic")
    assert blockwise(few, references[:1], hypotheses[:1], "basic") is few
