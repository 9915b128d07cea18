"""Allocation: which width each unit gets, for any budget, from the profile's scores alone.

With z_l a distribution over unit l's widths, the continuous problem is

    min  loss(z)   s.t.   kept + sum_l bytes_l . z_l <= budget,   z_l in the simplex,

convex and quadratic (`prediction.QuadraticLoss`), with locks as fixed zeros. Its optimum bounds
every integer map from below. Integer maps come from the exact front of the separable part
(multiple-choice knapsack by dynamic programming over undominated states; Kellerer, Pferschy and
Pisinger, "Knapsack Problems", 2004, chapter 11), then verified swaps under the full loss.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .constraints import Constraints, allowed_options
from .errors import ConstraintError, InfeasibleError
from .knapsack import SeparableFront, separable_front
from .prediction import QuadraticLoss, quadratic_loss
from .profile import Profile
from .relaxation import Relaxed, relax


@dataclass(frozen=True)
class Problem:
    """One allocation problem, ready to be solved for any budget.

    Attributes:
        menu: widths, ascending.
        cost: bytes of every option, shape (units, widths), int64.
        kept: bytes that no choice changes.
        weights: weights a unit, shape (units,), int64.
        loss: predicted loss.
        allowed: options open to the solver, shape (units, widths), bool.
        parameters: parameters of the whole model.
    """

    menu: tuple[int, ...]
    cost: np.ndarray
    kept: int
    weights: np.ndarray
    loss: QuadraticLoss
    allowed: np.ndarray
    parameters: int

    @cached_property
    def separable(self) -> np.ndarray:
        """Loss of each option alone, infinite where it is not allowed."""
        return np.where(self.allowed, self.loss.separable, np.inf)

    @cached_property
    def gram(self) -> np.ndarray:
        """Cross-unit terms of the loss between options, (units * widths) squared, shrunk."""
        flat = self.loss.projections.reshape(len(self.loss.projections), -1)
        gram = (1 - self.loss.shrinkage) * (flat.T @ flat)
        units, widths = self.cost.shape
        blocks = gram.reshape(units, widths, units, widths)
        blocks[np.arange(units), :, np.arange(units), :] = 0.0
        return gram

    @cached_property
    def states(self) -> SeparableFront:
        """The exact front of the separable loss."""
        return separable_front(self.cost, self.separable)

    @cached_property
    def candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Good maps of every size: the separable front's, stationary ones of the full loss, and
        one width everywhere.

        Returns:
            Choices (maps, units), bytes (maps,), predicted loss (maps,).
        """
        exact = self.states.choices(np.arange(len(self.states.cost)))
        choices = np.concatenate([exact, lagrangian_maps(self), uniform_maps(self)])
        return choices, self.bytes(choices), self.loss(choices)

    @property
    def smallest(self) -> int:
        """Smallest size that the constraints allow, bytes."""
        return self.kept + int(
            np.where(self.allowed, self.cost, np.iinfo(np.int64).max).min(1).sum()
        )

    def bytes(self, choices: np.ndarray) -> np.ndarray:
        """Size of integer choices, shape (..., units) -> (...), bytes."""
        return self.kept + self.cost[np.arange(len(self.cost)), choices].sum(axis=-1)

    def average_bits(self, choices: np.ndarray) -> np.ndarray:
        """Mean code width over quantizable weights (scales not counted), (..., units) -> (...)."""
        return (np.array(self.menu)[choices] * self.weights).sum(axis=-1) / self.weights.sum()

    def reduction(self, size: float) -> float:
        """Share saved against float32: 1 - bytes / (4 * parameters)."""
        return 1 - size / (4 * self.parameters)


@dataclass(frozen=True)
class Allocation:
    """One solved budget.

    Attributes:
        bits: width of each unit.
        relaxed_bits: width of each unit in the continuous solution.
        bytes: size of the whole model, everything counted.
        avg_bits: mean code width over quantizable weights.
        reduction_vs_fp32: 1 - bytes / (4 * parameters).
        predicted_loss: nats a token.
        lower_bound: no integer map within the budget has a smaller predicted loss.
        gap: predicted_loss - lower_bound.
        milliseconds: time this solve took.
    """

    bits: tuple[int, ...]
    relaxed_bits: tuple[float, ...]
    bytes: int
    avg_bits: float
    reduction_vs_fp32: float
    predicted_loss: float
    lower_bound: float
    gap: float
    milliseconds: float


