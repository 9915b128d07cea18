"""Relaxed allocations, where units may mix their options, and the lower bounds that they prove."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..progress import Progress, Report, silent
from .knapsack import HullPath, Knapsack
from .predicted_loss import QuadraticLoss

_ITERATIONS = 60
_TOLERANCE = 3e-3
_INTERPOLATED = 1e-2  # gap, relative to the loss, at which two solved budgets speak for a third
_REPORTS = 16  # of progress, however many budgets there are
_DEPTH = 9


@dataclass(frozen=True)
class Cut:
    """A linearization of the loss, which bounds it from below for every budget.

    Attributes:
        constant: the loss minus its slope times the mixture, where it was linearized.
        path: the linear programme's optimum for every budget.
    """

    constant: float
    path: HullPath

    def bound(self, room: float) -> float:
        """The loss that no mixture within a budget can beat."""
        return max(0.0, self.constant + float(self.path.value_at(room)))


@dataclass(frozen=True)
class Relaxed:
    """A continuous allocation.

    Attributes:
        mixture: z, shape (units, options), rows on the simplex.
        loss: its predicted loss, of second order.
        lower_bound: proven lower bound on the loss of every mixture within the budget.
        cut: proves `lower_bound` where the budget itself was solved, and bounds every other budget.
    """

    mixture: np.ndarray
    loss: float
    lower_bound: float
    cut: Cut | None = None


class Relaxation:
    """The convex programme of one problem, for any budget.

    Few budgets are solved: a mixture of the solutions of two budgets is feasible for every budget
    between them, and their cuts bound it. Which two are taken depends on the wanted budget alone,
    so an answer does not depend on earlier questions.

    Args:
        loss: predicted loss.
        cost: bytes, shape (units, options).
        allowed: shape (units, options), bool.
        caps: budgets of sets of units; see `Knapsack`.
    """

    def __init__(
        self,
        loss: QuadraticLoss,
        cost: np.ndarray,
        allowed: np.ndarray,
        caps: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self._knapsack = Knapsack(cost, allowed, caps)
        self._keep = 1 - loss.shrinkage
        self._linear = loss.shrinkage * np.where(allowed, loss.diagonal, 0.0)
        self._rows = loss.projections.reshape(len(loss.projections), -1)
        self._separable = np.where(allowed, loss.separable, 0.0)
        self._path = self._knapsack.path(self._separable)
        self._solved: dict[float, tuple[Relaxed, np.ndarray, float]] = {}

    @property
    def least(self) -> float:
        """The smallest feasible budget."""
        return float(self._path.cost[0])

    def separable(self, room: float) -> Relaxed:
        """The optimum without cross terms between units, in closed form."""
        mixture = self._path.mixture(room)
        value = float((self._separable * mixture).sum())
        return Relaxed(mixture, value, value)

    def at(self, room: float) -> Relaxed:
        """The optimum within a budget, to a small proven gap."""
        if self._keep == 0:
            return self.separable(room)
        low, high = self.least, float(self._path.cost[-1])
        room = min(max(room, low), max(high, low))
        for _ in range(_DEPTH):
            if not low < room < high:
                break
            share, value, bound = self._between(low, high, room)
            if value - bound <= _INTERPOLATED * max(value, 1e-12):
                return Relaxed(self._mixed(low, high, share), value, min(bound, value))
            middle = float(np.sqrt(low * high)) if low > 0 else high / 2
            self._solve(middle, self._mixed(low, high, (middle - low) / (high - low)))
            low, high = (low, middle) if room <= middle else (middle, high)
        return self._solve(room)[0]

    def bounds(self, rooms: np.ndarray, report: Report = silent) -> np.ndarray:
        """Lower bounds for many budgets, shape (budgets,)."""
        found: list[float] = []
        step = max(len(rooms) // _REPORTS, 1)
        for room in rooms:
            if not len(found) % step:
                report(Progress("bounds", len(found), len(rooms)))
            found.append(self.at(float(room)).lower_bound)
        return np.array(found)

    def solve(self, room: float, start: np.ndarray | None = None) -> Relaxed:
        """Solve for one budget.

        Fully corrective Frank-Wolfe (Jaggi, "Revisiting Frank-Wolfe", ICML 2013, algorithm 4 and
        the duality gap of section 2): each step adds the vertex that the linearized problem
        picks, then weighs all vertices again. Every linearization is a lower bound; the best is
        kept.

        Args:
            room: bytes for the units together, at least `least`.
            start: a feasible mixture; that of the separable loss if absent.
        """
        keep, linear, rows = self._keep, self._linear, self._rows
        vertex = self._path.mixture(room) if start is None else start
        vertices, images = [vertex], [rows @ vertex.ravel()]
        slopes = [float((linear * vertex).sum())]
        weights = np.ones(1)
        best: Cut | None = None
        bound = -np.inf
        value, mixture = np.inf, vertex
        for _ in range(_ITERATIONS):
            stacked = np.stack(images)
            gram, tilt = keep * (stacked @ stacked.T), np.array(slopes)
            weights = _simplex_minimum(gram, tilt, weights)
            image = weights @ stacked
            value = 0.5 * keep * float(image @ image) + float(weights @ tilt)
            mixture = np.tensordot(weights, np.stack(vertices), axes=1)
            gradient = keep * (image @ rows).reshape(linear.shape) + linear
            cut = Cut(value - float((gradient * mixture).sum()), self._knapsack.path(gradient))
            if best is None or cut.bound(room) > bound:
                best, bound = cut, cut.bound(room)
            if value - bound <= _TOLERANCE * max(value, 1e-12):
                break
            vertex = cut.path.mixture(room)
            used = weights > 1e-9
            vertices = [v for v, k in zip(vertices, used, strict=True) if k]
            images = [v for v, k in zip(images, used, strict=True) if k]
            slopes = [v for v, k in zip(slopes, used, strict=True) if k]
            weights = np.append(weights[used] / weights[used].sum(), 0.0)
            vertices.append(vertex)
            images.append(rows @ vertex.ravel())
            slopes.append(float((linear * vertex).sum()))
        return Relaxed(mixture, value, min(bound, value), best or Cut(0.0, self._path))

    def _solve(
        self, room: float, start: np.ndarray | None = None
    ) -> tuple[Relaxed, np.ndarray, float]:
        """The optimum for one budget, with its image under the projections and its linear part."""
        if room not in self._solved:
            relaxed = self.solve(room, start)
            image = self._rows @ relaxed.mixture.ravel()
            self._solved[room] = relaxed, image, float((self._linear * relaxed.mixture).sum())
        return self._solved[room]

    def _between(self, low: float, high: float, room: float) -> tuple[float, float, float]:
        """The share of the second in a mixture of two budgets' optima, its loss and its bound."""
        first, first_image, first_linear = self._solve(low)
        second, second_image, second_linear = self._solve(high)
        share = (room - low) / (high - low)
        image = (1 - share) * first_image + share * second_image
        value = 0.5 * self._keep * float(image @ image)
        value = value + (1 - share) * first_linear + share * second_linear
        return share, value, max(r.cut.bound(room) for r in (first, second) if r.cut)

    def _mixed(self, low: float, high: float, share: float) -> np.ndarray:
        first, second = self._solve(low)[0], self._solve(high)[0]
        return (1 - share) * first.mixture + share * second.mixture


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
