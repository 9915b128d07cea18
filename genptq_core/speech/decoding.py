"""Recordings decoded and resampled to what models expect; none that is not whole.

A recording that was cut short decodes without a complaint and is measured against its whole text,
so what is decoded is compared with what the file says of itself.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ..errors import SpeechError
from . import phone_audio
from .audio_kinds import AAC, FLAC, KINDS, MP3, MP4, OGG, WAV, WEBM, Samples, kind, wave_samples
from .wholeness import flac_fault, mp3_fault, ogg_fault

RATE = 16_000
"""Sampling rate of all samples that this module returns, Hz."""

LONGEST = 30.0
"""Longest utterance that is accepted, seconds: what Whisper takes at once."""

LARGEST = 50_000_000
"""Most samples that are accepted, over all channels: a small file may unpack to gigabytes."""

LOUDEST = 4.0
"""Largest sample that is accepted. Decoders of lossy kinds may pass 1 by a little."""

_SLACK = 0.02  # seconds by which samples may be fewer than promised: some writers count headers
_MP3_SLACK = 0.25  # likewise: delay and padding of encoders, which decoders may cut off
_AFTER = 0.2  # seconds of something after the samples of a WAV
_AGAIN = "Fetch or record it again. If it is whole: ffmpeg -i in{suffix} out.wav"
_FAILURES = (OSError, RuntimeError, TypeError, ValueError, ZeroDivisionError)
"""soundfile's errors derive from RuntimeError; it takes a few names for headerless formats."""


def decode(path: Path) -> np.ndarray:
    """Decode a recording to mono at 16 kHz.

    Returns:
        Samples, mostly in [-1, 1], shape (n,), float32.

    Raises:
        SpeechError: the file cannot be decoded, has no samples, is shorter than it says, lasts
            more than 30 s, or holds samples that are no numbers or far outside of [-1, 1].
    """
    found = kind(path)
    if found in (MP4, AAC, WEBM):
        samples, rate = phone_audio.read(path, found, LONGEST, LARGEST)
    else:
        samples, rate = _read(path, found)
    check_length(path, len(samples), rate)
    _check_values(path, samples)
    mono = samples.mean(axis=1)
    if rate != RATE and mono.size:
        try:
            mono = soxr.resample(mono, rate, RATE)
        except (RuntimeError, ValueError) as error:
            raise SpeechError(
                f"{path} has a rate of {rate} Hz, which cannot be resampled ({error}).",
                "Convert it to 16 kHz.",
            ) from error
    if mono.size == 0:
        raise SpeechError(f"{path} holds no samples.", "Remove it from the manifest.")
    return np.asarray(mono, dtype=np.float32)


def seconds(path: Path) -> float:
    """Length of a recording, from its header where that says so.

    Raises:
        SpeechError: the file is not audio.
    """
    found = kind(path)
    if found in (MP4, AAC, WEBM):
        return phone_audio.seconds(path, found, LONGEST, LARGEST)
    try:
        with _opened(path, found) as source:
            return _frames(path, found, source) / source.samplerate
    except _FAILURES as error:
        raise SpeechError(f"{path} cannot be decoded as audio ({error}).") from error


def check_length(path: Path, frames: int, rate: int) -> None:
    """Make sure that a recording is not too long.

    Raises:
        SpeechError: it is; with its exact length.
    """
    if frames > LONGEST * rate:
        most, lasts, digits = int(LONGEST * rate), frames / rate, 1
        while digits < 6 and float(f"{lasts:.{digits}f}") <= LONGEST:
            digits += 1
        raise SpeechError(
            f"{path} lasts {lasts:.{digits}f} s, and {LONGEST:.0f} s is the longest accepted: it "
            f"has {frames:,} samples at {rate:,} Hz, and {most:,} are accepted.",
            "Cut it into shorter utterances.",
        )


