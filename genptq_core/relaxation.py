"""The continuous domain: relaxed allocations and the lower bounds that they prove."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .knapsack import Knapsack
from .prediction import QuadraticLoss

_ITERATIONS = 60
_TOLERANCE = 3e-3


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


def relax(loss: QuadraticLoss, cost: np.ndarray, allowed: np.ndarray, room: float) -> Relaxed:
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
    """Minimize 1/2 w^T gram w + tilt^T w over the simplex, from a feasible start.

    Primal active set method (Nocedal and Wright, "Numerical Optimization", algorithm 16.3): solve
    on the support; where a weight would turn negative, stop there and drop it; where an outside
    coordinate would still help, take it in.
    """
    count = len(start)
    scale = max(float(np.trace(gram)) / count, 1e-300)
    weights = start.copy()
    support = weights > 0
    support[-1] = True  # the newest vertex is the one that can help
    for _ in range(8 * count):
        held = np.flatnonzero(support)
        system = np.ones((len(held) + 1, len(held) + 1))
        system[:-1, :-1] = gram[np.ix_(held, held)]
        # A touch of ridge: vertices may repeat each other up to rounding.
        system[np.arange(len(held)), np.arange(len(held))] += 1e-10 * scale
        system[-1, -1] = 0.0
        target = np.linalg.solve(system, np.append(-tilt[held], 1.0))[:-1]
        step = target - weights[held]
        falling = target < 0
        if falling.any():
            reach = weights[held][falling] / (weights[held][falling] - target[falling])
            share = float(reach.min())
            weights[held] += share * step
            dropped = held[falling][reach <= share]
            weights[dropped] = 0.0
            support[dropped] = False
            continue
        weights[held] = target
        gradient = gram @ weights + tilt
        best = int(gradient.argmin())
        level = float(weights @ gradient)
        if support[best] or gradient[best] >= level - 1e-9 * max(abs(level), 1e-15):
            break
        support[best] = True
    weights = np.maximum(weights, 0.0)
    return weights / weights.sum()
