"""Recordings that were cut short, never finished or are out of range: refused by name."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genptq_core.errors import SpeechError
from genptq_core.speech.sources import load_speech
from genptq_core.speech.utterances import duration, load_audio, utterance
from genptq_core.speech.wholeness import mp3_fault, ogg_fault, webm_fault

KINDS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_U8"),
    ("WAV", "FLOAT"),
    ("WAV", "ALAW"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
NOISE = np.random.default_rng(0).normal(scale=0.1, size=32_000)


def encoded(kind: str, subtype: str, samples: np.ndarray = NOISE, **more: object) -> bytes:
    memory = io.BytesIO()
    soundfile.write(memory, samples, 16_000, format=kind, subtype=subtype, **more)
    return memory.getvalue()


def written(folder: Path, content: bytes) -> Path:
    path = folder / "speech.wav"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_what_is_cut_short_is_refused_by_name(tmp_path: Path, kind: str, subtype: str) -> None:
    content = encoded(kind, subtype)
    assert abs(len(load_audio(utterance(written(tmp_path, content)))) - 32_000) < 100
    for share in (0.3, 0.5, 0.9):
        path = written(tmp_path, content[: int(len(content) * share)])
        with pytest.raises(SpeechError, match=r"speech\.wav (is cut short|cannot be decoded)"):
            load_audio(utterance(path))


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_every_way_of_mp3(tmp_path: Path, mode: str) -> None:
    content = encoded("MP3", "MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.5)
    tag = b"ID3\4\0\0\0\0\1\0" + b"\0" * 128
    for whole in (content, tag + content, content + b"TAG" + b"\0" * 125):
        assert mp3_fault(written(tmp_path, whole)) == ""
        assert len(load_audio(utterance(tmp_path / "speech.wav"))) > 31_000
    cut = [mp3_fault(written(tmp_path, content[:end])) for end in range(2000, len(content), 501)]
    assert all(fault.startswith("is cut short") for fault in cut[:-1])


def test_every_end_of_ogg(tmp_path: Path) -> None:
    content = encoded("OGG", "OPUS")
    assert ogg_fault(written(tmp_path, content)) == ""
    last = content.rindex(b"OggS")
    assert "its end was never marked" in ogg_fault(written(tmp_path, content[:last]))
    assert "within a page" in ogg_fault(written(tmp_path, content[: last + 10]))
    assert "within a page" in ogg_fault(written(tmp_path, content[:-1]))
    assert "a page is missing" in ogg_fault(written(tmp_path, content[:100] + content[200:]))


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_one_after_another_are_not_taken_for_the_first(
    tmp_path: Path, kind: str, subtype: str
) -> None:
    content = encoded(kind, subtype)
    path = written(tmp_path, content + content)
    with pytest.raises(SpeechError, match=r"several streams|goes on for|so no more would"):
        load_audio(utterance(path))


def element(name: bytes, content: bytes, size: int | None = None) -> bytes:
    said = len(content) if size is None else size
    return name + struct.pack(">Q", 1 << 56 | said) + content


def test_elements_of_webm(tmp_path: Path) -> None:
    block = element(b"\xa3", b"sound" * 9)
    cluster = element(b"\x1f\x43\xb6\x75", block * 3)
    endless = element(b"\x18\x53\x80\x67", cluster * 2, (1 << 56) - 1)
    content = element(b"\x1a\x45\xdf\xa3", b"webm") + endless
    assert webm_fault(written(tmp_path, content)) == ""
    for end in range(20, len(content)):
        fault = webm_fault(written(tmp_path, content[:end]))
        at_an_end = (end - 16 - 12) % len(cluster) == 0 or end == 16
        assert bool(fault) or at_an_end, end
    for damaged in (b"", b"\0" * 40, b"\x1a\x45\xdf\xa3", content[:16] + b"\0" * 40):
        webm_fault(written(tmp_path, damaged))


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF])
@pytest.mark.parametrize("whole", [0, 8, 36, 0xFFFFFFFF])
def test_a_header_that_was_never_finished(tmp_path: Path, size: int, whole: int) -> None:
    for samples in (NOISE, np.zeros(32_000)):
        content = bytearray(encoded("WAV", "PCM_16", samples))
        good = load_audio(utterance(written(tmp_path, bytes(content))))
        content[4:8], content[40:44] = struct.pack("<I", whole), struct.pack("<I", size)
        path = written(tmp_path, bytes(content) + b"\1")  # half a sample
        assert np.array_equal(load_audio(utterance(path)), good)
        assert duration(utterance(path)) == 2
    long = written(tmp_path, bytes(content) + b"\0" * 2 * 16_000 * 29)
    with pytest.raises(SpeechError, match=r"lasts 31\.0 s"):
        load_audio(utterance(long))


def test_more_samples_than_the_header_says(tmp_path: Path) -> None:
    content = bytearray(encoded("WAV", "PCM_16"))
    content[40:44] = struct.pack("<I", 32_000)
    with pytest.raises(SpeechError, match=r"goes on for 1\.00 s after the 1\.00 s"):
        load_audio(utterance(written(tmp_path, bytes(content))))
    whole = encoded("WAV", "PCM_16")
    for after in (b"LIST" + struct.pack("<I", 9000) + b"x" * 9000, b"\0" * 100, b"LIST"):
        assert len(load_audio(utterance(written(tmp_path, whole + after)))) == 32_000
    empty = encoded("WAV", "PCM_16", np.zeros(0))
    for after in (b"", b"LIST" + struct.pack("<I", 4) + b"INFO"):
        with pytest.raises(SpeechError, match="holds no samples"):
            load_audio(utterance(written(tmp_path, empty + after)))


def test_flac_that_does_not_say_its_length(tmp_path: Path) -> None:
    content = bytearray(encoded("FLAC", "PCM_16"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    for read in (load_audio, duration):
        with pytest.raises(SpeechError, match="does not say how long it is"):
            read(utterance(written(tmp_path, bytes(content))))


@pytest.mark.parametrize(
    ("scale", "said"),
    [(100, "8-bit"), (32_768, "16-bit"), (2**23, "24-bit"), (2**31, "32-bit"), (2**60, "where 1")],
)
def test_samples_far_out_of_range(tmp_path: Path, scale: float, said: str) -> None:
    samples = np.stack([NOISE, -NOISE], axis=1) / np.abs(NOISE).max()  # silence as their mean
    path = written(tmp_path, encoded("WAV", "DOUBLE", samples * scale))
    with pytest.raises(SpeechError, match=rf"speech\.wav has samples of up to [\d,]+, .*{said}"):
        load_audio(utterance(path))
    loud = written(tmp_path, encoded("WAV", "FLOAT", samples * 1.5))
    assert len(load_audio(utterance(loud))) == 32_000


@pytest.mark.parametrize(
    ("samples", "said"), [(480_001, "30.0001"), (480_400, "30.02"), (512_000, "32.0")]
)
def test_a_length_is_told_truly(tmp_path: Path, samples: int, said: str) -> None:
    path = written(tmp_path, encoded("FLAC", "PCM_16", np.zeros(samples)))
    with pytest.raises(
        SpeechError, match=rf"lasts {said} s, .* {samples:,} samples .* 480,000 are"
    ):
        load_audio(utterance(path))
    assert len(
        load_audio(utterance(written(tmp_path, encoded("WAV", "PCM_16", np.zeros(480_000)))))
    )


def test_half_a_recording_is_refused_when_its_manifest_is_read(tmp_path: Path) -> None:
    content = encoded("WAV", "PCM_16")
    written(tmp_path, content[: len(content) // 2])
    (tmp_path / "set.jsonl").write_text('{"audio": "speech.wav", "text": "x", "duration": 2.0}')
    with pytest.raises(SpeechError, match=r"line 1: .*header says 2\.00 s, and it holds 1\.00 s"):
        load_speech(tmp_path / "set.jsonl")
    written(tmp_path, encoded("WAV", "PCM_16", NOISE[:16_000]))  # cut, and its header mended
    with pytest.raises(SpeechError, match=r"lasts 1\.00 s, much shorter than the 2\.00 s"):
        load_speech(tmp_path / "set.jsonl")
