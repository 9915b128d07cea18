"""Which kinds of recording are opened, from their first bytes and not from their names.

The decoder behind soundfile reads dozens of formats, most of them rare and old, and errors in its
parsers can be exploited by opening a file: libsndfile 1.2.2, the latest in soundfile, overflows on
WAV with ADPCM (CVE-2026-37555) and in other formats (CVE-2025-52194). So it only gets files of the
kinds that speech comes in: WAV of plain samples, FLAC, OGG and MP3.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from ..errors import SpeechError

KINDS = "WAV of plain samples, FLAC, OGG or MP3"

_PLAIN = {1, 3, 6, 7}  # integers, floats, A-law, mu-law
_EXTENSIBLE = 0xFFFE  # one of the same tags follows in a longer header
_MOST_CHUNKS = 1000


def check_kind(path: Path) -> None:
    """Make sure that a file is of a supported kind.

    Raises:
        SpeechError: it is not, or cannot be opened.
    """
    try:
        with Path(path).open("rb") as file:
            known = _is_known(file)
    except (OSError, ValueError) as error:
        raise SpeechError(f"{path} cannot be decoded as audio ({error}).") from error
    if not known:
        raise SpeechError(f"{path} cannot be decoded as audio (not {KINDS}).", f"Use {KINDS}.")


def _is_known(file: BinaryIO) -> bool:
    start = file.read(12)
    if start[:4] in (b"fLaC", b"OggS") or start[:3] == b"ID3":
        return True
    if start[:1] == b"\xff" and len(start) > 1 and start[1] & 0xE0 == 0xE0:
        return True  # an MP3 frame
    return start[:4] == b"RIFF" and start[8:] == b"WAVE" and _is_plain(file)


def _is_plain(file: BinaryIO) -> bool:
    """Whether a WAV has a format chunk, and all of them say plain samples."""
    plain = False
    for _ in range(_MOST_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return plain
        name, size = header[:4], struct.unpack("<I", header[4:])[0]
        skipped = size + size % 2
        if name == b"fmt ":
            content = file.read(min(size, 40))
            skipped -= len(content)
            if len(content) < 16:
                return False
            tag = struct.unpack_from("<H", content)[0]
            if tag == _EXTENSIBLE and len(content) >= 26:
                tag = struct.unpack_from("<H", content, 24)[0]  # opens the sub-format's GUID
            if tag not in _PLAIN:
                return False
            plain = True
        file.seek(max(skipped, 0), 1)
    return False
