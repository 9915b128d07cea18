"""Parameters whose values are asked for row by row, so that no model is in memory as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import ExportError


class Parameter(Protocol):
    """A parameter of a model."""

    @property
    def name(self) -> str:
        """Its name in `transformers`."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        ...

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and float32 values (rows, columns) of one part after another."""
        ...


@dataclass(frozen=True)
class Held:
    """A parameter that is in memory."""

    name: str
    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.values.shape)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """All of it as one part."""
        yield 0, as_rows(self.values.astype(np.float32))


def as_rows(values: np.ndarray) -> np.ndarray:
    """Values as (rows, columns); a vector is one column, a number one row of it."""
    return values.reshape(values.shape[0] if values.shape else 1, math.prod(values.shape[1:]))


def array_of(parameter: Parameter, dtype: Any = np.float32) -> np.ndarray:
    """All of a parameter.

    Raises:
        ExportError: a value is no number, or beyond what the type holds.
    """
    found = np.empty(parameter.shape, dtype=dtype)
    rows = as_rows(found)
    for start, block in finite(parameter):
        with np.errstate(over="ignore"):
            rows[start : start + len(block)] = block
    if not np.isfinite(found).all():
        raise ExportError(f"{parameter.name} holds values that 16 bit cannot hold.")
    return found


def finite(parameter: Parameter) -> Iterator[tuple[int, np.ndarray]]:
    """A parameter's parts.

    Raises:
        ExportError: a value is no number.
    """
    for start, block in parameter.blocks():
        if not np.isfinite(block).all():
            raise ExportError(f"{parameter.name} holds what is no number.", "Export it again.")
        yield start, block


def half(array: np.ndarray, name: str) -> np.ndarray:
    """Numbers as float16.

    Raises:
        ExportError: float16 cannot hold them.
    """
    with np.errstate(over="ignore"):
        shortened = array.astype(np.float16)
    if not np.isfinite(shortened).all():
        raise ExportError(f"{name} holds values that 16 bit cannot hold.")
    return shortened
