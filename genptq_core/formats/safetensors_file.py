"""Safetensors files with a header of a length that is chosen: without torch.

A file is the header's length in 64 bits, the header in JSON, which blanks may follow, and the
tensors without gaps. Larger numbers come first, so that all are aligned, and equal ones by name.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ExportError

_KINDS = {
    **{"float32": "F32", "float16": "F16", "uint8": "U8", "int8": "I8"},
    **{"int32": "I32", "int64": "I64", "uint32": "U32"},
}
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Entry:
    """A tensor of a file.

    Attributes:
        dtype: of NumPy, such as "float16".
        shape: its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def in_order(entries: Mapping[str, Entry]) -> list[str]:
    """Names of tensors in the order of the file."""
    return sorted(entries, key=lambda name: (-np.dtype(entries[name].dtype).itemsize, name))


def header(entries: Mapping[str, Entry], metadata: Mapping[str, str], first: int = 0) -> bytes:
    """A header, filled up to a multiple of 8 bytes.

    Args:
        entries: the tensors by name.
        metadata: texts by name.
        first: the offset of the first tensor.
    """
    said: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = first
    for name in in_order(entries):
        entry = entries[name]
        end = offset + entry.bytes
        said[name] = {
            "dtype": _KINDS[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(said, separators=(",", ":")).encode()
    return text.ljust(-(-len(text) // 8) * 8)


def write(
    path: Path,
    entries: Mapping[str, Entry],
    arrays: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str],
    *,
    header_bytes: int = 0,
) -> int:
    """Write a file; arrays are asked for one after another.

    Args:
        path: the file.
        entries: the tensors by name.
        arrays: each of them by its name, in any order.
        metadata: texts by name.
        header_bytes: the header's length, a multiple of 8; as long as it must be if 0.

    Returns:
        Bytes of the tensors.

    Raises:
        ExportError: a tensor is missing or of another shape or type, or the header is longer.
    """
    start = header(entries, metadata)
    if header_bytes and len(start) > header_bytes:
        raise ExportError(
            f"The header of {path.name} takes {len(start)} bytes; {header_bytes} were promised.",
            "This is a fault of the program: please report it.",
        )
    start = start.ljust(header_bytes)
    offsets, size = {}, 0
    for name in in_order(entries):
        offsets[name] = _LENGTH.size + len(start) + size
        size += entries[name].bytes
    with path.open("wb") as file:
        file.write(_LENGTH.pack(len(start)) + start)
        file.truncate(_LENGTH.size + len(start) + size)
        for name, array in arrays:
            entry = entries[name]
            if array.dtype.name != entry.dtype or array.shape != entry.shape or name not in offsets:
                raise ExportError(f"{name} is none of the tensors of {path.name}, or is twice.")
            file.seek(offsets.pop(name))
            file.write(np.ascontiguousarray(array).data)
    if offsets:
        raise ExportError(f"{path.name} lacks {next(iter(offsets))}.")
    return size
