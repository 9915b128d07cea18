"""Scales of ggml's types of 256 weights, which are codes of a scale for the block."""

from __future__ import annotations

import numpy as np

from .ggml_layout import BlockType, Scales, code_of, half

_ROUNDS = 8  # of fitting the scales of blocks and those of groups in turn


def nested_scales(
    kind: BlockType,
    groups: np.ndarray,
    minds: np.ndarray,
    step: np.ndarray,
    base: np.ndarray | None,
) -> Scales:
    """Steps and bases of groups as codes, fitted again to what rounding by them gives.

    Args:
        kind: the blocks' type.
        groups: weights, shape (rows, groups, weights of a group), float32.
        minds: weight of each squared error, of a shape that broadcasts to that of `groups`.
        step: the best step of each group by itself, shape (rows, groups).
        base: the same for its base, not above 0; None for q6_k.
    """
    minds = np.broadcast_to(minds, groups.shape)
    each = kind.weights // kind.group
    scale, inner = _coded(kind, step)
    minimum, lower = (None, None) if base is None else _coded(kind, -base)
    best = Scales(kind, scale, minimum, inner, lower)
    least = np.full(scale.shape, np.inf)
    scales = best
    for attempt in range(_ROUNDS):
        wide, low = scales.grid()
        signed = code_of(kind, groups, wide, low) - np.float32(kind.offset)
        read = signed * wide[..., None] + low[..., None] - groups
        error = (np.square(read) * minds).sum(axis=2).reshape(*scale.shape, each).sum(axis=2)
        better = error < least
        best = _joined(best, scales, better)
        least = np.where(better, error, least)
        fit = _fit_groups if attempt % 2 else _fit_blocks
        scales = fit(scales, groups, minds, signed)
    return best


def _coded(kind: BlockType, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of groups as a float16 scale for each block, and a code for each group."""
    blocks = values.reshape(len(values), -1, kind.weights // kind.group)
    far = np.abs(blocks).argmax(axis=2)
    extreme = np.take_along_axis(blocks, far[..., None], axis=2)[..., 0]
    scale = half(extreme / np.float32(-128 if kind.offset else 63))
    return scale, _codes_by(kind, scale, values)


def _codes_by(kind: BlockType, scale: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values of groups as codes of their blocks' scales."""
    wide = np.repeat(scale.astype(np.float32), kind.weights // kind.group, axis=1)
    codes = np.rint(np.divide(values, wide, out=np.zeros_like(values), where=wide != 0))
    if kind.offset:
        return np.clip(codes, -128, 127).astype(np.int8)
    return np.clip(codes, 0, 63).astype(np.uint8)


def _fit_blocks(
    scales: Scales, groups: np.ndarray, minds: np.ndarray, signed: np.ndarray
) -> Scales:
    """The block scales that suit these codes and group scales best."""
    kind = scales.kind
    shape = (*scales.scale.shape, kind.weights)
    weighted = minds.reshape(shape)
    aim = groups.reshape(shape)
    ones = np.ones_like(scales.scale)
    step, _ = Scales(kind, ones, scales.minimum, scales.inner, scales.inner_minimum).grid()
    along = (signed * step[..., None]).reshape(shape)
    if scales.minimum is None:
        top, under = (weighted * along * aim).sum(axis=2), (weighted * along**2).sum(axis=2)
        return Scales(kind, half(_ratio(top, under)), inner=scales.inner)
    _, base = Scales(kind, ones, ones, scales.inner, scales.inner_minimum).grid()
    down = np.broadcast_to(base[..., None], groups.shape).reshape(shape)
    aa, ab, bb = ((weighted * x * y).sum(axis=2) for x, y in _pairs(along, down))
    ax, bx = ((weighted * x * aim).sum(axis=2) for x in (along, down))
    whole = aa * bb - ab * ab
    alone = whole <= 1e-6 * aa * bb
    scale = np.where(alone, _ratio(ax, aa), _ratio(bb * ax - ab * bx, whole))
    minimum = np.where(alone, 0, _ratio(aa * bx - ab * ax, whole))
    return Scales(kind, half(scale), half(minimum), scales.inner, scales.inner_minimum)


def _fit_groups(
    scales: Scales, groups: np.ndarray, minds: np.ndarray, signed: np.ndarray
) -> Scales:
    """The group scales that suit these codes and block scales best."""
    kind = scales.kind
    weighted = minds * signed
    square = (weighted * signed).sum(axis=2)
    along = (weighted * groups).sum(axis=2)
    if scales.minimum is None:
        inner = _codes_by(kind, scales.scale, _ratio(along, square))
        return Scales(kind, scales.scale, inner=inner)
    total, mean = minds.sum(axis=2), weighted.sum(axis=2)
    level = (minds * groups).sum(axis=2)
    step = _ratio(total * along - mean * level, total * square - mean * mean)
    inner = _codes_by(kind, scales.scale, step)
    step, _ = Scales(kind, scales.scale, scales.minimum, inner, scales.inner_minimum).grid()
    base = _ratio(level - step * mean, total)
    lower = _codes_by(kind, scales.minimum, -base)
    return Scales(kind, scales.scale, scales.minimum, inner, lower)


def _pairs(first: np.ndarray, second: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(first, first), (first, second), (second, second)]


def _ratio(top: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(top, under, out=np.zeros_like(top), where=under > 0)


def _joined(scales: Scales, others: Scales, better: np.ndarray) -> Scales:
    """The other scales of the blocks that are better with them."""
    wide = np.repeat(better, scales.kind.weights // scales.kind.group, axis=1)

    def chosen(
        which: np.ndarray, old: np.ndarray | None, new: np.ndarray | None
    ) -> np.ndarray | None:
        return None if old is None or new is None else np.where(which, new, old)

    return Scales(
        scales.kind,
        np.where(better, others.scale, scales.scale),
        chosen(better, scales.minimum, others.minimum),
        chosen(wide, scales.inner, others.inner),
        chosen(wide, scales.inner_minimum, others.inner_minimum),
    )
