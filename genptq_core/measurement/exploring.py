"""Which map to measure next, when enough is known, and which map to recommend. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..allocation.front import Front
from ..allocation.wer_curve import Curve
from .next_map import suggest_next_map
from .records import Measured
from .verdict import LIMITS

ENOUGH = 0.005
"""Half width of the band at which the front is known well enough, a fraction."""

PICKED = LIMITS[0]
"""Increase of WER up to which maps are worth picking, a fraction: there it is to be known well."""


def half_width(front: Front, curve: Curve) -> float:
    """Half width of the band where it is widest over maps worth picking, a fraction.

    Those are the ones that are predicted to cost at most `PICKED`; the one that costs least, where
    none does.
    """
    increase = curve.increase(front.loss)
    picked = (front.loss > 0) & (increase <= max(PICKED, float(increase.min())))
    low, high = curve.interval(front.loss[picked])
    return float((high - low).max(initial=0.0)) / 2


def next_point(front: Front, curve: Curve, records: Sequence[Measured]) -> int | None:
    """The point of a front to measure next.

    Args:
        front: the predicted front.
        curve: the curve of the speech set, own or borrowed.
        records: what was measured on that set, with what is predicted now.

    Returns:
        Index of the point that would teach most; of the recommended one, if enough is known and it
        was not measured; None if nothing needs to be measured.
    """
    if half_width(front, curve) <= ENOUGH:
        point = recommended(front, curve, records)
        return None if point is None or _measured(front, records)[point] else point
    suggestion = suggest_next_map(front, curve, records, np.flatnonzero(_measured(front, records)))
    return None if suggestion is None else suggestion.point


def recommended(front: Front, curve: Curve, records: Sequence[Measured]) -> int | None:
    """The smallest map of a front that is known to be safe.

    Its band lies under `PICKED`, and where it was measured it did not lose more, nor ran away on
    anything on which full precision does not.

    Returns:
        Its index in the front; None where there is none.
    """
    safe = (front.loss > 0) & (curve.interval(front.loss)[1] <= PICKED)
    bad = [
        m for m in records if m.wer_increase > PICKED or (m.runaways is not None and m.runaways.new)
    ]
    points = np.flatnonzero(safe & ~_measured(front, bad))
    return int(points[0]) if len(points) else None


def _measured(front: Front, records: Sequence[Measured]) -> np.ndarray:
    """Which points of a front were measured, shape (points,), bool: those of the same loss."""
    known = np.array([m.predicted_loss for m in records])
    return np.isclose(front.loss[:, None], known[None], rtol=1e-7, atol=0).any(axis=1)
