"""The codec of entropy-coded weights: codes in, bytes out, and back without loss.

Layout of a weight of shape (rows, columns), little-endian:

    step     float32     the common step
    shift    uint8       how many low bits of each code are written without a table
    least    int8        the first spread class
    classes  uint8       how many spread classes there are
    zero     uint8       0
    tables               of row steps, column steps, row spreads, column spreads, and each class:
                         int16 first symbol, uint16 number of symbols, uint8 count of each
    words    uint32 each: one stack of asymmetric numeral systems (Duda, "Asymmetric numeral
                         systems", arXiv:1311.2540), as `constriction` writes them; the last is
                         never zero, so zeros that pad the weight to a size can be told apart

The stack gives row steps, column steps, row spreads, column spreads, the high parts of the codes
class by class, and their low bits. The class of code (i, j) is the sum of its row's and its
column's spread, half an octave wide. Tables hold whole numbers, so every machine decodes alike.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import constriction
import numpy as np

from ..errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor

_models = constriction.stream.model
_AnsCoder = constriction.stream.stack.AnsCoder

OCTAVE = 4
"""Steps and spreads are kept in fractions of an octave: 1 / OCTAVE."""

MERGE = 2  # spreads to a class
FARTHEST = 12  # classes beyond this from the middle share the last one's table
_ROWS_AT_ONCE = 2048
_HEADER = struct.Struct("<fBbBB")
_TABLE = struct.Struct("<hH")

HEADER_BYTES, TABLE_BYTES = _HEADER.size, _TABLE.size
"""Bytes of the header, and of a table besides its counts."""

_REMEDY = "The file is damaged: export again."


@dataclass(frozen=True)
class _Table:
    """How often each symbol from `first` on occurs, in 255ths of the most frequent one."""

    first: int
    counts: np.ndarray

    @staticmethod
    def of(frequencies: np.ndarray, first: int) -> _Table:
        used = np.flatnonzero(frequencies)
        if not len(used):
            return _Table(first, np.ones(1, dtype=np.uint8))
        kept = frequencies[used[0] : used[-1] + 1]
        counts = np.maximum(np.rint(kept * (255 / kept.max())), kept > 0)
        return _Table(first + int(used[0]), counts.astype(np.uint8))

    def to_bytes(self) -> bytes:
        return _TABLE.pack(self.first, len(self.counts)) + self.counts.tobytes()

    @property
    def model(self) -> Any:
        weights = self.counts.astype(np.float64)
        return _models.Categorical(weights / weights.sum(), perfect=False)


@dataclass(frozen=True)
class _Spreads:
    """How large the codes of each row and column are, which gives the class of each code.

    Attributes:
        row: log2 of the mean size of each row's codes, in units of 1 / OCTAVE, shape (rows,).
        column: the same for each column, relative to all codes, shape (columns,).
        least: the first class.
        classes: how many there are.
    """

    row: np.ndarray
    column: np.ndarray
    least: int
    classes: int

    @staticmethod
    def of(codes: np.ndarray) -> _Spreads:
        sizes = np.abs(codes)
        whole = _logs(sizes.mean(dtype=np.float64, keepdims=True).reshape(1))[0]
        row = _logs(sizes.mean(axis=1, dtype=np.float64))
        column = _logs(sizes.mean(axis=0, dtype=np.float64)) - whole
        middle = int(whole) // MERGE
        low = max((int(row.min()) + int(column.min())) // MERGE, middle - FARTHEST)
        high = min((int(row.max()) + int(column.max())) // MERGE, middle + FARTHEST)
        return _Spreads(row, np.clip(column, -128, 127), low, high - low + 1)

    def of_codes(self) -> np.ndarray:
        """The class of each code, from 0: shape (rows, columns)."""
        return self._of_rows(self.row)

    def _of_rows(self, row: np.ndarray) -> np.ndarray:
        """The class of each code in rows of these spreads: shape (rows, columns)."""
        sums = row[:, None].astype(np.int16) + self.column.astype(np.int16)
        return np.clip(sums // MERGE - self.least, 0, self.classes - 1)

    def places(self) -> _Places:
        """Where each code lies when they are written class by class.

        Rows of one spread have the same classes, so this takes no sorting of all codes.
        """
        values, kinds = np.unique(self.row, return_inverse=True)
        members = self._of_rows(values).astype(np.uint8)
        counts = np.stack([np.bincount(row, minlength=self.classes) for row in members])
        ranks = np.empty(members.shape, dtype=np.int32)
        for member, count, rank in zip(members, counts, ranks, strict=True):
            order = np.argsort(member, kind="stable")
            rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        sizes = np.bincount(kinds, minlength=len(values)) @ counts
        return _Places(kinds, members, counts, ranks, sizes)


@dataclass(frozen=True)
class _Places:
    """Where each code lies when they are written class by class, and row by row in a class.

    Attributes:
        kinds: which of the different row spreads each row has, shape (rows,).
        members: the class of each code in a row of each spread, shape (spreads, columns), uint8.
        counts: how many codes of each class such a row has, shape (spreads, classes).
        ranks: how many codes of its class come before each code in such a row, as `members`.
        sizes: how many codes each class has, shape (classes,).
    """

    kinds: np.ndarray
    members: np.ndarray
    counts: np.ndarray
    ranks: np.ndarray
    sizes: np.ndarray

    def gathered(self, written: np.ndarray) -> np.ndarray:
        """Codes (rows, columns) from all of them class by class, shape (rows * columns,)."""
        codes = np.empty((len(self.kinds), self.members.shape[1]), dtype=written.dtype)
        before = np.cumsum(self.sizes) - self.sizes
        for start in range(0, len(codes), _ROWS_AT_ONCE):
            kinds = self.kinds[start : start + _ROWS_AT_ONCE]
            counts = self.counts[kinds]
            first = before + np.cumsum(counts, axis=0) - counts
            before = before + counts.sum(axis=0)
            for kind in np.unique(kinds):
                rows = np.flatnonzero(kinds == kind)
                places = first[rows].take(self.members[kind], axis=1)
                places += self.ranks[kind]
                codes[start + rows] = written.take(places)
        return codes


def encode(codes: Tensor, step: float, row: Tensor, column: Tensor) -> bytes:
    """Write a weight's codes and steps.

    Args:
        codes: shape (rows, columns), int16.
        step: the common step, a float32.
        row: logarithm of each row's step, shape (rows,), int8.
        column: logarithm of each column's step, shape (columns,), int8.
    """
    array = codes.numpy()
    spreads = _Spreads.of(array)
    shift = _shift(array)
    classes = spreads.of_codes()
    high = array >> shift
    parts = [row.numpy(), column.numpy(), spreads.row, spreads.column]
    parts += [high[classes == index] for index in range(spreads.classes)]
    tables = [_table(part) for part in parts]
    coder = _AnsCoder()
    if shift:
        low = (array & ((1 << shift) - 1)).astype(np.int32).ravel()
        coder.encode_reverse(low, _models.Uniform(1 << shift))
    for part, table in zip(reversed(parts), reversed(tables), strict=True):
        if len(part) and len(table.counts) > 1:
            coder.encode_reverse(part.astype(np.int32) - table.first, table.model)
    header = _HEADER.pack(step, shift, spreads.least, spreads.classes, 0)
    words = np.asarray(coder.get_compressed(), dtype="<u4")
    return header + b"".join(table.to_bytes() for table in tables) + words.tobytes()


def decode(
    data: bytes, rows: int, columns: int
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Read what `encode` wrote.

    Returns:
        Codes (rows, columns) int16, the step, row logarithms int8, column logarithms int8.

    Raises:
        ExportError: the bytes are not a weight of that shape.
    """
    try:
        step, shift, least, classes, zero = _HEADER.unpack_from(data)
        at = _HEADER.size
        tables = []
        for _ in range(4 + classes):
            first, length = _TABLE.unpack_from(data, at)
            at += _TABLE.size
            counts = np.frombuffer(data, dtype=np.uint8, count=length, offset=at)
            if not length or not counts.any():
                raise ValueError("an empty table")
            tables.append(_Table(first, counts))
            at += length
        if zero or shift > 15 or not math.isfinite(step):
            raise ValueError("an impossible header")
        words = np.frombuffer(data, dtype="<u4", offset=at, count=(len(data) - at) // 4)
        coder = _AnsCoder(_without_padding(words))

        def take(table: _Table, out: np.ndarray) -> np.ndarray:
            if not len(out) or len(table.counts) == 1:
                out[:] = table.first
            else:
                symbols = np.asarray(coder.decode(table.model, len(out)))
                np.add(symbols, np.int32(table.first), out=out, casting="unsafe")
            return out

        sides = [
            take(table, np.empty(count, dtype=np.int16))
            for table, count in zip(tables, (rows, columns) * 2, strict=False)
        ]
        row, column = sides[0].astype(np.int8), sides[1].astype(np.int8)
        places = _Spreads(sides[2], sides[3], least, classes).places()
        written = np.empty(rows * columns, dtype=np.int16)
        begin = 0
        for table, size in zip(tables[4:], places.sizes.tolist(), strict=True):
            take(table, written[begin : begin + size])
            begin += size
        codes = places.gathered(written)
        if shift:
            codes <<= shift
            low = coder.decode(_models.Uniform(1 << shift), codes.size)
            codes |= np.asarray(low).astype(np.int16).reshape(codes.shape)
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise ExportError(f"The coded weights cannot be read ({error}).", _REMEDY) from error
    return codes, float(step), row, column


def _without_padding(words: np.ndarray) -> np.ndarray:
    """The words up to the last that is not zero."""
    used = len(words)
    while used and not words[used - 1]:
        block = words[max(0, used - 4096) : used]
        last = np.flatnonzero(block)
        used = used - len(block) + (int(last[-1]) + 1 if len(last) else 0)
    return words[:used].astype(np.uint32)


def multiplied(codes: np.ndarray, step: float, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The weight that codes and steps, as `decode` gives them, stand for: float32."""
    steps = powers(row)[:, None] * powers(column)
    steps *= np.float32(step)
    steps *= codes
    return steps


def powers(logs: np.ndarray) -> np.ndarray:
    """2 to the power of logarithms (int8) in units of 1 / OCTAVE: float32, alike everywhere."""
    return _powers()[logs.astype(np.int16) + 128]


@cache
def _powers() -> np.ndarray:
    return np.exp2(np.arange(-128, 128) / OCTAVE).astype(np.float32)


def _table(symbols: np.ndarray) -> _Table:
    if not len(symbols):
        return _Table(0, np.ones(1, dtype=np.uint8))
    low = int(symbols.min())
    return _Table.of(np.bincount(symbols.astype(np.int64).ravel() - low), low)


def _shift(codes: np.ndarray) -> int:
    """How many low bits of the codes are as good as random, and so not worth a table."""
    size = float(np.abs(codes).mean(dtype=np.float64))
    return max(0, int(math.log2(size / 6))) if size > 6 else 0


def _logs(sizes: np.ndarray) -> np.ndarray:
    """log2 of mean code sizes in units of 1 / OCTAVE, as small integers."""
    return np.rint(OCTAVE * np.log2(sizes + 0.05)).astype(np.int16)
