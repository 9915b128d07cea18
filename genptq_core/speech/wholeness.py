"""Whether a compressed recording is all there, by its container: OGG, MP3, WebM.

Decoders take what there is of a file that was cut short and say nothing. In OGG the last page is
marked; in MP3 every frame says how long it is, and often the first one how many there are; in WebM
every element says how long it is, except for those that hold the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_PAGE = 27  # bytes of a page's header before its table of segments
_LAST = 4  # the flag of a stream's last page

_BITRATES = {  # kbit/s by version and layer, for indices 1 to 14
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HOLDERS = (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75")  # WebM's segment and cluster
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def ogg_fault(path: Path) -> str:
    """What an OGG lacks, as the end of a sentence about it, or "".

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        end = file.seek(0, 2)
        position, flags, streams = 0, 0, 0
        while position < end:
            file.seek(position)
            header = file.read(_PAGE + 255)
            if header[:4] != b"OggS":
                return "" if position and flags & _LAST else "is damaged: a page is missing"
            sizes = header[_PAGE : _PAGE + header[26]] if len(header) >= _PAGE else b""
            position += _PAGE + len(sizes) + sum(sizes)
            if len(header) < _PAGE or len(sizes) < header[26] or position > end:
                return "is cut short: it ends within a page"
            flags = header[5]
            streams += flags >> 1 & 1  # the flag of a stream's first page
    if streams > 1:
        return "holds several streams, of which only the first would be heard"
    return "" if flags & _LAST else "is cut short, or its end was never marked"


def flac_fault(path: Path) -> str:
    """Whether another FLAC follows in the same file, as the end of a sentence about it, or "".

    Raises:
        OSError: the file cannot be read.
    """
    start = b"fLaC\0\0\0\x22"
    with Path(path).open("rb") as file:
        last = file.read(len(start))[1:]
        while piece := file.read(1 << 20):
            if start in last + piece:
                return "holds several streams, of which only the first would be heard"
            last = (last + piece)[1 - len(start) :]
    return ""


def mp3_fault(path: Path) -> str:
    """What an MP3 lacks, as the end of a sentence about it, or "".

    Only what is certain is told: the check ends where frames cannot be followed.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        end = file.seek(0, 2)
        position, frames, promised = _after_tags(file), 0, 0
        while position < end:
            file.seek(position)
            header = file.read(4)
            size = _frame(header) if len(header) == 4 else 0
            if len(header) < 4 and frames and header[:1] == b"\xff":
                return "is cut short: it ends within a frame"
            if not size:
                break
            if not frames:
                promised = _promised(header + file.read(size))
            position += size
            if position > end:
                return "is cut short: it ends within a frame"
            frames += 1
    if promised and frames > promised + 1 and frames > 1.05 * promised:
        return f"has {frames} frames, and its first one says {promised}, so no more would be heard"
    # The frame that holds the number is often not counted in it.
    if promised and frames and frames < promised and position == end:
        return f"is cut short: it has {frames} frames, and its first one says {promised}"
    return ""


def webm_fault(path: Path) -> str:
    """What a WebM lacks, as the end of a sentence about it, or "".

    Only what is certain is told: the check ends where elements cannot be followed.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        end, position = file.seek(0, 2), 0
        while position < end:
            file.seek(position)
            head = file.read(12)
            name, size, length = _element(head)
            if not length:
                return "is cut short: it ends within an element" if end - position < 12 else ""
            position += length
            if size is not None and position + size > end:
                return "is cut short: it ends within an element"
            if name not in _HOLDERS:
                if size is None:
                    return ""
                position += size
    return ""


def _element(head: bytes) -> tuple[bytes, int | None, int]:
    """An element's name, its size (None if not said), and the bytes that say these, or 0."""
    if not head or not head[0] >> 4:
        return b"", None, 0
    length = 9 - head[0].bit_length()
    if len(head) <= length or not head[length]:
        return b"", None, 0
    digits = 9 - head[length].bit_length()
    if len(head) < length + digits:
        return b"", None, 0
    mask = (1 << 7 * digits) - 1
    size = int.from_bytes(head[length : length + digits], "big") & mask
    return head[:length], None if size == mask else size, length + digits


def _after_tags(file: BinaryIO) -> int:
    """Where frames begin: after tags of ID3, of which there may be several."""
    position = 0
    for _ in range(10):
        file.seek(position)
        header = file.read(10)
        if header[:3] != b"ID3" or len(header) < 10:
            break
        size = sum(
            (byte & 127) << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True)
        )
        position += 10 + size + (10 if header[5] & 16 else 0)
    return position


def _frame(header: bytes) -> int:
    """Bytes of a frame, from its first four; 0 if they begin none, or one of free length."""
    if header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return 0
    bitrate = _BITRATES[1 if version == 3 else 2, layer][index - 1] * 1000
    rate = _RATES[version][rate_index]
    if layer == 1:
        return (12 * bitrate // rate + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bitrate // rate + padding


def _promised(frame: bytes) -> int:
    """How many frames an MP3's first one says that there are, or 0."""
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        if 0 < at < 64 and len(frame) >= at + 12 and frame[at + 7] & 1:
            return int.from_bytes(frame[at + 8 : at + 12], "big")
    return 0
