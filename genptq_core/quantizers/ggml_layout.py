"""Block types of ggml: weights of a row in blocks, bit for bit as its runtimes read them.

A block holds float16 scales, then codes. With q a code, a weight is read as

    q4_0, q5_0, q8_0    d * (q - offset)
    q4_1, q5_1          d * q + m
    q4_k, q5_k          (d * s) * q - (e * t)       s, t: 6 bits for each 32 weights
    q6_k                (d * s) * (q - 32)          s: 8 bits, signed, for each 16 weights

in float32, where d, m and e are one float16 for the block and may be negative. Codes of q8_0 are
kept here with an offset of 128; in the file they are signed bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ExportError

_REMEDY = "The file is damaged: export again."
_LARGEST = 65504.0  # of float16
_HALF = 16  # the first 16 weights of a small block are in the low halves of its bytes


@dataclass(frozen=True)
class BlockType:
    """A type of block.

    Attributes:
        name: such as "q4_0".
        number: ggml's number for it, as GGUF files state it.
        weights: weights in a block.
        bytes: bytes that a block takes.
        width: bits of a code.
        offset: the code that stands for zero; 0 where blocks have a minimum.
        group: weights that share a scale.
    """

    name: str
    number: int
    weights: int
    bytes: int
    width: int
    offset: int
    group: int

    @property
    def bits(self) -> float:
        """Bits per weight, scales included."""
        return 8 * self.bytes / self.weights

    @property
    def least(self) -> int:
        """The smallest code: 1 for q8_0, whose code for -128 ggml does not write."""
        return int(self.width == 8)

    @property
    def most(self) -> int:
        """The largest code."""
        return int(2**self.width) - 1

    @property
    def nested(self) -> bool:
        """Whether scales are themselves codes, of a scale for the block."""
        return self.group < self.weights


def _small(name: str, number: int, width: int, offset: int) -> BlockType:
    """A type of 32 weights with one scale and, where no code stands for zero, one minimum."""
    size = 4 * width + (2 if offset else 4)
    return BlockType(
        name=name, number=number, weights=32, bytes=size, width=width, offset=offset, group=32
    )


def _nested(name: str, number: int, width: int, size: int) -> BlockType:
    """A type of 256 weights whose scales are codes."""
    offset, group = (32, 16) if width == 6 else (0, 32)
    return BlockType(
        name=name, number=number, weights=256, bytes=size, width=width, offset=offset, group=group
    )


TYPES = {
    kind.name: kind
    for kind in (
        _small("q4_0", 2, 4, 8),
        _small("q4_1", 3, 4, 0),
        _small("q5_0", 6, 5, 16),
        _small("q5_1", 7, 5, 0),
        _small("q8_0", 8, 8, 128),
        _nested("q4_k", 12, 4, 144),
        _nested("q5_k", 13, 5, 176),
        _nested("q6_k", 14, 6, 210),
    )
}
"""Every type, by name, in the order of ggml's numbers."""


