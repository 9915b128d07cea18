"""The multiple-choice knapsack: its front, and its linear relaxation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STATES = 10_000
"""Undominated states kept. Beyond, of each step of a ten-thousandth of the range of costs the
best remains: with many options a unit, states would grow without end and tell no more."""


@dataclass(frozen=True)
class SeparableFront:
    """Undominated integer choices of a separable loss, by rising cost: all, up to `STATES`.

    Attributes:
        cost: total bytes of the units, shape (points,), int64.
        loss: total separable loss, shape (points,), strictly falling.
        parents, options: one array a unit, to trace choices back.
    """

    cost: np.ndarray
    loss: np.ndarray
    parents: tuple[np.ndarray, ...]
    options: tuple[np.ndarray, ...]

    def choices(self, points: np.ndarray) -> np.ndarray:
        """Options of some points: shape (points, units)."""
        points = np.asarray(points)
        out = np.empty((len(points), len(self.parents)), dtype=np.int64)
        for unit in range(len(self.parents) - 1, -1, -1):
            out[:, unit] = self.options[unit][points]
            points = self.parents[unit][points]
        return out


def separable_front(cost: np.ndarray, loss: np.ndarray) -> SeparableFront:
    """Front of the multiple-choice knapsack, by merging undominated states unit by unit.

    Exact as long as no more than `STATES` states are undominated.

    Args:
        cost: bytes, shape (units, widths), int64.
        loss: loss, shape (units, widths); infinite or NaN where an option is closed.
    """
    total, value = np.zeros(1, dtype=np.int64), np.zeros(1)
    parents: list[np.ndarray] = []
    options: list[np.ndarray] = []
    for unit_cost, unit_loss in zip(cost, loss, strict=True):
        open_ = np.flatnonzero(np.isfinite(unit_loss))
        costs = (total[None] + unit_cost[open_, None]).ravel()
        values = (value[None] + unit_loss[open_, None]).ravel()
        order = np.lexsort((values, costs))
        falling = values[order]
        best = np.minimum.accumulate(falling)
        keep = np.ones(len(order), dtype=bool)
        keep[1:] = falling[1:] < best[:-1]
        kept = _thinned(order[keep], costs)
        parents.append(kept % len(total))
        options.append(open_[kept // len(total)])
        total, value = costs[kept], values[kept]
    return SeparableFront(total, value, tuple(parents), tuple(options))


def _thinned(kept: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """At most about `STATES` of the states kept: the last, so the best, of each step of cost."""
    if len(kept) <= STATES:
        return kept
    low, high = int(costs[kept[0]]), int(costs[kept[-1]])
    step = (costs[kept] - low) * STATES // max(high - low, 1)
    last = np.append(step[1:] != step[:-1], True)
    last[0] = True  # the cheapest of all stays within reach
    return kept[last]


class Knapsack:
    """The linear relaxation over a fixed menu of costs: greedy along lower convex hulls.

    Sinha and Zoltners, "The Multiple-Choice Knapsack Problem" (Operations Research, 1979): after
    dropping options above each unit's lower convex hull, taking hull segments by falling
    steepness solves the relaxation exactly, and at most one unit ends up split.

    Args:
        cost: shape (units, widths), not negative.
        allowed: shape (units, widths), at least one a unit.
    """

    def __init__(self, cost: np.ndarray, allowed: np.ndarray) -> None:
        self._order = np.argsort(np.where(allowed, cost, np.inf), axis=1, kind="stable")
        self._cost = np.take_along_axis(cost.astype(np.float64), self._order, axis=1)
        self._open = np.take_along_axis(allowed, self._order, axis=1)

    def minimize(self, value: np.ndarray, room: float) -> np.ndarray:
        """The mixture of least value whose cost is at most `room` (which must be feasible).

        Args:
            value: value of each option, shape (units, widths).
            room: budget in the unit of the costs.

        Returns:
            Mixture, shape (units, widths).
        """
        units, widths = self._cost.shape
        values = np.where(self._open, np.take_along_axis(value, self._order, axis=1), np.inf)
        hull, steep = self._hull(values)
        mixture = np.zeros((units, widths))
        first = hull[:, 0]
        rows = np.arange(units)
        mixture[rows, first] = 1.0
        left = room - self._cost[rows, first].sum()
        starts, ends = hull[:, :-1], hull[:, 1:]
        unit_of, step_of = np.nonzero((ends >= 0) & (steep > 0))
        order = np.argsort(-steep[unit_of, step_of], kind="stable")
        unit_of, step_of = unit_of[order], step_of[order]
        from_, to = starts[unit_of, step_of], ends[unit_of, step_of]
        extra = self._cost[unit_of, to] - self._cost[unit_of, from_]
        fits = np.cumsum(extra)
        whole = int(np.searchsorted(fits, left * (1 + 1e-15), side="right"))
        mixture[unit_of[:whole], from_[:whole]] = 0.0
        # A unit climbs its hull step by step, so only its last step's end keeps weight.
        last = np.full(units, -1)
        last[unit_of[:whole]] = to[:whole]
        climbed = last >= 0
        mixture[climbed] = 0.0
        mixture[rows[climbed], last[climbed]] = 1.0
        if whole < len(extra):
            share = (left - (fits[whole - 1] if whole else 0.0)) / extra[whole]
            if share > 0:
                mixture[unit_of[whole], from_[whole]] = 1.0 - share
                mixture[unit_of[whole], to[whole]] = share
        out = np.zeros_like(mixture)
        np.put_along_axis(out, self._order, mixture, axis=1)
        return out

    def _hull(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower convex hull of each unit's (cost, value) points, from its cheapest option on.

        Returns:
            Columns on the hull, shape (units, widths), -1 past its end; and steepness of the
            step from each to the next (value saved a cost), shape (units, widths - 1).
        """
        units, widths = values.shape
        rows = np.arange(units)
        hull = np.full((units, widths), -1)
        steep = np.zeros((units, max(widths - 1, 0)))
        # Among options of the cheapest cost, start from the best one.
        cheapest = self._cost[:, :1]
        start = np.where(self._open & (self._cost <= cheapest), values, np.inf).argmin(axis=1)
        hull[:, 0] = start
        here = start.copy()
        active = np.ones(units, dtype=bool)
        for step in range(widths - 1):
            extra = self._cost - self._cost[rows, here][:, None]
            saved = values[rows, here][:, None] - values
            with np.errstate(divide="ignore", invalid="ignore"):
                rate = np.where((extra > 0) & (saved > 0) & self._open, saved / extra, -np.inf)
            # On ties the farthest option, so that collinear points make one step.
            far = widths - 1 - rate[:, ::-1].argmax(axis=1)
            active &= rate[rows, far] > 0
            if not active.any():
                break
            hull[active, step + 1] = far[active]
            steep[active, step] = rate[rows, far][active]
            here = np.where(active, far, here)
        # Along a hull steepness falls; rounding must not let a step overtake the one before it.
        return hull, np.minimum.accumulate(steep, axis=1)