def problem(
    profile: Profile, constraints: Constraints | None = None, loss: QuadraticLoss | None = None
) -> Problem:
    """Set up a profile's allocation problem under constraints.

    An option whose sensitivity is not finite is not offered, and a warning names it.

    Raises:
        ConstraintError: a constraint is contradictory, or matches nothing.
    """
    loss = loss or quadratic_loss(profile)
    finite = np.isfinite(loss.projections).all(axis=0)
    if not finite.all():
        lost = [f"{profile.units[u].name} at {profile.menu[o]}" for u, o in np.argwhere(~finite)]
        warnings.warn(
            f"Sensitivities are not finite, so these widths are not offered: {', '.join(lost)}.",
            RuntimeWarning,
            stacklevel=2,
        )
    allowed = allowed_options(profile, constraints or Constraints()) & finite
    stuck = [unit.name for unit, row in zip(profile.units, allowed, strict=True) if not row.any()]
    if stuck:
        raise ConstraintError(
            f"The constraints leave no width for {stuck[0]}"
            + (f" and {len(stuck) - 1} more." if len(stuck) > 1 else "."),
            f"Widths on offer: {', '.join(map(str, profile.menu))}.",
        )
    return Problem(
        menu=profile.menu,
        cost=profile.option_bytes(),
        kept=profile.kept_bytes,
        weights=np.array([unit.weights for unit in profile.units], dtype=np.int64),
        loss=QuadraticLoss(np.where(finite, loss.projections, 0.0), loss.shrinkage),
        allowed=allowed,
        parameters=profile.source.parameters,
    )


def solve(task: Problem, budget: int) -> Allocation:
    """Best map found within a budget of bytes, with the proof of how good it can be at most.

    Raises:
        InfeasibleError: even the smallest allowed map is over the budget.
    """
    started = time.perf_counter()
    if budget < task.smallest:
        raise InfeasibleError(
            f"{budget / 1e6:.2f} MB is not feasible: the smallest size under these constraints is "
            f"{task.smallest / 1e6:.2f} MB.",
            "Raise the size, or relax a pin or the least width.",
            smallest=task.smallest,
        )
    return _solve(task, task.cost, budget - task.kept, started)


def solve_average_bits(task: Problem, average: float) -> Allocation:
    """Best map whose mean code width, scales not counted, is at most `average`.

    Raises:
        InfeasibleError: the constraints demand more bits than that.
    """
    started = time.perf_counter()
    menu = np.array(task.menu)
    code_bits = menu[None] * task.weights[:, None]
    room = int(np.floor(average * float(task.weights.sum()) + 1e-6))
    least = int(np.where(task.allowed, code_bits, np.iinfo(np.int64).max).min(axis=1).sum())
    if room < least:
        raise InfeasibleError(
            f"{average:g} bits on average is not feasible: these constraints demand at least "
            f"{least / float(task.weights.sum()):.3f}.",
            "Raise the average, or relax a pin or the least width.",
            smallest=task.smallest,
        )
    return _solve(task, code_bits, room, started)


def _solve(task: Problem, cost: np.ndarray, room: int, started: float) -> Allocation:
    """Solve under any cost table: relax for the bound, then descend from several starts."""
    relaxed = relax(task.loss, cost, task.allowed, room)
    starts = [*_best_candidates(task, cost, room), _round_down(task, cost, relaxed, room)]
    found = [improve(task, cost, start, room) for start in starts]
    choice = min(found, key=lambda c: float(task.loss(c)))
    return describe(task, choice, relaxed, started)


def _best_candidates(task: Problem, cost: np.ndarray, room: int) -> list[np.ndarray]:
    """The best candidate that fits, and the best with another width of the heaviest unit.

    Trades of one pair cannot pay for a change of the heaviest unit, so that is tried beforehand.
    """
    choices, _, loss = task.candidates
    rows = np.arange(len(cost))
    fits = cost[rows, choices].sum(axis=1) <= room
    heaviest = int(task.weights.argmax())
    starts: list[tuple[float, np.ndarray]] = []
    for option in range(cost.shape[1]):
        usable = np.where(fits & (choices[:, heaviest] == option), loss, np.inf)
        best = int(usable.argmin())
        if np.isfinite(usable[best]):
            starts.append((float(usable[best]), choices[best]))
    starts.sort(key=lambda start: start[0])
    return [choice for value, choice in starts[:3] if value <= 2 * starts[0][0]]


def describe(task: Problem, choice: np.ndarray, relaxed: Relaxed, started: float) -> Allocation:
    """Gather what there is to say of a choice."""
    size, loss = int(task.bytes(choice)), float(task.loss(choice))
    bound = min(relaxed.lower_bound, loss)
    menu = np.array(task.menu)
    return Allocation(
        bits=tuple(int(b) for b in menu[choice]),
        relaxed_bits=tuple(float(b) for b in relaxed.mixture @ menu),
        bytes=size,
        avg_bits=float(task.average_bits(choice)),
        reduction_vs_fp32=task.reduction(size),
        predicted_loss=loss,
        lower_bound=bound,
        gap=loss - bound,
        milliseconds=1000 * (time.perf_counter() - started),
    )


def uniform_maps(task: Problem) -> np.ndarray:
    """For each width, the map that is nearest to it everywhere that the constraints allow."""
    columns = np.arange(len(task.menu))
    distance = np.abs(columns[:, None, None] - columns)  # (wanted, 1, option)
    return np.where(task.allowed, distance, len(columns)).argmin(axis=2)


