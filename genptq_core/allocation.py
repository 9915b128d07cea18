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

    Raises:
        ConstraintError: a constraint is contradictory, or matches nothing.
    """
    loss = loss or quadratic_loss(profile)
    finite = np.isfinite(loss.projections).all(axis=0)
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
    room = budget - task.kept
    relaxed = relax(task.loss, task.cost, task.allowed, room)
    starts = [
        _separable_choice(task, room),
        _round_down(task, relaxed, room),
    ]
    choice = min(
        (improve(task, start, room) for start in starts), key=lambda c: float(task.loss(c))
    )
    return describe(task, choice, relaxed, started)


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
    by_bits = Problem(
        task.menu, code_bits, 0, task.weights, task.loss, task.allowed, task.parameters
    )
    relaxed = relax(task.loss, code_bits, task.allowed, room)
    starts = [_separable_choice(by_bits, room), _round_down(by_bits, relaxed, room)]
    choice = min(
        (improve(by_bits, start, room) for start in starts), key=lambda c: float(task.loss(c))
    )
    return describe(task, choice, relaxed, started)


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


def improve(task: Problem, choice: np.ndarray, room: int) -> np.ndarray:
    """Descend by changing one unit, or trading between two, while the budget holds.

    Args:
        task: the problem; only its cost, loss and allowed options are used.
        choice: a feasible start, shape (units,).
        room: bytes for the units together.

    Returns:
        A choice that no single change and no trade improves, within `room`.
    """
    units, widths = task.cost.shape
    rows = np.arange(units)
    choice = choice.copy()
    flat_cost = task.cost.ravel()
    linear = task.separable.ravel()
    owner = np.repeat(rows, widths)
    for _ in range(4 * units):
        chosen = rows * widths + choice
        slope = linear + task.gram[:, chosen].sum(axis=1)  # loss of each option, given the rest
        gain = slope - slope[chosen][owner]
        extra = flat_cost - flat_cost[chosen][owner]
        spare = room - int(task.cost[rows, choice].sum())
        moves = np.flatnonzero(np.isfinite(gain) & ((gain < 0) | (extra < 0)))
        if not len(moves):
            return choice
        own = chosen[owner[moves]]
        sub = task.gram[np.ix_(moves, moves)]
        old_new = task.gram[np.ix_(own, moves)]
        cross = sub - old_new - old_new.T + task.gram[np.ix_(own, own)]
        pair = gain[moves][:, None] + gain[moves][None] + cross
        fits = extra[moves][:, None] + extra[moves][None] <= spare
        fits &= owner[moves][:, None] != owner[moves][None]
        pair = np.where(fits, pair, np.inf)
        single = np.where(extra[moves] <= spare, gain[moves], np.inf)
        best_pair, best_single = np.unravel_index(pair.argmin(), pair.shape), int(single.argmin())
        if min(float(pair[best_pair]), float(single[best_single])) > -1e-12:
            return choice
        picked = [best_single] if single[best_single] <= pair[best_pair] else list(best_pair)
        for move in picked:
            choice[owner[moves[move]]] = moves[move] % widths
    return choice


def _separable_choice(task: Problem, room: int) -> np.ndarray:
    states = task.states
    point = int(np.searchsorted(states.cost, room, side="right")) - 1
    return states.choices(np.array([point]))[0]


def _round_down(task: Problem, relaxed: Relaxed, room: int) -> np.ndarray:
    """Take each unit's likeliest option, then shrink the cheapest losses until it fits."""
    score = np.where(task.allowed, relaxed.mixture, -1.0)
    choice = score.argmax(axis=1)
    rows = np.arange(len(choice))
    while (over := int(task.cost[rows, choice].sum()) - room) > 0:
        saved = task.cost[rows, choice][:, None] - task.cost
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
