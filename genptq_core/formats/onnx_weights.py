"""What ONNX graphs need to know of a model's parameters, whoever holds them: NumPy arrays.

A tensor of a graph is told by its type and shape; its values are asked for once, when it is
written, so that no model has to be in memory as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..quantizers.packing import pack_rows, packed_bytes
from ..units import Unit


@dataclass(frozen=True)
class Width:
    """How a unit in integers is stored.

    Attributes:
        bits: of a code.
        group_size: columns that share a scale; it divides a row.
    """

    bits: int
    group_size: int


@dataclass(frozen=True)
class Integers:
    """A unit in integers: a weight is scale * (code - zero).

    Attributes:
        codes: shape (rows, columns), uint8.
        scales: shape (rows, groups), float16.
        zeros: shape (rows, groups), uint8.
    """

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray


@dataclass(frozen=True)
class Lazy:
    """A tensor whose values are made when they are needed.

    Attributes:
        dtype: of its values.
        shape: its shape.
        make: gives them; never called where only sizes matter.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


class Weights(Protocol):
    """A model's parameters as a bit map stores them."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter, by name."""
        ...

    @property
    def units(self) -> Mapping[str, Sequence[Unit]]:
        """The units of each matrix in the order of their rows, by the parameter's name."""
        ...

    def width(self, unit: Unit) -> Width | None:
        """How a unit is stored; None where it stays at 16 bit."""
        ...

    def integers(self, unit: Unit) -> Integers:
        """Codes of a unit that has a width."""
        ...

    def rows(self, unit: Unit) -> np.ndarray:
        """A unit at 16 bit: shape (rows, columns), float16."""
        ...

    def half(self, name: str) -> np.ndarray:
        """A parameter at 16 bit: float16."""
        ...


def packed(weights: Weights, unit: Unit, width: Width) -> tuple[Lazy, Lazy, Lazy]:
    """Codes (rows, groups, bytes), scales and zero points of a unit, as MatMulNBits reads them."""
    bits, groups = width.bits, unit.columns // width.group_size
    codes = (unit.rows, groups, packed_bytes(width.group_size, bits))
    zeros = (unit.rows, packed_bytes(groups, bits))
    bytes_of, half = np.dtype(np.uint8), np.dtype(np.float16)
    return (
        Lazy(bytes_of, codes, lambda: pack_rows(weights.integers(unit).codes, bits).reshape(codes)),
        Lazy(half, (unit.rows, groups), lambda: weights.integers(unit).scales),
        Lazy(bytes_of, zeros, lambda: pack_rows(weights.integers(unit).zeros, bits)),
    )


def by_parameter(units: Iterable[Unit]) -> dict[str, list[Unit]]:
    """Units by the parameter that they are rows of, in their order."""
    found: dict[str, list[Unit]] = {}
    for unit in units:
        found.setdefault(unit.parameter, []).append(unit)
    return found
