"""Allocation: which width each unit gets, for any budget, from the profile's scores alone.

With z_l a distribution over unit l's widths, the continuous problem is

    min  loss(z)   s.t.   kept + sum_l bytes_l . z_l <= budget,   z_l in the simplex,

convex and quadratic (`prediction.QuadraticLoss`), with locks as fixed zeros. Its optimum bounds
every integer map from below. Integer maps come from the front of the separable part
(multiple-choice knapsack by dynamic programming over undominated states; Kellerer, Pferschy and
Pisinger, "Knapsack Problems", 2004, chapter 11), then verified swaps under the full loss.
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .constraints import Constraints, allowed_options
from .errors import ConstraintError, InfeasibleError
from .knapsack import SeparableFront, separable_front
from .options import Option, resolve
from .prediction import QuadraticLoss, quadratic_loss
from .profile import Profile
from .relaxation import Relaxed, relax
from .search import improve, lagrangian_maps, round_down, uniform_maps
from .targets import held


@dataclass(frozen=True)
class Problem:
    """One allocation problem, ready to be solved for any budget.

    Attributes:
        menu: options that the target holds.
        cost: bytes of every option, shape (units, options), int64.
        kept: bytes that no choice changes.
        weights: weights a unit, shape (units,), int64.
        loss: predicted loss.
        allowed: options open to the solver, shape (units, options), bool.
        parameters: parameters of the whole model.
    """

    menu: tuple[Option, ...]
    cost: np.ndarray
    kept: int
    weights: np.ndarray
    loss: QuadraticLoss
    allowed: np.ndarray
    parameters: int

    @property
    def widths(self) -> np.ndarray:
        """Bits a weight of each option, shape (options,)."""
        return np.array([option.bits for option in self.menu])

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
        """The front of the separable loss."""
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
        return (self.widths[choices] * self.weights).sum(axis=-1) / self.weights.sum()

    def reduction(self, size: float) -> float:
        """Share saved against float32: 1 - bytes / (4 * parameters)."""
        return 1 - size / (4 * self.parameters)


@dataclass(frozen=True)
class Allocation:
    """One solved budget.

    Attributes:
        options: option of each unit.
        relaxed_bits: width of each unit in the continuous solution.
        bytes: size of the whole model, everything counted.
        avg_bits: mean code width over quantizable weights.
        reduction_vs_fp32: 1 - bytes / (4 * parameters).
        predicted_loss: nats a token.
        lower_bound: no integer map within the budget has a smaller predicted loss.
        gap: predicted_loss - lower_bound.
        milliseconds: time this solve took.
    """

    options: tuple[Option, ...]
    relaxed_bits: tuple[float, ...]
    bytes: int
    avg_bits: float
    reduction_vs_fp32: float
    predicted_loss: float
    lower_bound: float
    gap: float
    milliseconds: float

    @property
    def bits(self) -> tuple[float, ...]:
        """Width of each unit."""
        return tuple(option.bits for option in self.options)


def problem(
    profile: Profile,
    constraints: Constraints | None = None,
    loss: QuadraticLoss | None = None,
    target: str | None = None,
) -> Problem:
    """Set up a profile's allocation problem under constraints.

    An option whose sensitivity is not finite is not offered, and a warning names it.

    Args:
        profile: the profile.
        constraints: what the user demands.
        loss: predicted loss over the profile's whole menu; the profile's own if absent.
        target: name of the target; see `targets.held`.

    Raises:
        ConstraintError: a constraint is contradictory, or matches nothing.
    """
    loss = loss or quadratic_loss(profile)
    columns = held(profile.menu, target)
    menu = tuple(profile.menu[column] for column in columns)
    loss = dataclasses.replace(loss, projections=loss.projections[:, :, columns])
    finite = np.isfinite(loss.projections).all(axis=0)
    if not finite.all():
        lost = [f"{profile.units[u].name} at {menu[o].key}" for u, o in np.argwhere(~finite)]
        warnings.warn(
            f"Sensitivities are not finite, so these options are not offered: {', '.join(lost)}.",
            RuntimeWarning,
            stacklevel=2,
        )
    allowed = allowed_options(profile, menu, constraints or Constraints()) & finite
    stuck = [unit.name for unit, row in zip(profile.units, allowed, strict=True) if not row.any()]
    if stuck:
        raise ConstraintError(
            f"The constraints leave no width for {stuck[0]}"
            + (f" and {len(stuck) - 1} more." if len(stuck) > 1 else "."),
            f"Widths on offer: {', '.join(option.key for option in menu)}.",
        )
    return Problem(
        menu=menu,
        cost=profile.option_bytes()[:, columns],
        kept=profile.kept_bytes,
        weights=np.array([unit.weights for unit in profile.units], dtype=np.int64),
        loss=dataclasses.replace(loss, projections=np.where(finite, loss.projections, 0.0)),
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
    # In thousandths of a bit: entropy codes come in fractions, and like this all are whole.
    code_bits = np.rint(1000 * task.widths).astype(np.int64) * task.weights[:, None]
    room = int(np.floor(1000 * average * float(task.weights.sum()) + 1e-3))
    least = int(np.where(task.allowed, code_bits, np.iinfo(np.int64).max).min(axis=1).sum())
    if room < least:
        raise InfeasibleError(
            f"{average:g} bits on average is not feasible: these constraints demand at least "
            f"{least / float(1000 * task.weights.sum()):.3f}.",
            "Raise the average, or relax a pin or the least width.",
            smallest=task.smallest,
        )
    return _solve(task, code_bits, room, started)


def _solve(task: Problem, cost: np.ndarray, room: int, started: float) -> Allocation:
    """Solve under any cost table: relax for the bound, then descend from several starts."""
    relaxed = relax(task.loss, cost, task.allowed, room)
    starts = [*_best_candidates(task, cost, room), round_down(task, cost, relaxed, room)]
    found = [improve(task, cost, start, room) for start in starts]
    choice = min(found, key=lambda c: float(task.loss(c)))
    return describe(task, choice, relaxed, started)


def _best_candidates(task: Problem, cost: np.ndarray, room: int) -> list[np.ndarray]:
    """The best candidate that fits, and the best with another option of the heaviest unit.

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
    bound = min(float(task.loss.growth(relaxed.lower_bound)), loss)
    return Allocation(
        options=tuple(task.menu[column] for column in choice),
        relaxed_bits=tuple(float(b) for b in relaxed.mixture @ task.widths),
        bytes=size,
        avg_bits=float(task.average_bits(choice)),
        reduction_vs_fp32=task.reduction(size),
        predicted_loss=loss,
        lower_bound=bound,
        gap=loss - bound,
        milliseconds=1000 * (time.perf_counter() - started),
    )


def choices_of(task: Problem, options: Sequence[float | str | Option]) -> np.ndarray:
    """Menu indices of a map's options, or of bare widths.

    Raises:
        ConstraintError: a width is not on the menu.
    """
    index = {option: i for i, option in enumerate(task.menu)}
    return np.array([index[resolve(task.menu, option)] for option in options], dtype=np.int64)


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
