"""Scales of ggml's block types, chosen by least squares; weights rounded to the nearest code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .ggml_layout import (
    TYPES,
    BlockType,
    Scales,
    code_of,
    half,
    pack,
    restored,
    row_bytes,
    type_of,
    unpack_codes,
)
from .ggml_nested import nested_scales

_STRIDE = 0.35  # between two ranges that are tried, in steps from one code to the next
_AT_ONCE = 1 << 17  # weights that are worked on together, so that they stay in the cache


def nearest(kind: BlockType | str, weight: np.ndarray) -> np.ndarray:
    """Round every weight to the nearest code of well-chosen scales.

    The squared error of each block is at most that of ggml's own choice for the types without
    nested scales.

    Args:
        kind: the blocks' type, or its name.
        weight: shape (rows, columns), float32.

    Returns:
        Shape (rows, row bytes), uint8.

    Raises:
        ExportError: there is no such type, or its blocks do not divide a row.
    """
    kind = type_of(kind) if isinstance(kind, str) else kind
    out = np.empty((len(weight), row_bytes(kind, weight.shape[1])), dtype=np.uint8)
    step = max(1, _AT_ONCE // weight.shape[1])
    tries = 1 if kind.width == 8 else 13 if kind.nested else 5
    for start in range(0, len(weight), step):
        rows = weight[start : start + step].astype(np.float32)
        scales = _chosen(kind, rows, None, tries)
        out[start : start + step] = pack(nearest_codes(rows, scales), scales)
    return out


def unpack(kind: BlockType | str, data: np.ndarray, columns: int) -> np.ndarray:
    """The weights that blocks stand for.

    Args:
        kind: the blocks' type, or its name.
        data: shape (rows, row bytes), uint8.
        columns: weights in a row.

    Returns:
        Shape (rows, columns), float32.

    Raises:
        ExportError: there is no such type, or there are more or fewer bytes than the weights take.
    """
    kind = type_of(kind) if isinstance(kind, str) else kind
    return restored(*unpack_codes(kind, data, columns))


def choose_scales(
    kind: BlockType, weight: np.ndarray, importance: np.ndarray | None = None, tries: int = 24
) -> Scales:
    """Scales that minimize the (weighted) squared error of rounding to the nearest code.

    Args:
        kind: the blocks' type.
        weight: shape (rows, columns), float32.
        importance: weight of each column's squared error, shape (columns,), such as the diagonal
            of the Hessian; None if all are equal.
        tries: how many ranges are tried for each group.

    Raises:
        ExportError: blocks do not divide a row.
    """
    row_bytes(kind, weight.shape[1])
    step = max(1, _AT_ONCE // weight.shape[1])
    parts = [
        _chosen(kind, weight[start : start + step].astype(np.float32), importance, tries)
        for start in range(0, len(weight), step)
    ]

    def joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
        held = [part for part in parts if part is not None]
        return np.concatenate(held) if held else None

    return Scales(
        kind,
        np.concatenate([part.scale for part in parts]),
        joined([part.minimum for part in parts]),
        joined([part.inner for part in parts]),
        joined([part.inner_minimum for part in parts]),
    )


def nearest_codes(weight: np.ndarray, scales: Scales) -> np.ndarray:
    """The nearest code of every weight: shape (rows, columns), uint8."""
    kind = scales.kind
    step, base = scales.grid()
    groups = weight.reshape(*step.shape, kind.group)
    return code_of(kind, groups, step, base).astype(np.uint8).reshape(weight.shape)


def _chosen(
    kind: BlockType, weight: np.ndarray, importance: np.ndarray | None, tries: int
) -> Scales:
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // kind.group, kind.group)
    if importance is None:
        minds = np.ones((1, 1, 1), dtype=np.float32)
    else:
        # Columns that no calibration input used still get a scale that fits them.
        softened = importance + 1e-3 * float(importance.mean()) + 1e-30
        minds = softened.astype(np.float32).reshape(1, columns // kind.group, kind.group)
    if kind.offset:
        step, base = _symmetric(kind, groups, minds, tries), None
    else:
        step, base = _with_minimum(kind, groups, minds, tries)
    if kind.nested:
        return nested_scales(kind, groups, minds, step, base)
    return Scales(kind, half(step), None if base is None else half(base))


def _symmetric(kind: BlockType, groups: np.ndarray, minds: np.ndarray, tries: int) -> np.ndarray:
    """The best step of each group that has a code for zero: shape (rows, groups)."""
    far = np.abs(groups).argmax(axis=2)
    extreme = np.take_along_axis(groups, far[..., None], axis=2)[..., 0]
    low, high = kind.least - kind.offset, kind.most - kind.offset
    search = _Search(kind, groups, minds)
    search.add(extreme / (high if kind.width == 8 else low))  # ggml's own
    for attempt in range(tries):
        # The extreme weight gets the lowest code or the highest, or is clipped.
        beyond = _STRIDE * ((attempt + 1) // 2)
        end = low - beyond if attempt % 2 == 0 else high + beyond
        search.fit(extreme / np.float32(end))
    return search.step


def _with_minimum(
    kind: BlockType, groups: np.ndarray, minds: np.ndarray, tries: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best step and minimum of each group: shape (rows, groups) each."""
    low, high = groups.min(axis=2), groups.max(axis=2)
    if kind.nested:
        low = np.minimum(low, 0)
    span = high - low
    search = _Search(kind, groups, minds)
    search.add(span / kind.most, low)  # ggml's own
    for attempt in range(tries):
        # Narrower by nothing, at both ends, at the lower one, at the upper one, and so on.
        cut = np.float32(_STRIDE / kind.most * ((attempt + 2) // 3)) * span
        bottom = low + cut * (attempt % 3 != 2)
        top = high - cut * (attempt % 3 != 1)
        search.fit((top - bottom) / kind.most, bottom)
    return search.step, search.base


class _Search:
    """The best step and base found so far for each group."""

    def __init__(self, kind: BlockType, groups: np.ndarray, minds: np.ndarray) -> None:
        self._kind = kind
        self._groups = groups
        self._minds = minds
        self._error = np.full(groups.shape[:2], np.inf, dtype=np.float32)
        self._flat = kind.nested
        self.step = np.zeros(groups.shape[:2], dtype=np.float32)
        self.base = np.zeros_like(self.step)

    def add(self, step: np.ndarray, base: np.ndarray | None = None) -> np.ndarray:
        """Take a step and a base where they are better; returns the codes that they give."""
        step = self._rounded(step)
        base = np.zeros_like(step) if base is None else self._rounded(base)
        codes = code_of(self._kind, self._groups, step, base)
        signed = codes - np.float32(self._kind.offset) if self._kind.offset else codes
        read = signed * step[..., None]
        if not self._kind.offset:
            read += base[..., None]
        read -= self._groups
        np.square(read, out=read)
        error = (read * self._minds).sum(axis=2)
        better = error < self._error
        np.copyto(self._error, error, where=better)
        np.copyto(self.step, step, where=better)
        np.copyto(self.base, base, where=better)
        return signed

    def fit(self, step: np.ndarray, base: np.ndarray | None = None) -> None:
        """Add a step and a base, and those that fit their codes best."""
        signed = self.add(step, base)
        weighted = signed * self._minds
        moment = np.einsum("rgc,rgc->rg", weighted, signed)
        along = np.einsum("rgc,rgc->rg", weighted, self._groups)
        if base is None:
            self.add(np.divide(along, moment, out=np.zeros_like(along), where=moment > 0))
            return
        total = np.float32(self._kind.group) if self._minds.size == 1 else self._minds.sum(axis=2)
        mean = weighted.sum(axis=2) / total
        level = (self._groups * self._minds).sum(axis=2) / total
        moment, along = moment - total * mean * mean, along - total * mean * level
        fitted = np.divide(along, moment, out=np.zeros_like(along), where=moment > 0)
        base = level - fitted * mean
        if self._kind.nested:
            base = np.minimum(base, 0)
        self.add(fitted, base)

    def _rounded(self, values: np.ndarray) -> np.ndarray:
        if self._flat:
            return values.astype(np.float32)
        return half(values).astype(np.float32)


__all__ = [
    "TYPES",
    "BlockType",
    "Scales",
    "choose_scales",
    "nearest",
    "nearest_codes",
    "pack",
    "restored",
    "row_bytes",
    "type_of",
    "unpack",
    "unpack_codes",
]
