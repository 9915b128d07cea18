"""Recordings of any length: read window by window, and cut at pauses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.errors import SpeechError
from genptq_core.speech.long_audio import LongAudio, is_long
from genptq_core.speech.utterances import RATE, duration, load_audio, speech_set, utterance
from genptq_core.speech.windows import in_windows, quietest


def voice(seconds: float, rate: int = RATE) -> np.ndarray:
    """Noise with half a second of silence every seven seconds."""
    samples = np.random.default_rng(0).normal(0, 0.1, int(seconds * rate))
    for pause in range(7, int(seconds), 7):
        samples[pause * rate : int((pause + 0.5) * rate)] = 0
    return samples


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate)
    return path


@pytest.mark.parametrize(("name", "rate"), [("a.wav", RATE), ("a.flac", 8_000), ("a.ogg", 44_100)])
def test_windows_are_parts_of_the_whole(tmp_path: Path, name: str, rate: int) -> None:
    path = write(tmp_path / name, voice(8, rate), rate)
    whole, audio = load_audio(utterance(path)), LongAudio(utterance(path))
    parts = [audio.read(start, 2 * RATE) for start in (0, RATE, RATE, 5 * RATE)]
    assert audio.reaches(8 * RATE - 2) and not audio.reaches(8 * RATE + 2)
    for start, part in zip((0, RATE, RATE, 5 * RATE), parts, strict=True):
        np.testing.assert_allclose(part, whole[start : start + 2 * RATE], atol=2e-4)
    assert len(audio.read(7 * RATE, 2 * RATE)) in range(RATE - 2, RATE + 3)
    with pytest.raises(ValueError, match="begins before"):
        audio.read(0, 1)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 9_000), st.integers(1, 9_000)), max_size=6))
def test_any_windows_that_go_forwards(steps: list[tuple[int, int]]) -> None:
    samples = np.arange(40_000, dtype=np.float32) / 50_000
    audio = LongAudio.__new__(LongAudio)
    audio._pieces = iter(np.array_split(samples, 17))
    audio._held, audio._start = np.zeros(0, dtype=np.float32), 0
    start = 0
    for step, count in steps:
        start += step
        np.testing.assert_array_equal(audio.read(start, count), samples[start : start + count])


def test_a_long_one_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", voice(40))
    assert is_long(utterance(path))
    path.write_bytes(path.read_bytes()[:-200_000])
    with pytest.raises(SpeechError, match="is cut short"):
        LongAudio(utterance(path)).reaches(40 * RATE)


def test_an_unfinished_header_is_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", voice(31))
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert duration(utterance(path)) == 31
    audio = LongAudio(utterance(path))
    assert audio.reaches(31 * RATE) and not audio.reaches(31 * RATE + 1)


def test_windows_are_cut_at_pauses(tmp_path: Path) -> None:
    samples = voice(75)
    recordings = [
        utterance(write(tmp_path / name, part), "said", "anna")
        for name, part in (("long.flac", samples), ("short.flac", samples[: 5 * RATE]))
    ]
    speech = speech_set("mine", recordings)
    found = in_windows(speech)
    assert found.name == "mine" and found.utterances[-1] == recordings[1]
    lengths = [duration(u) for u in found.utterances[:-1]]
    assert all(20 <= length <= 30 for length in lengths[:-1])
    cuts = np.cumsum(lengths)[:-1]
    assert all(0 < cut % 7 < 0.5 for cut in cuts), cuts
    joined = np.concatenate([load_audio(u) for u in found.utterances[:-1]])
    np.testing.assert_array_equal(joined, soundfile.read(recordings[0].audio, dtype="float32")[0])
    assert {(u.text, u.speaker) for u in found.utterances[:-1]} == {("", "anna")}
    assert in_windows(speech) == found and in_windows(found) is found


@settings(max_examples=20)
@given(st.integers(20, 29))
def test_the_quietest_moment(second: int) -> None:
    samples = np.full(30 * RATE, 0.1, dtype=np.float32)
    samples[second * RATE + RATE // 4 : second * RATE + RATE // 2] = 0
    assert second * RATE < quietest(samples) < (second + 1) * RATE
