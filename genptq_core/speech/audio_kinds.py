"""Which kinds of recording are opened, from their first bytes and not from their names.

The decoder behind soundfile reads dozens of formats, most of them rare and old, and errors in its
parsers can be exploited by opening a file: libsndfile 1.2.2, the latest in soundfile, overflows on
WAV with ADPCM (CVE-2026-37555) and in other formats (CVE-2025-52194). So it only gets files of the
kinds that speech comes in: WAV of plain samples, FLAC, OGG and MP3. What phones and browsers
record, MP4 (m4a), AAC and WebM, goes to FFmpeg's libraries where PyAV is installed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import SpeechError

WAV, FLAC, OGG, MP3 = "WAV", "FLAC", "OGG", "MP3"
MP4, AAC, WEBM = "MP4 (m4a)", "AAC", "WebM"

KINDS = "WAV of plain samples, FLAC, OGG or MP3"
REMEDY = "Convert it, as with: ffmpeg -i in.m4a out.wav"
"""A hint for every file of another kind; the command takes all that FFmpeg knows."""

SUFFIXES = (".flac", ".wav", ".ogg", ".mp3", ".opus", ".m4a", ".mp4", ".aac", ".webm")
"""Suffixes of recordings, in the order in which they are looked for."""

_OTHERS = (  # kinds that are not opened, for the message
    (b"FORM", "AIFF"),
    (b"caff", "CAF"),
    (b"#!AMR", "AMR"),
    (b"RF64", "RF64"),
    (b"riff", "W64"),
    (b"\x30\x26\xb2\x75", "WMA"),
)
_STAND_INS = (  # what is fetched instead of a recording
    (b"version https://git-lfs", "a pointer of Git LFS"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
)
_PLAIN = {1, 3, 6, 7}  # integers, floats, A-law, mu-law
_EXTENSIBLE = 0xFFFE  # one of the same tags follows in a longer header
_MOST_CHUNKS = 1000
_UNKNOWN = 0x7FFF0000  # sizes from here on are written by programs that cannot go back


@dataclass(frozen=True)
class Samples:
    """The chunk of samples in a WAV.

    Attributes:
        start: where samples start, bytes.
        promised: bytes of samples that its header says, or None if it was never finished.
        present: bytes from there to the end of the file.
        after: bytes after the samples that are no chunks, so perhaps more of them.
        byte_rate: bytes per second.
        block: bytes of one sample of every channel.
    """

    start: int
    promised: int | None
    present: int
    after: int
    byte_rate: int
    block: int


def kind(path: Path) -> str:
    """The kind of a file, one of those of this module.

    Raises:
        SpeechError: it is of none, or cannot be opened.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(64)
            found = _kind(start)
            if found == WAV:
                found = WAV if _walk(file)[0] else ""
    except (OSError, ValueError) as error:
        raise SpeechError(f"{path} cannot be decoded as audio ({error}).") from error
    if not found:
        other = next(
            (name for magic, name in (*_OTHERS, *_STAND_INS) if start.startswith(magic)), ""
        )
        reason = f"it is {other}, not {KINDS}" if other else f"not {KINDS}"
        stands_in = any(start.startswith(magic) for magic, _ in _STAND_INS)
        raise SpeechError(
            f"{path} cannot be decoded as audio ({reason}).",
            "Fetch the recording itself." if stands_in else REMEDY,
        )
    return found


def wave_samples(path: Path) -> Samples | None:
    """Where the samples of a WAV are, and how many; None if it has none."""
    with Path(path).open("rb") as file:
        return _walk(file)[1]


def _kind(start: bytes) -> str:
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
        return WAV
    if start[:4] in (b"fLaC", b"OggS"):
        return FLAC if start[:1] == b"f" else OGG
    if start[4:8] == b"ftyp":
        return MP4
    if start[:4] == b"\x1aE\xdf\xa3":
        return WEBM
    if start[:1] == b"\xff" and len(start) > 1:
        if start[1] & 0xF6 == 0xF0:
            return AAC
        if start[1] & 0xE0 == 0xE0:
            return MP3
    return MP3 if start[:3] == b"ID3" else ""


def _walk(file: BinaryIO) -> tuple[bool, Samples | None]:
    """Whether a WAV has a format chunk, and all of them say plain samples; and where these are."""
    end = file.seek(0, 2)
    file.seek(12)
    rate = block = 0
    found: Samples | None = None
    for _ in range(_MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return rate > 0, found
        name, size = header[:4], struct.unpack("<I", header[4:])[0]
        skipped = size + size % 2
        if name == b"fmt ":
            content = file.read(min(size, 40))
            skipped -= len(content)
            if len(content) < 16:
                return False, None
            tag = struct.unpack_from("<H", content)[0]
            if tag == _EXTENSIBLE and len(content) >= 26:
                tag = struct.unpack_from("<H", content, 24)[0]  # opens the sub-format's GUID
            if tag not in _PLAIN:
                return False, None
            rate, block = struct.unpack_from("<I4xH", content, 4)
            rate, block = max(rate, 1), max(block, 1)
        if name == b"data" and rate and found is None:
            found = _samples(file, size, end, rate * block, block)
            if found.promised is None or found.after:
                return True, found  # the decoder gets nothing after the samples
        file.seek(max(skipped, 0), 1)
    return False, None


def _samples(file: BinaryIO, size: int, end: int, byte_rate: int, block: int) -> Samples:
    start = file.tell()
    present = end - start
    unfinished = (size >= _UNKNOWN and present < size) or (
        size == 0 and present > 0 and not _is_chunk(file, start, end)
    )
    promised = None if unfinished else size
    after = 0
    if promised is not None and size and present > size + size % 2 + 8:
        ends = (start + size + size % 2, start + size)  # some writers leave out the byte of padding
        after = 0 if any(_is_chunk(file, at, end) for at in ends) else present - size
    file.seek(start)
    return Samples(
        start=start,
        promised=promised,
        present=present,
        after=after,
        byte_rate=byte_rate,
        block=block,
    )


def _is_chunk(file: BinaryIO, position: int, end: int) -> bool:
    """Whether there is a chunk at a position that ends within the file."""
    file.seek(position)
    header = file.read(8)
    if len(header) < 8 or not all(32 <= letter < 127 for letter in header[:4]):
        return False
    if header[:4] == b"RIFF":  # another WAV
        return False
    return position + 8 + struct.unpack("<I", header[4:])[0] <= end