@dataclass(frozen=True)
class Scales:
    """Scales of a weight of shape (rows, columns) in blocks.

    Attributes:
        kind: the blocks' type.
        scale: d, shape (rows, blocks), float16.
        minimum: m of q4_1 and q5_1, e of q4_k and q5_k, shape (rows, blocks), float16; None for
            types without.
        inner: s of nested types, shape (rows, groups), uint8, for q6_k int8; None for others.
        inner_minimum: t of q4_k and q5_k, shape (rows, groups), uint8; None for others.
    """

    kind: BlockType
    scale: np.ndarray
    minimum: np.ndarray | None = None
    inner: np.ndarray | None = None
    inner_minimum: np.ndarray | None = None

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Step and base of each group: a weight is step * (code - offset) + base.

        Returns:
            Two arrays of shape (rows, groups), float32.
        """
        step = self.scale.astype(np.float32)
        base = np.zeros_like(step) if self.minimum is None else self.minimum.astype(np.float32)
        if self.inner is None:
            return step, base
        each = self.kind.weights // self.kind.group
        with np.errstate(all="ignore"):
            step = np.repeat(step, each, axis=1) * self.inner.astype(np.float32)
            base = np.repeat(base, each, axis=1)
            if self.inner_minimum is not None:
                base = -(base * self.inner_minimum.astype(np.float32))
        return step, base


def type_of(name: str) -> BlockType:
    """The block type of a name.

    Raises:
        ExportError: there is none.
    """
    if name not in TYPES:
        raise ExportError(f"There is no block type {name!r}.", f"Types: {', '.join(TYPES)}.")
    return TYPES[name]


def row_bytes(kind: BlockType, columns: int) -> int:
    """Bytes that a row takes.

    Raises:
        ExportError: blocks do not divide the row.
    """
    if columns % kind.weights:
        raise ExportError(
            f"Rows of {columns} weights are no whole blocks of {kind.name}, which have "
            f"{kind.weights}.",
            "Store it as another type.",
        )
    return columns // kind.weights * kind.bytes


def restored(codes: np.ndarray, scales: Scales) -> np.ndarray:
    """The weights that codes of shape (rows, columns) stand for, float32."""
    rows, columns = codes.shape
    kind = scales.kind
    step, base = scales.grid()
    signed = codes.reshape(rows, columns // kind.group, kind.group).astype(np.float32)
    signed -= kind.offset
    with np.errstate(all="ignore"):  # scales of a foreign file may be infinite or no numbers
        signed *= step[..., None]
        signed += base[..., None]
    return signed.reshape(rows, columns)


def code_of(kind: BlockType, groups: np.ndarray, step: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The nearest code of every weight, as float32.

    Args:
        kind: the blocks' type.
        groups: weights, shape (rows, groups, weights of a group).
        step, base: of each group, shape (rows, groups).
    """
    inverse = np.divide(1, step, out=np.zeros_like(step), where=step != 0)
    if kind.offset:
        codes = groups * inverse[..., None]
        codes += np.float32(kind.offset)
    else:
        codes = groups - base[..., None]
        codes *= inverse[..., None]
    np.rint(codes, out=codes)
    return np.clip(codes, kind.least, kind.most, out=codes)


def half(values: np.ndarray) -> np.ndarray:
    """Values as float16, those beyond its range at its ends."""
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float16)


