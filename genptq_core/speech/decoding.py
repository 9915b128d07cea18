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
from typing import Any

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
"""Longest recording that is taken at once, seconds: what Whisper hears."""

LONGEST_STREAMED = 24 * 3600.0
"""Longest recording that is accepted, seconds: a small file may unpack to years of silence."""

LARGEST = 50_000_000
"""Most samples that are accepted, over all channels: a small file may unpack to gigabytes."""

LOUDEST = 4.0
"""Largest sample that is accepted. Decoders of lossy kinds may pass 1 by a little."""

_BLOCK = 1 << 20  # samples, over all channels, that are decoded together
_SLACK = 0.02  # seconds by which samples may be fewer than promised: some writers count headers
_MOST_BYTES = 2**32 - 9  # that a WAV's header can say
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
            raise _unresampled(path, rate, error) from error
    if mono.size == 0:
        raise SpeechError(f"{path} holds no samples.", "Remove it from the manifest.")
    return np.asarray(mono, dtype=np.float32)


def stream(path: Path) -> Iterator[np.ndarray]:
    """Decode a recording of any length to mono at 16 kHz, piece by piece.

    Yields:
        Samples, mostly in [-1, 1], shape (n,), float32; some pieces may be empty.

    Raises:
        SpeechError: as `decode`, when the place is reached; or it lasts more than a day.
    """
    found, resampler, total = kind(path), None, 0
    read = phone_audio.stream if found in (MP4, AAC, WEBM) else _stream
    for samples, rate in read(path, found):
        _check_values(path, samples)
        mono = np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32)
        if rate != RATE:
            resampler = resampler or _resampler(path, rate)
            mono = resampler.resample_chunk(mono)
        total += len(mono)
        if total > LONGEST_STREAMED * RATE:
            raise _endless(path)
        yield mono
    if resampler is not None:
        rest = resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
        total += len(rest)
        yield rest
    if not total:
        raise SpeechError(f"{path} holds no samples.", "Remove it from the manifest.")


def seconds(path: Path) -> float:
    """Length of a recording, from its header where that says so.

    Raises:
        SpeechError: the file is not audio.
    """
    found = kind(path)
    if found in (MP4, AAC, WEBM):
        return phone_audio.seconds(path, found, LONGEST_STREAMED)
    try:
        with _opened(path, found) as source:
            return _frames(path, found, source) / source.samplerate
    except _FAILURES as error:
        raise SpeechError(f"{path} cannot be decoded as audio ({error}).") from error


def check_length(path: Path, frames: int, rate: int) -> None:
    """Make sure that a recording is not too long to be taken at once.

    Raises:
        SpeechError: it is; with its exact length.
    """
    if frames > LONGEST * rate:
        most, lasts, digits = int(LONGEST * rate), frames / rate, 1
        while digits < 6 and float(f"{lasts:.{digits}f}") <= LONGEST:
            digits += 1
        raise SpeechError(
            f"{path} lasts {lasts:.{digits}f} s, and {LONGEST:.0f} s is the longest that is taken "
            f"at once: it has {frames:,} samples at {rate:,} Hz, and {most:,} are taken.",
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
        raise _undecodable(path, error) from error
    _check_whole(path, found, frames, len(samples), rate)
    return samples, rate


def _stream(path: Path, found: str) -> Iterator[tuple[np.ndarray, int]]:
    """Samples, shape (n, channels), and their rate, piece by piece."""
    held = 0
    try:
        fault = _fault(path, found)
        if fault:
            raise _cut(path, fault)
        with _opened(path, found) as source:
            rate, frames = source.samplerate, _frames(path, found, source)
            if frames > LONGEST_STREAMED * rate:
                raise _endless(path)
            size = max(_BLOCK // source.channels, 1)
            for piece in source.blocks(size, dtype="float32", always_2d=True):
                held += len(piece)
                yield piece, rate
    except _FAILURES as error:
        raise _undecodable(path, error) from error
    _check_whole(path, found, frames, held, rate)


def _check_whole(path: Path, found: str, frames: int, held: int, rate: int) -> None:
    """Make sure that a recording holds as many samples as its header says."""
    if frames - held > (_MP3_SLACK if found == MP3 else _SLACK) * rate:
        raise _cut(
            path,
            f"is cut short: its header says {frames / rate:.2f} s, and it holds "
            f"{held / rate:.2f} s",
        )


def _resampler(path: Path, rate: int) -> soxr.ResampleStream:
    try:
        return soxr.ResampleStream(rate, RATE, 1, dtype="float32")
    except (RuntimeError, ValueError) as error:
        raise _unresampled(path, rate, error) from error


def _unresampled(path: Path, rate: int, error: Exception) -> SpeechError:
    return SpeechError(
        f"{path} has a rate of {rate} Hz, which cannot be resampled ({error}).",
        "Convert it to 16 kHz.",
    )


def _undecodable(path: Path, error: Exception) -> SpeechError:
    return SpeechError(
        f"{path} cannot be decoded as audio, or not to its end ({error}).",
        f"Use {KINDS}, and fetch it again if it may be cut short.",
    )


def _endless(path: Path) -> SpeechError:
    return SpeechError(
        f"{path} lasts more than {LONGEST_STREAMED / 3600:.0f} hours, the most that is accepted.",
        "Cut it into parts.",
    )


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
    file: Path | _Finished = path
    if samples is not None:
        _check_wave(path, samples)
        if samples.promised is None or samples.after:
            file = _Finished(path, samples)
    try:
        with soundfile.SoundFile(file) as source:
            yield source
    finally:
        if isinstance(file, _Finished):
            file.close()


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


class _Finished(io.RawIOBase):
    """A WAV file with true sizes in its header, that ends after its samples."""

    def __init__(self, path: Path, samples: Samples) -> None:
        size = samples.present if samples.promised is None else samples.promised
        size -= size % samples.block
        self._end = samples.start + size
        self._file = path.open("rb")
        header = bytearray(self._file.read(samples.start))
        # Sizes have 32 bits; the decoder takes what there is where they are full.
        header[4:8] = struct.pack("<I", min(self._end - 8, _MOST_BYTES))
        header[-4:] = struct.pack("<I", min(size, _MOST_BYTES))
        self._header, self._at = bytes(header), 0

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = max(min(len(buffer), self._end - self._at), 0)
        data = self._header[self._at : self._at + count]
        if not data:
            self._file.seek(self._at)
            data = self._file.read(count)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


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