def _read(path: Path, found: str) -> tuple[np.ndarray, int]:
    """Samples, shape (n, channels), and their rate."""
    try:
        fault = _fault(path, found)
        if fault:
            raise _cut(path, fault)
        with _opened(path, found) as source:
            rate, frames = source.samplerate, _frames(path, found, source)
            check_length(path, frames, rate)
            if frames * source.channels > LARGEST:
                raise SpeechError(
                    f"{path} has {source.channels} channels at {rate} Hz, more samples than are "
                    "accepted.",
                    "Convert it to one channel at 16 kHz.",
                )
            samples = source.read(dtype="float32", always_2d=True)
    except _FAILURES as error:
        raise SpeechError(
            f"{path} cannot be decoded as audio, or not to its end ({error}).",
            f"Use {KINDS}, and fetch it again if it may be cut short.",
        ) from error
    if frames - len(samples) > (_MP3_SLACK if found == MP3 else _SLACK) * rate:
        raise _cut(
            path,
            f"is cut short: its header says {frames / rate:.2f} s, and it holds "
            f"{len(samples) / rate:.2f} s",
        )
    return samples, rate


def _frames(path: Path, found: str, source: soundfile.SoundFile) -> int:
    """Samples of a channel according to the header."""
    if found == FLAC and source.frames >= 1 << 36:  # the header has 36 bits for them
        raise SpeechError(
            f"{path} does not say how long it is: its header was never finished.",
            "Finish it, as with: ffmpeg -i in.flac out.wav",
        )
    return int(source.frames)


def _fault(path: Path, found: str) -> str:
    if found == OGG:
        return ogg_fault(path)
    if found == FLAC:
        return flac_fault(path)
    return mp3_fault(path) if found == MP3 else ""


def _cut(path: Path, fault: str) -> SpeechError:
    suffix = path.suffix.lower() if path.suffix.lower()[1:].isalnum() else ".wav"
    return SpeechError(f"{path} {fault}.", _AGAIN.format(suffix=suffix))


@contextlib.contextmanager
def _opened(path: Path, found: str) -> Iterator[soundfile.SoundFile]:
    """A file for soundfile; a WAV whose header was never finished ends where the file ends."""
    samples = wave_samples(path) if found == WAV else None
    file: Path | io.BytesIO = path
    if samples is not None:
        _check_wave(path, samples)
        if samples.promised is None or samples.after:
            file = _finished(path, samples)
    with soundfile.SoundFile(file) as source:
        yield source


def _check_wave(path: Path, samples: Samples) -> None:
    """Make sure that a WAV has as many samples as its header says, and few other bytes."""
    if samples.promised is None:
        return
    missing = (samples.promised - samples.present) / samples.byte_rate
    if missing > _SLACK:
        raise _cut(
            path,
            f"is cut short: its header says {samples.promised / samples.byte_rate:.2f} s, and it "
            f"holds {samples.present / samples.byte_rate:.2f} s",
        )
    if samples.after / samples.byte_rate > _AFTER:
        raise SpeechError(
            f"{path} goes on for {samples.after / samples.byte_rate:.2f} s after the "
            f"{samples.promised / samples.byte_rate:.2f} s that its header says: it was never "
            "finished.",
            "Record it again, or correct its header.",
        )


def _finished(path: Path, samples: Samples) -> io.BytesIO:
    """A WAV in memory with true sizes in its header and nothing after its samples."""
    size = samples.present if samples.promised is None else samples.promised
    size -= size % samples.block
    check_length(path, size // samples.block, max(samples.byte_rate // samples.block, 1))
    if size > LARGEST * 8:
        raise SpeechError(f"{path} has more samples than are accepted.", "Convert it to 16 kHz.")
    with path.open("rb") as file:
        content = bytearray(file.read(samples.start + size))
    content[4:8] = struct.pack("<I", len(content) - 8)
    content[samples.start - 4 : samples.start] = struct.pack("<I", size)
    return io.BytesIO(content)


def _check_values(path: Path, samples: np.ndarray) -> None:
    """Make sure that samples, shape (n, channels), are numbers of a usual range."""
    if not samples.size:
        return
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak):
        raise SpeechError(f"{path} holds NaN or infinite samples.", "Record or convert it again.")
    if peak > LOUDEST:
        whole = next((bits for bits in (8, 16, 24, 32) if peak <= 2 ** (bits - 1)), 0)
        likely = f", as {whole}-bit integers stored as floating-point numbers do" if whole else ""
        divisor = 2 ** (whole - 1) if whole else "its largest value"
        raise SpeechError(
            f"{path} has samples of up to {peak:,.0f}, where 1 is full scale{likely}.",
            f"Divide the samples by {divisor:,} and save them again."
            if whole
            else "Scale the samples to [-1, 1] and save them again.",
        )