def pack(codes: np.ndarray, scales: Scales) -> np.ndarray:
    """Write codes and scales as blocks.

    Args:
        codes: shape (rows, columns), uint8, each within the type's width.
        scales: of the same weight.

    Returns:
        Shape (rows, row bytes), uint8.

    Raises:
        ExportError: blocks do not divide a row, or a code or a scale does not fit.
    """
    kind = scales.kind
    rows, columns = codes.shape
    row_bytes(kind, columns)
    if codes.size and int(codes.max()) > kind.most:
        raise ExportError(f"A code does not fit in {kind.name}.", "Round the weight again.")
    blocks = np.ascontiguousarray(codes).reshape(rows, columns // kind.weights, kind.weights)
    if kind.nested:
        parts = _pack_nested(blocks, scales)
    else:
        parts = [_bytes_of(scales.scale)]
        if scales.minimum is not None:
            parts.append(_bytes_of(scales.minimum))
        if kind.width == 8:
            parts.append(blocks ^ 128)
        else:
            if kind.width == 5:
                parts.append(np.packbits(blocks >> 4, axis=2, bitorder="little"))
            parts.append((blocks[..., :_HALF] & 15) | (blocks[..., _HALF:] & 15) << 4)
    return np.concatenate(parts, axis=2).reshape(rows, -1)


def unpack_codes(kind: BlockType, data: np.ndarray, columns: int) -> tuple[np.ndarray, Scales]:
    """Read what `pack` wrote.

    Args:
        kind: the blocks' type.
        data: shape (rows, row bytes), uint8.
        columns: weights in a row.

    Returns:
        Codes of shape (rows, columns), uint8, and their scales.

    Raises:
        ExportError: there are more or fewer bytes than the weights take.
    """
    expected = row_bytes(kind, columns)
    if data.ndim != 2 or data.shape[1] != expected or data.dtype != np.uint8:
        raise ExportError(f"Its rows are not {expected} bytes of {kind.name}.", _REMEDY)
    rows, blocks = len(data), columns // kind.weights
    cells = np.ascontiguousarray(data).reshape(rows, blocks, kind.bytes)
    if kind.nested:
        return _unpack_nested(kind, cells)
    scale, minimum, at = _halves(cells, 0), None, 2
    if not kind.offset:
        minimum, at = _halves(cells, 2), 4
    if kind.width == 8:
        codes = cells[..., at:] ^ 128
    else:
        low = cells[..., -_HALF:]
        codes = np.concatenate([low & 15, low >> 4], axis=2)
        if kind.width == 5:
            high = np.unpackbits(cells[..., at : at + 4], axis=2, bitorder="little")
            codes |= high << 4
    return codes.reshape(rows, columns), Scales(kind, scale, minimum)


def _pack_nested(blocks: np.ndarray, scales: Scales) -> list[np.ndarray]:
    kind = scales.kind
    groups = _held(scales.inner).reshape(*blocks.shape[:2], -1)
    if kind.width == 6:
        halves = blocks.reshape(*blocks.shape[:2], 2, 4, 32)
        low = halves & 15
        nibbles = low[..., :2, :] | low[..., 2:, :] << 4
        pairs = halves >> 4
        high = pairs[..., 0, :] | pairs[..., 1, :] << 2 | pairs[..., 2, :] << 4
        high |= pairs[..., 3, :] << 6
        flat = [part.reshape(*blocks.shape[:2], -1) for part in (nibbles, high)]
        return [*flat, groups.astype(np.int8).view(np.uint8), _bytes_of(scales.scale)]
    minimums = _held(scales.inner_minimum).reshape(groups.shape)
    if groups.size and max(int(groups.max()), int(minimums.max())) > 63:
        raise ExportError(f"A scale does not fit in {kind.name}.", "Round the weight again.")
    parts = [_bytes_of(scales.scale), _bytes_of(_held(scales.minimum))]
    parts.append(
        np.concatenate(
            [
                (groups[..., :4] & 63) | groups[..., 4:] >> 4 << 6,
                (minimums[..., :4] & 63) | minimums[..., 4:] >> 4 << 6,
                (groups[..., 4:] & 15) | (minimums[..., 4:] & 15) << 4,
            ],
            axis=2,
        )
    )
    spans = blocks.reshape(*blocks.shape[:2], 8, 32)
    if kind.width == 5:
        parts.append(
            np.packbits(spans >> 4, axis=2, bitorder="little").reshape(*blocks.shape[:2], 32)
        )
    nibbles = (spans[..., ::2, :] & 15) | (spans[..., 1::2, :] & 15) << 4
    parts.append(nibbles.reshape(*blocks.shape[:2], 128))
    return parts


def _unpack_nested(kind: BlockType, cells: np.ndarray) -> tuple[np.ndarray, Scales]:
    rows, blocks = cells.shape[:2]
    if kind.width == 6:
        nibbles = cells[..., :128].reshape(rows, blocks, 2, 2, 32)
        high = cells[..., 128:192].reshape(rows, blocks, 2, 1, 32)
        codes = np.concatenate([nibbles & 15, nibbles >> 4], axis=3)
        codes |= (high >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3) << 4
        inner = np.ascontiguousarray(cells[..., 192:208]).view(np.int8).reshape(rows, -1)
        scales = Scales(kind, _halves(cells, 208), inner=inner)
        return codes.reshape(rows, -1), scales
    first, second, third = (cells[..., at : at + 4] for at in (4, 8, 12))
    inner = np.concatenate([first & 63, (third & 15) | first >> 6 << 4], axis=2)
    minimums = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=2)
    low = cells[..., -128:].reshape(rows, blocks, 4, 1, 32)
    codes = np.concatenate([low & 15, low >> 4], axis=3).reshape(rows, blocks, 8, 32)
    if kind.width == 5:
        bits = cells[..., 16:48].reshape(rows, blocks, 1, 32)
        codes |= (bits >> np.arange(8, dtype=np.uint8)[:, None] & 1) << 4
    scales = Scales(
        kind,
        _halves(cells, 0),
        _halves(cells, 2),
        inner.reshape(rows, -1),
        minimums.reshape(rows, -1),
    )
    return codes.reshape(rows, -1), scales


def _held(values: np.ndarray | None) -> np.ndarray:
    if values is None:
        raise ExportError("A block lacks one of its scales.", "Round the weight again.")
    return values


def _bytes_of(values: np.ndarray) -> np.ndarray:
    """Float16 values of shape (rows, blocks) as bytes: shape (rows, blocks, 2)."""
    return np.ascontiguousarray(values, dtype="<f2").view(np.uint8).reshape(*values.shape, 2)


def _halves(cells: np.ndarray, at: int) -> np.ndarray:
    """The float16 value of every block that starts at a byte: shape (rows, blocks)."""
    return np.ascontiguousarray(cells[..., at : at + 2]).view("<f2")[..., 0]
