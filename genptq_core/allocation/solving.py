"""Solving an allocation problem for one budget."""

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


def solve(task: Problem, budget: int) -> Allocation:
    """Best map found within a budget of bytes, with the proof of how good it can be at most.

    Raises:
        InfeasibleError: even the smallest allowed map is over the budget; says what is to blame.
    """
    started = time.perf_counter()
    if budget < task.smallest:
        raise InfeasibleError(
            f"{budget / 1e6:.2f} MB is not feasible: the smallest size under these constraints is "
            f"{task.smallest / 1e6:.2f} MB.",
            _blame(task),
            smallest=task.smallest,
        )
    choice, relaxed = task.search.solve(budget - task.kept)
    return _describe(task, choice[task.group], relaxed, started)


def _blame(task: Problem) -> str:
    """What to do about a size that is not feasible."""
    words, least = min(task.demands, key=lambda demand: demand[1], default=("", task.smallest))
    if least >= task.smallest:
        return "Raise the size."
    return f"Raise the size, or relax {words}: without it {least / 1e6:.2f} MB are enough."


def solve_average_bits(task: Problem, average: float) -> Allocation:
    """Best map whose mean code width, scales not counted, is at most `average`.

    Raises:
        InfeasibleError: the constraints demand more bits than that.
        ConstraintError: a part has a budget of its own.
    """
    started = time.perf_counter()
    if len(task.most):
        raise ConstraintError(
            "An average width cannot be asked for where parts have budgets in bytes.",
            "Ask for a size.",
        )
    search = task.bit_search
    room = int(np.floor(1000 * average * float(task.weights.sum()) + 1e-3))
    least = least_cost(search.program)
    if room < least:
        raise InfeasibleError(
            f"{average:g} bits on average is not feasible: these constraints demand at least "
            f"{least / float(1000 * task.weights.sum()):.3f}.",
            "Raise the average, or relax a pin or the least width.",
            smallest=task.smallest,
        )
    choice, relaxed = search.solve(room)
    return _describe(task, choice[task.group], relaxed, started)


def _describe(task: Problem, choice: np.ndarray, relaxed: Relaxed, started: float) -> Allocation:
    """Gather what there is to say of a choice."""
    size, loss = int(task.bytes(choice)), float(task.loss(choice))
    bound = min(float(task.loss.growth(relaxed.lower_bound)), loss)
    mixture = relaxed.mixture[task.group]
    return Allocation(
        options=tuple(task.menu[column] for column in choice),
        relaxed_bits=tuple(float(b) for b in mixture @ task.widths),
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
