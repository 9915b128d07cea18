"""What phones and browsers record: decoded where PyAV is, else told how to convert it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genptq_core.errors import SpeechError
from genptq_core.speech.audio_kinds import AAC, MP4, WEBM, kind
from genptq_core.speech.utterances import duration, load_audio, utterance

TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(96_000) / 48_000).astype(np.float32)
FILES = {
    "a.m4a": ("ipod", "aac", MP4, {}),
    "fast.mp4": ("mp4", "aac", MP4, {"movflags": "faststart"}),
    "a.aac": ("adts", "aac", AAC, {}),
    "a.webm": ("webm", "libopus", WEBM, {}),
    "live.webm": ("webm", "libopus", WEBM, {"live": "1"}),
}


def write(path: Path, samples: np.ndarray = TONE) -> Path:
    av: Any = pytest.importorskip("av")
    form, codec, _, options = FILES[path.name]
    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        for start in range(0, len(samples), 960):
            frame = av.AudioFrame.from_ndarray(
                samples[None, start : start + 960].copy(), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", FILES)
def test_they_are_decoded(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    assert kind(path) == FILES[name][2]
    one = utterance(path)
    samples = load_audio(one)
    assert abs(len(samples) / 16_000 - 2) < 0.1
    assert abs(duration(one) - 2) < 0.1
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) * 16_000 / len(samples) - 440) < 2
    assert abs(np.sqrt(np.square(samples).mean()) - 0.21) < 0.02


@pytest.mark.parametrize("name", FILES)
def test_half_of_one_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    content = path.read_bytes()
    for share in (0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(SpeechError, match=r"is cut short|cannot be decoded"):
            load_audio(utterance(path))


def test_a_long_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.m4a", np.zeros(48_000 * 31, dtype=np.float32))
    with pytest.raises(SpeechError, match=r"lasts 31\.\d+ s, and 30 s is the longest"):
        load_audio(utterance(path))


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x20ftypM4A \0\0\0\0", MP4),
        (b"\0\0\0\x1cftyp3gp4", MP4),
        (b"\x1aE\xdf\xa3\x9f", WEBM),
        (b"\xff\xf1\x50\x80", AAC),
        (b"\xff\xf9\x50\x80", AAC),
    ],
)
def test_without_the_library_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes, name: str
) -> None:
    original = importlib.import_module

    def missing(wanted: str, *rest: Any) -> Any:
        if wanted == "av":
            raise ModuleNotFoundError("No module named 'av'")
        return original(wanted, *rest)

    path = tmp_path / "talk.wav"
    path.write_bytes(start + bytes(200))
    assert kind(path) == name
    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", missing)
        for read in (load_audio, duration):
            with pytest.raises(SpeechError, match=r"pip install av==.*ffmpeg -i in\.m4a out\.wav"):
                read(utterance(path))


@pytest.mark.parametrize("name", [MP4, AAC, WEBM])
def test_no_bytes_escape_the_error_tree(tmp_path: Path, name: str) -> None:
    pytest.importorskip("av")
    start = {MP4: b"\0\0\0\x20ftypM4A ", AAC: b"\xff\xf1\x50\x80", WEBM: b"\x1aE\xdf\xa3\x9f"}[name]
    rng = np.random.default_rng(0)
    for size in (0, 10, 1000, 5000):
        path = tmp_path / "a.bin"
        path.write_bytes(start + rng.bytes(size))
        with pytest.raises(SpeechError):
            load_audio(utterance(path))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"FORM\0\0\0\0AIFF", "AIFF"),
        (b"#!AMR\n", "AMR"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "a web page"),
    ],
)
def test_other_kinds_are_named(tmp_path: Path, start: bytes, said: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(start + bytes(100))
    with pytest.raises(SpeechError, match=rf"it is {said}") as caught:
        load_audio(utterance(path))
    assert ("out.wav" in caught.value.hint) == (not said.startswith("a "))
