"""Manifests and audio: what is accepted, and the error messages for everything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.errors import GenPTQError, SpeechError
from genptq_core.speech.utterances import duration, load_audio, load_manifest, utterance
from tests.conftest import DEMO


def write_manifest(folder: Path, *records: object) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in records))
    return path


def write_wave(folder: Path, name: str, samples: np.ndarray, rate: int = 16_000) -> Path:
    path = folder / name
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def sine(rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


def test_demo_speech_is_as_promised() -> None:
    speech = load_manifest(DEMO)
    assert len(speech) >= 48
    assert len({u.speaker for u in speech.utterances}) >= 6
    assert sum(u.audio.stat().st_size for u in speech.utterances) <= 8_000_000
    assert all(soundfile.info(u.audio).samplerate == 16_000 for u in speech.utterances)
    assert all(u.text for u in speech.utterances)


def test_limit_takes_the_first() -> None:
    speech = load_manifest(DEMO, limit=3)
    assert speech.utterances == load_manifest(DEMO).utterances[:3]
    assert speech.digest != load_manifest(DEMO).digest


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(SpeechError, match="leaves nothing"):
        load_manifest(DEMO, limit)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_manifest(tmp_path: Path, content: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(content)
    with pytest.raises(SpeechError, match="names no utterance"):
        load_manifest(path)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="does not exist"):
        load_manifest(tmp_path / "none.jsonl")


def test_missing_audio_is_named_with_its_line(tmp_path: Path) -> None:
    write_wave(tmp_path, "a.wav", sine(16_000))
    path = write_manifest(tmp_path, {"audio": "a.wav"}, {"audio": "b.wav"})
    with pytest.raises(SpeechError, match=r"line 2.*b\.wav does not exist"):
        load_manifest(path)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "3", '{"text": "x"}', '{"audio": 3}', '{"audio": "a\\u0000b"}', "[" * 5000],
)
def test_malformed_lines_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line)
    with pytest.raises(SpeechError, match="line 1"):
        load_manifest(path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_escape_the_error_tree(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "m.jsonl"
    path.write_bytes(data)
    with pytest.raises(GenPTQError):
        load_manifest(path)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    samples = load_audio(utterance(write_wave(tmp_path, "a.wav", sine(rate), rate)))
    assert samples.dtype == np.float32
    assert abs(len(samples) - 16_000) <= 2
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) * 16_000 / len(samples) - 440) < 3


def test_stereo_becomes_mono(tmp_path: Path) -> None:
    left = sine(16_000)
    path = write_wave(tmp_path, "a.wav", np.stack([left, np.zeros_like(left)], axis=1))
    np.testing.assert_allclose(load_audio(utterance(path)), left / 2, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, bad: float) -> None:
    samples = sine(16_000)
    samples[100] = bad
    with pytest.raises(SpeechError, match="NaN or infinite"):
        load_audio(utterance(write_wave(tmp_path, "a.wav", samples)))


def test_no_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="no samples"):
        load_audio(utterance(write_wave(tmp_path, "a.wav", np.zeros(0))))


def test_long_audio_is_refused_by_name(tmp_path: Path) -> None:
    path = write_wave(tmp_path, "long.flac", np.zeros(16_000 * 31))
    with pytest.raises(SpeechError, match=r"long\.flac lasts 31\.0 s"):
        load_audio(utterance(path))


def test_text_is_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("not a sound")
    with pytest.raises(SpeechError, match="cannot be decoded"):
        load_audio(utterance(path))
    with pytest.raises(SpeechError, match="cannot be decoded"):
        duration(utterance(path))


def test_digest_follows_content_not_path(tmp_path: Path) -> None:
    a, b = write_wave(tmp_path, "a.wav", sine(16_000)), write_wave(tmp_path, "b.wav", sine(16_000))
    assert utterance(a).digest == utterance(b).digest
    assert utterance(a).digest != utterance(write_wave(tmp_path, "c.wav", sine(8_000))).digest