def lagrangian_maps(task: Problem, steps: int = 160) -> np.ndarray:
    """For each price of a byte, a map that no change of one unit improves; warm started."""
    units, widths = task.cost.shape
    rows = np.arange(units)
    separable = task.separable
    finite = np.where(np.isfinite(separable), separable, np.nan)
    saved = np.nanmax(finite, axis=1) - np.nanmin(finite, axis=1)
    rate = saved / np.maximum(np.ptp(task.cost, axis=1), 1)
    rate = rate[rate > 0]
    if not len(rate):
        return np.empty((0, units), dtype=np.int64)
    prices = np.geomspace(float(rate.max()) * 100, float(rate.min()) / 100, steps)
    choice = np.where(task.allowed, task.cost, np.iinfo(np.int64).max).argmin(axis=1)
    pull = task.gram[:, rows * widths + choice].sum(axis=1).reshape(units, widths)
    maps = []
    for price in prices:
        for _ in range(10):
            changed = False
            for unit in rows:
                score = separable[unit] + pull[unit] + price * task.cost[unit]
                best = int(score.argmin())
                if best != choice[unit]:
                    moved = task.gram[:, unit * widths + best]
                    moved = moved - task.gram[:, unit * widths + choice[unit]]
                    pull += moved.reshape(units, widths)
                    choice[unit] = best
                    changed = True
            if not changed:
                break
        maps.append(choice.copy())
    return np.unique(np.array(maps), axis=0)


def improve(task: Problem, cost: np.ndarray, choice: np.ndarray, room: int) -> np.ndarray:
    """Descend by changing one unit, or trading between two, while the budget holds.

    Args:
        task: the problem.
        cost: what each option takes of the budget, shape (units, widths).
        choice: a feasible start, shape (units,).
        room: budget for the units together.

    Returns:
        A choice that no single change and no trade improves, within `room`.
    """
    units, widths = cost.shape
    rows = np.arange(units)
    choice = choice.copy()
    flat_cost = cost.ravel()
    linear = task.separable.ravel()
    owner = np.repeat(rows, widths)
    for _ in range(4 * units):
        chosen = rows * widths + choice
        slope = linear + task.gram[:, chosen].sum(axis=1)  # loss of each option, given the rest
        gain = slope - slope[chosen][owner]
        extra = flat_cost - flat_cost[chosen][owner]
        spare = room - int(cost[rows, choice].sum())
        better = np.flatnonzero(gain < -1e-12)
        single = np.where(extra[better] <= spare, gain[better], np.inf)
        moves = []
        if len(single) and np.isfinite(single.min()):
            moves = [int(better[single.argmin()])]
        else:
            # No single change fits, so one must pay for another: all pairs of the two kinds.
            cheaper = np.flatnonzero((extra < 0) & np.isfinite(gain))
            old_b, old_c = chosen[owner[better]], chosen[owner[cheaper]]
            pair = gain[better][:, None] + gain[cheaper][None]
            pair += task.gram[np.ix_(better, cheaper)] - task.gram[np.ix_(old_b, cheaper)]
            pair += task.gram[np.ix_(old_b, old_c)] - task.gram[np.ix_(better, old_c)]
            fits = extra[better][:, None] + extra[cheaper][None] <= spare
            fits &= owner[better][:, None] != owner[cheaper][None]
            pair = np.where(fits, pair, np.inf)
            if pair.size and pair.min() < -1e-12:
                first, second = np.unravel_index(pair.argmin(), pair.shape)
                moves = [int(better[first]), int(cheaper[second])]
        if not moves:
            return choice
        for move in moves:
            choice[owner[move]] = move % widths
    return choice


def _round_down(task: Problem, cost: np.ndarray, relaxed: Relaxed, room: int) -> np.ndarray:
    """Take each unit's likeliest option, then shrink the cheapest losses until it fits."""
    score = np.where(task.allowed, relaxed.mixture, -1.0)
    choice = score.argmax(axis=1)
    rows = np.arange(len(choice))
    while (over := int(cost[rows, choice].sum()) - room) > 0:
        saved = cost[rows, choice][:, None] - cost
        harm = task.separable - task.separable[rows, choice][:, None]
        usable = task.allowed & (saved > 0)
        rate = np.where(
            usable, np.maximum(harm, 0) / np.minimum(np.maximum(saved, 1), over), np.inf
        )
        unit, option = np.unravel_index(rate.argmin(), rate.shape)
        choice[unit] = option
    return choice


def choices_of(task: Problem, bits: Sequence[int]) -> np.ndarray:
    """Menu indices of a map's widths.

    Raises:
        ConstraintError: a width is not on the menu.
    """
    index = {width: i for i, width in enumerate(task.menu)}
    unknown = sorted({b for b in bits if b not in index})
    if unknown:
        raise ConstraintError(
            f"Width {unknown[0]} is not on the menu.",
            f"Widths on offer: {', '.join(map(str, task.menu))}.",
        )
    return np.array([index[b] for b in bits], dtype=np.int64)


__all__ = [
    "Allocation",
    "Constraints",
    "Problem",
    "choices_of",
    "improve",
    "problem",
    "solve",
    "solve_average_bits",
]
