"""What phones and browsers record, MP4, AAC and WebM, decoded by FFmpeg's libraries through PyAV.

Each container is opened as what its first bytes say, from a file object, so nothing in it can make
FFmpeg open another file or an address, and only codecs of speech are decoded.
"""

from __future__ import annotations

import importlib
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
    av = _library(path, kind)
    try:
        fault = webm_fault(path) if kind == WEBM else ""
        if fault:
            raise SpeechError(f"{path} {fault}.", _AGAIN)
        with path.open("rb") as file, av.open(file, format=_FORMATS[kind], mode="r") as container:
            stream = _stream(path, container)
            promised = _promised(stream, container)
            samples, rate = _samples(av, path, container, stream, longest=longest, largest=largest)
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise SpeechError(
            f"{path} cannot be decoded as {kind}, or not to its end ({reason}).", _AGAIN
        ) from error
    lasts = len(samples) / rate
    if lasts <= longest and promised - lasts > max(_SHARE * promised, _SECONDS):
        raise SpeechError(
            f"{path} is cut short: it says {promised:.2f} s, and it holds {lasts:.2f} s.",
            _AGAIN,
        )
    return samples, rate


def seconds(path: Path, kind: str, longest: float, largest: int) -> float:
    """Length of a recording; arguments and errors are those of `read`."""
    samples, rate = read(path, kind, longest, largest)
    return len(samples) / rate


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


def _samples(
    av: Any, path: Path, container: Any, stream: Any, longest: float, largest: int
) -> tuple[np.ndarray, int]:
    resampler = av.AudioResampler(format="fltp")
    parts: list[np.ndarray] = []
    rate, count = 0, 0
    for frame in container.decode(stream):
        if rate and (frame.sample_rate != rate or len(frame.layout.channels) != len(parts[0])):
            raise SpeechError(f"{path} changes its rate or channels.", REMEDY)
        rate = frame.sample_rate
        for piece in resampler.resample(frame):
            parts.append(piece.to_ndarray().astype(np.float32, copy=False))
            count += parts[-1].shape[1]
        if count > (longest + 1) * rate or count * len(parts[0]) > largest:
            break
    if not parts:
        raise SpeechError(f"{path} holds no samples.", "Remove it from the manifest.")
    return np.concatenate(parts, axis=1).T, rate
