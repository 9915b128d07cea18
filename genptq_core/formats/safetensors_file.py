"""A safetensors file whose header has a length that is known beforehand.

The format: eight bytes that say how long the header is, the header in JSON, then the tensors one
after another. Spaces may end the header, and here they fill it up to the length that is asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""NumPy's type and the shape of every tensor, by name."""

_TYPES = {"float16": "F16", "float32": "F32", "uint32": "U32", "uint8": "U8"}
_ALIGNED = 8


def header_bytes(shapes: Shapes) -> int:
    """The least bytes in front of the tensors of a file."""
    return 8 + len(_header(shapes))


def write(path: Path, tensors: Mapping[str, np.ndarray], header: int) -> None:
    """Write tensors behind a header of a given length.

    Args:
        path: the file.
        tensors: by name; float16, float32, uint32 or uint8.
        header: bytes in front of the tensors, at least `header_bytes` and a multiple of eight.

    Raises:
        ValueError: the header needs more.
    """
    text = _header({name: (str(t.dtype), t.shape) for name, t in tensors.items()})
    if header % _ALIGNED or 8 + len(text) > header:
        raise ValueError(f"a header of {8 + len(text)} bytes does not fit in {header}")
    with path.open("wb") as file:
        file.write((header - 8).to_bytes(8, "little") + text.ljust(header - 8))
        for name in _ordered((name, t.itemsize) for name, t in tensors.items()):
            little = tensors[name].astype(tensors[name].dtype.newbyteorder("<"), copy=False)
            file.write(np.ascontiguousarray(little).data)


def _ordered(sizes: Iterable[tuple[str, int]]) -> list[str]:
    """Names in the order of the file: wide types first, so that every tensor is aligned."""
    return [name for name, _ in sorted(sizes, key=lambda pair: (-pair[1], pair[0]))]


def _header(shapes: Shapes) -> bytes:
    entries, start = {}, 0
    for name in _ordered((name, np.dtype(kind).itemsize) for name, (kind, _) in shapes.items()):
        kind, shape = shapes[name]
        stop = start + math.prod(shape) * np.dtype(kind).itemsize
        entries[name] = {
            "dtype": _TYPES[kind],
            "shape": list(shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text.ljust(-(-len(text) // _ALIGNED) * _ALIGNED)
