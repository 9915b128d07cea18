"""The front: predicted points for every size, its knee and hypervolume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .problem import Problem

WORST_USABLE = 1.0
"""Loss beyond which a model is useless, nats per token; knee and area ignore differences there."""


@dataclass(frozen=True)
class Front:
    """Undominated predicted maps, by rising size and falling loss.

    Attributes:
        choices: menu indices, shape (points, units).
        bytes: sizes, shape (points,), int64.
        loss: predicted loss, shape (points,), nats per token.
        knee: index of the knee.
        hypervolume: fraction of the box of sizes and usable losses that the front dominates.
    """

    choices: np.ndarray
    bytes: np.ndarray
    loss: np.ndarray
    knee: int
    hypervolume: float


def predicted_front(problem: Problem) -> Front:
    """The predicted front over all sizes.

    Points of the separable front (one dynamic programme, exact up to `knapsack.STATES` states) and
    stationary maps of many Lagrange multipliers are scored with the full loss. The undominated ones
    remain.
    """
    choices, size, loss = problem.candidates
    keep = undominated(size, loss)
    choices, size, loss = choices[keep], size[keep], loss[keep]
    return Front(
        choices=choices,
        bytes=size,
        loss=loss,
        knee=knee(size, loss),
        hypervolume=hypervolume(size, loss),
    )


def undominated(size: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Indices of the points that no other point beats in both, by rising size."""
    order = np.lexsort((loss, size))
    best = np.minimum.accumulate(loss[order])
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = loss[order][1:] < best[:-1]
    return order[keep]


def knee(size: np.ndarray, loss: np.ndarray) -> int:
    """Index of the point farthest below the line between the front's ends.

    Satopaa et al., "Finding a 'Kneedle' in a Haystack" (ICDCS Workshops 2011), section III.
    """
    x, y = _unit_square(size, loss)
    return int((x + y).argmin())


def hypervolume(size: np.ndarray, loss: np.ndarray) -> float:
    """Fraction of the box of sizes and usable losses that a front's points dominate."""
    x, y = _unit_square(size, loss)
    right = np.append(x[1:], 1.0)
    return float(((right - x) * (1 - y)).sum())


def _unit_square(size: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both axes scaled to [0, 1]: size between the front's ends, loss against the worst usable."""
    across = np.ptp(size)
    x = (size - size.min()) / across if across else np.zeros(len(size))
    worst = min(float(loss.max()), WORST_USABLE)
    y = np.minimum(loss / worst, 1.0) if worst > 0 else np.zeros(len(loss))
    return x, y
