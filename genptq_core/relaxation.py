"""The continuous domain: relaxed allocations and the lower bounds that they prove."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .prediction import QuadraticLoss

_ITERATIONS = 60
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Relaxed:
    """A continuous allocation.

    Attributes:
        mixture: z, shape (units, widths), rows on the simplex.
        loss: its predicted loss.
        lower_bound: proven lower bound on the loss of every mixture within the budget.
    """

    mixture: np.ndarray
    loss: float
    lower_bound: float


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
        return hull, steep


def relax_separable(
    separable: np.ndarray, cost: np.ndarray, allowed: np.ndarray, room: float
) -> Relaxed:
    """Exact optimum of the relaxation of a separable loss.

    Args:
        separable: loss of each option alone, shape (units, widths).
        cost: bytes, shape (units, widths).
        allowed: shape (units, widths), bool.
        room: bytes for the units together, at least the cheapest allowed.
    """
    usable = np.where(allowed, separable, 0.0)
    mixture = Knapsack(cost, allowed).minimize(usable, room)
    value = float((usable * mixture).sum())
    return Relaxed(mixture, value, value)


def relax(
    loss: QuadraticLoss, cost: np.ndarray, allowed: np.ndarray, room: float
) -> Relaxed:
    """Optimum of the convex relaxation with cross-unit terms, to a small proven gap.

    Fully corrective Frank-Wolfe (Jaggi, "Revisiting Frank-Wolfe", ICML 2013, algorithm 4 and the
    duality gap of section 2): each step adds the vertex that the linearized problem picks, then
    weighs all vertices anew. Every linearization is a lower bound; the best is kept.

    Args:
        loss: predicted loss.
        cost: bytes, shape (units, widths).
        allowed: shape (units, widths), bool.
        room: bytes for the units together, at least the cheapest allowed.
    """
    rho = loss.shrinkage
    linear = rho * np.where(allowed, loss.separable, 0.0)
    rows = loss.projections.reshape(len(loss.projections), -1)
    knapsack = Knapsack(cost, allowed)
    vertex = knapsack.minimize(np.where(allowed, loss.separable, 0.0), room)
    vertices, images, slopes = [vertex], [rows @ vertex.ravel()], [float((linear * vertex).sum())]
    weights = np.ones(1)
    bound = 0.0  # a divergence is never negative
    value, mixture = np.inf, vertex
    for _ in range(_ITERATIONS):
        stacked = np.stack(images)
        gram, tilt = (1 - rho) * (stacked @ stacked.T), np.array(slopes)
        weights = _simplex_minimum(gram, tilt, weights)
        image = weights @ stacked
        value = 0.5 * (1 - rho) * float(image @ image) + float(weights @ tilt)
        mixture = np.tensordot(weights, np.stack(vertices), axes=1)
        gradient = (1 - rho) * (image @ rows).reshape(cost.shape) + linear
        vertex = knapsack.minimize(gradient, room)
        bound = max(bound, value + float((gradient * (vertex - mixture)).sum()))
        if value - bound <= _TOLERANCE * max(value, 1e-12):
            break
        keep = weights > 1e-9
        vertices = [v for v, k in zip(vertices, keep, strict=True) if k]
        images = [v for v, k in zip(images, keep, strict=True) if k]
        slopes = [v for v, k in zip(slopes, keep, strict=True) if k]
        weights = np.append(weights[keep] / weights[keep].sum(), 0.0)
        vertices.append(vertex)
        images.append(rows @ vertex.ravel())
        slopes.append(float((linear * vertex).sum()))
    return Relaxed(mixture, value, min(bound, value))


def _simplex_minimum(gram: np.ndarray, tilt: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Minimize 1/2 w^T gram w + tilt^T w over the simplex by pairwise coordinate steps."""
    weights = start.copy()
    gradient = gram @ weights + tilt
    for _ in range(40 * len(weights)):
        down = int(gradient.argmin())
        held = np.flatnonzero(weights > 0)
        up = int(held[gradient[held].argmax()])
        slack = gradient[up] - gradient[down]
        if slack <= 1e-7 * max(abs(float(weights @ gradient)), 1e-15):
            break
        curve = gram[up, up] + gram[down, down] - 2 * gram[up, down]
        step = weights[up] if curve <= 0 else min(weights[up], slack / curve)
        weights[up] -= step
        weights[down] += step
        gradient += step * (gram[:, down] - gram[:, up])
    return weights / weights.sum()
