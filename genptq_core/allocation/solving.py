"""The best map for one budget of bytes, or one average width, with a bound on what is possible."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConstraintError, InfeasibleError
from ..options import Option, resolve
from .problem import Problem, least_cost
from .relaxation import Relaxed


@dataclass(frozen=True)
class Allocation:
    """The map that was found for one budget.

    Attributes:
        options: option of each unit.
        relaxed_bits: width of each unit in the continuous solution.
        bytes: size of the whole model, everything counted.
        avg_bits: mean code width over quantizable weights, scales not counted.
        reduction_vs_fp32: 1 - bytes / (4 * parameters).
        predicted_loss: nats per token.
        lower_bound: no integer map within the budget has a smaller predicted loss.
        gap: predicted_loss - lower_bound.
        milliseconds: time that this solve took.
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


def solve(problem: Problem, budget: int) -> Allocation:
    """The best map found within a budget, and a proven bound on the loss of every such map.

    Args:
        problem: the allocation problem.
        budget: bytes for the whole model.

    Raises:
        InfeasibleError: even the smallest allowed map is over the budget; the hint names the demand
            that costs most.
    """
    started = time.perf_counter()
    if budget < problem.smallest:
        raise InfeasibleError(
            f"{budget / 1e6:.2f} MB is not feasible: the smallest size under these constraints is "
            f"{problem.smallest / 1e6:.2f} MB.",
            _blame(problem),
            smallest=problem.smallest,
        )
    choice, relaxed = problem.search.solve(budget - problem.fixed)
    return _describe(problem, choice[problem.group], relaxed, started)


def solve_average_bits(problem: Problem, average: float) -> Allocation:
    """The best map found whose mean code width is at most `average`.

    Args:
        problem: the allocation problem.
        average: mean bits per quantizable weight, scales not counted.

    Raises:
        InfeasibleError: the constraints demand more bits than that.
        ConstraintError: a part has a budget of its own.
    """
    started = time.perf_counter()
    if len(problem.most):
        raise ConstraintError(
            "An average width cannot be asked for where parts have budgets in bytes.",
            "Ask for a size.",
        )
    search = problem.bit_search
    room = int(np.floor(1000 * average * float(problem.weights.sum()) + 1e-3))
    least = least_cost(search.program)
    if room < least:
        raise InfeasibleError(
            f"{average:g} bits on average is not feasible: these constraints demand at least "
            f"{least / float(1000 * problem.weights.sum()):.3f}.",
            "Raise the average, or relax a pin or the least width.",
            smallest=problem.smallest,
        )
    choice, relaxed = search.solve(room)
    return _describe(problem, choice[problem.group], relaxed, started)


def choices_of(problem: Problem, options: Sequence[float | str | Option]) -> np.ndarray:
    """Menu indices of a map's options, shape (units,), int64.

    Args:
        problem: the allocation problem.
        options: an option, its key, or a bare width per unit; see `options.resolve`.

    Raises:
        ConstraintError: a width is not on the menu.
    """
    index = {option: i for i, option in enumerate(problem.menu)}
    return np.array([index[resolve(problem.menu, option)] for option in options], dtype=np.int64)


def _blame(problem: Problem) -> str:
    """What to do about a size that is not feasible: which demand to relax, and what that gives."""
    words, least = min(
        problem.demands, key=lambda demand: demand[1], default=("", problem.smallest)
    )
    if least >= problem.smallest:
        return "Raise the size."
    return f"Raise the size, or relax {words}: without it {least / 1e6:.2f} MB are enough."


def _describe(problem: Problem, choice: np.ndarray, relaxed: Relaxed, started: float) -> Allocation:
    """The figures of a choice, shape (units,), next to the continuous solution."""
    size, loss = int(problem.bytes(choice)), float(problem.loss(choice))
    bound = min(float(problem.loss.growth(relaxed.lower_bound)), loss)
    mixture = relaxed.mixture[problem.group]
    return Allocation(
        options=tuple(problem.menu[column] for column in choice),
        relaxed_bits=tuple(float(b) for b in mixture @ problem.widths),
        bytes=size,
        avg_bits=float(problem.average_bits(choice)),
        reduction_vs_fp32=problem.reduction(size),
        predicted_loss=loss,
        lower_bound=bound,
        gap=loss - bound,
        milliseconds=1000 * (time.perf_counter() - started),
    )
