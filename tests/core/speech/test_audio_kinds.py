"""Recordings: only supported kinds reach the decoder, whatever the file's name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genptq_core import SpeechError
from genptq_core.speech.audio_kinds import kind
from genptq_core.speech.utterances import duration, load_audio, utterance

WAVE = np.sin(np.arange(16_000) / 20).astype(np.float32)
TAKEN = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "ULAW"),
    ("WAVEX", "PCM_16"),
    ("WAVEX", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
REFUSED = [
    ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"),
    ("WAV", "GSM610"),
    ("AIFF", "PCM_16"),
    ("W64", "PCM_16"),
    ("IRCAM", "PCM_16"),
    ("CAF", "PCM_16"),
]


def _file(folder: Path, kind: str, subtype: str) -> Path:
    path = folder / "speech.wav"  # a name tells nothing
    soundfile.write(path, WAVE, 16_000, format=kind, subtype=subtype)
    return path


@pytest.mark.parametrize(("kind", "subtype"), TAKEN)
def test_what_speech_comes_in_is_read(tmp_path: Path, kind: str, subtype: str) -> None:
    one = utterance(_file(tmp_path, kind, subtype))
    assert 0.9 < duration(one) < 1.2
    assert 15_000 < len(load_audio(one)) < 18_000


@pytest.mark.parametrize(("kind", "subtype"), REFUSED)
def test_other_kinds_never_reach_the_decoder(
    tmp_path: Path, kind: str, subtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = utterance(_file(tmp_path, kind, subtype))

    def reached(*_: object) -> None:
        raise AssertionError("the decoder was reached")

    monkeypatch.setattr(soundfile, "SoundFile", reached)
    monkeypatch.setattr(soundfile, "info", reached)
    for read in (load_audio, duration):
        with pytest.raises(SpeechError, match=r"speech\.wav cannot be decoded"):
            read(one)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _format(tag: int) -> bytes:
    channels_and_rate = struct.pack("<HHI", tag, 1, 16_000)
    return _chunk(b"fmt ", channels_and_rate + struct.pack("<IHH", 32_000, 2, 16))


def _wave(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


DATA = _chunk(b"data", b"\1\2" * 50)


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        (_wave(_format(1), DATA), True),
        (_wave(_chunk(b"JUNK", b"odd"), _format(1), DATA), True),
        (_wave(_format(1), DATA, _format(0x11)), False),
        (_wave(_format(0x11), _format(1), DATA), False),
        (_wave(DATA), False),
        (_wave(_chunk(b"fmt ", b"\1\0"), DATA), False),
        (_wave(*[_chunk(b"JUNK", b"")] * 2000, _format(0x11)), False),
        (b"RIFF", False),
        (b"", False),
        (b"NIST_1A\n", False),
    ],
)
def test_every_format_chunk_counts(tmp_path: Path, content: bytes, taken: bool) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    if taken:
        kind(path)
    else:
        with pytest.raises(SpeechError, match="cannot be decoded"):
            kind(path)
