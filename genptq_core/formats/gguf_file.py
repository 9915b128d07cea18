"""The GGUF container: keys with values, then tensors, each from a multiple of 32 bytes on.

Little-endian: magic, version 3, numbers of tensors and of keys; each key with the number of its
type and its value; of each tensor name, sizes (the last one of an array first), type and offset;
then the tensors. A string is its length in 64 bits and its bytes.

The header's length follows from keys and names alone, so tensors are written as they come and the
header last: no more than one tensor is in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ExportError

ALIGNMENT = 32
"""Every tensor starts at a multiple of so many bytes."""

_MAGIC, _VERSION = b"GGUF", 3
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9

Value = bool | int | float | str | Sequence[int] | Sequence[str]
"""Of a key: a whole number of 32 bits without sign, a float32, a truth, a text, or a list of
whole numbers of 32 bits or of texts."""


@dataclass(frozen=True)
class Packed:
    """A weight in blocks of one of ggml's types.

    Attributes:
        number: of the type, as ggml counts them.
        data: shape (rows, bytes of a row), uint8.
        shape: of the weight.
    """

    number: int
    data: np.ndarray
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Placed:
    """Where a tensor lies, from the end of the header on."""

    shape: tuple[int, ...]
    number: int
    offset: int


def padded(size: int) -> int:
    """Bytes up to where the next tensor can start."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def header_bytes(keys: Mapping[str, Value], ranks: Mapping[str, int]) -> int:
    """Length of a header, with what fills it up to the first tensor.

    Args:
        keys: values by key.
        ranks: how many sizes each tensor has, by name.
    """
    blank = {name: _Placed((0,) * rank, 0, 0) for name, rank in ranks.items()}
    return padded(len(_header(keys, blank)))


def write(
    path: Path,
    keys: Mapping[str, Value],
    ranks: Mapping[str, int],
    tensors: Iterable[tuple[str, Packed | np.ndarray]],
) -> None:
    """Write a file; tensors are asked for one after another.

    Args:
        path: the file.
        keys: values by key.
        ranks: how many sizes each tensor has, by name.
        tensors: every one of them with its name, in the order of the file; arrays are float16 or
            float32.

    Raises:
        ExportError: a tensor is missing, or comes twice or with another rank.
    """
    start = header_bytes(keys, ranks)
    placed: dict[str, _Placed] = {}
    with path.open("wb") as file:
        file.seek(start)
        for name, tensor in tensors:
            if name in placed or ranks.get(name) != len(tensor.shape):
                raise ExportError(f"{name} is no tensor that {path.name} should hold, or is twice.")
            if isinstance(tensor, Packed):
                number, data = tensor.number, tensor.data
            else:
                number, data = {"float32": 0, "float16": 1}[tensor.dtype.name], tensor
            placed[name] = _Placed(tuple(tensor.shape), number, file.tell() - start)
            file.write(np.ascontiguousarray(data).data)
            file.write(bytes(padded(file.tell()) - file.tell()))
        missing = next((name for name in ranks if name not in placed), None)
        if missing is not None:
            raise ExportError(f"{path.name} lacks {missing}.")
        file.seek(0)
        file.write(_header(keys, placed))


def _header(keys: Mapping[str, Value], placed: Mapping[str, _Placed]) -> bytes:
    parts = [_MAGIC, struct.pack("<IQQ", _VERSION, len(placed), len(keys))]
    for key, value in keys.items():
        parts += [_string(key), _value(value)]
    for name, one in placed.items():
        sizes = one.shape[::-1]
        parts += [_string(name), struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)]
        parts.append(struct.pack("<IQ", one.number, one.offset))
    return b"".join(parts)


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    texts = [one for one in value if isinstance(one, str)]
    kind = _STRING if texts else _INT32
    whole = [one for one in value if isinstance(one, int)]
    content = b"".join(map(_string, texts)) or np.array(whole, dtype="<i4").tobytes()
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + content
