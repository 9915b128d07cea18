"""What phones and browsers record, MP4, AAC and WebM, decoded by FFmpeg's libraries through PyAV.

Each container is opened as what its first bytes say, from a file object, so nothing in it can make
FFmpeg open another file or an address, and only codecs of speech are decoded.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SpeechError
from ..extras import install_command
from .audio_kinds import AAC, MP4, REMEDY, WEBM
from .wholeness import webm_fault

_FORMATS = {MP4: "mov", AAC: "aac", WEBM: "matroska"}
_CODECS = {"aac", "alac", "flac", "mp3", "mp3float", "opus", "vorbis", "pcm_s16le", "pcm_f32le"}
_AGAIN = "Fetch or record it again. If it is whole, convert it: ffmpeg -i in.m4a out.wav"
_SHARE, _SECONDS = 0.05, 0.2  # by which a recording may be shorter than its container says


def read(path: Path, kind: str, longest: float, largest: int) -> tuple[np.ndarray, int]:
    """Decode a recording.

    Args:
        path: the recording.
        kind: of its container.
        longest: seconds after which decoding ends.
        largest: samples of all channels after which decoding ends.

    Returns:
        Samples, shape (n, channels), float32, and their rate, Hz. Of a recording that is too long
        only some more than `longest` seconds.

    Raises:
        SpeechError: PyAV is not installed, or the file cannot be decoded to its end.
    """
    parts: list[np.ndarray] = []
    count = 0
    for part, rate in stream(path, kind):
        parts.append(part)
        count += len(part)
        if count > (longest + 1) * rate or count * part.shape[1] > largest:
            break
    return np.concatenate(parts), rate


def stream(path: Path, kind: str) -> Iterator[tuple[np.ndarray, int]]:
    """Decode a recording piece by piece: samples, shape (n, channels), float32, and their rate, Hz.

    Raises:
        SpeechError: PyAV is not installed, or the file cannot be decoded to its end.
    """
    av = _library(path, kind)
    count, rate, promised = 0, 1, 0.0
    try:
        fault = webm_fault(path) if kind == WEBM else ""
        if fault:
            raise SpeechError(f"{path} {fault}.", _AGAIN)
        with path.open("rb") as file, av.open(file, format=_FORMATS[kind], mode="r") as container:
            source = _stream(path, container)
            promised = _promised(source, container)
            for part, rate in _samples(av, path, container, source):
                count += len(part)
                yield part, rate
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise SpeechError(
            f"{path} cannot be decoded as {kind}, or not to its end ({reason}).", _AGAIN
        ) from error
    lasts = count / rate
    if promised - lasts > max(_SHARE * promised, _SECONDS):
        raise SpeechError(
            f"{path} is cut short: it says {promised:.2f} s, and it holds {lasts:.2f} s.",
            _AGAIN,
        )


def seconds(path: Path, kind: str, longest: float) -> float:
    """Length of a recording, for which it is decoded; of a longer one, some more than `longest`.

    Raises:
        SpeechError: as `stream`.
    """
    count = 0
    for part, rate in stream(path, kind):
        count += len(part)
        if count > longest * rate:
            break
    return count / rate


def _library(path: Path, kind: str) -> Any:
    try:
        return importlib.import_module("av")
    except ModuleNotFoundError:
        raise SpeechError(
            f"{path} is {kind}, which needs the package `av`, and that is not installed.",
            f"{install_command('audio')}, or convert it, as with: ffmpeg -i in.m4a out.wav",
        ) from None


def _stream(path: Path, container: Any) -> Any:
    streams = container.streams.audio
    if len(streams) != 1:
        raise SpeechError(
            f"{path} has {len(streams)} sound tracks.", "Give a recording with exactly one."
        )
    codec = streams[0].codec_context.name
    if codec not in _CODECS:
        raise SpeechError(f"{path} holds sound of the kind {codec!r}, which is not read.", REMEDY)
    return streams[0]


def _promised(stream: Any, container: Any) -> float:
    """Seconds that a container says, or 0; FFmpeg guesses a length for bare AAC."""
    if container.format.name == "aac":
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1_000_000


def _samples(av: Any, path: Path, container: Any, stream: Any) -> Iterator[tuple[np.ndarray, int]]:
    resampler = av.AudioResampler(format="fltp")
    rate, channels = 0, 0
    for frame in container.decode(stream):
        if rate and (frame.sample_rate, len(frame.layout.channels)) != (rate, channels):
            raise SpeechError(f"{path} changes its rate or channels.", REMEDY)
        rate, channels = frame.sample_rate, len(frame.layout.channels)
        for piece in resampler.resample(frame):
            yield piece.to_ndarray().astype(np.float32, copy=False).T, rate
    if not rate:
        raise SpeechError(f"{path} holds no samples.", "Remove it from the manifest.")
