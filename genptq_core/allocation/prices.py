"""What a demand on some layers would cost at a size, estimated in milliseconds.

The exact price takes a solve of another problem. Here the map at hand is changed as demanded,
brought back within the budget where that loses least, and improved: so the price is at most a
little too high.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from .descent import improve
from .problem import Problem
from .program import Program
from .relaxation import Relaxed
from .search import round_down

_SMALL = 1200  # options in all up to which trades are looked for too


def loss_with(
    problem: Problem, choice: np.ndarray, units: Sequence[int], column: int, budget: int
) -> float | None:
    """The predicted loss of a map in which some units have one option.

    Args:
        problem: the problem.
        choice: the map at hand, menu indices, shape (units,).
        units: which units.
        column: their option, an index into the menu.
        budget: bytes for the whole model.

    Returns:
        Nats per token; None where no map within the budget has it.
    """
    items = np.unique(problem.group[list(units)])
    program, room = problem.search.program, budget - problem.fixed
    if not program.allowed[items, column].all():
        return None
    first = np.unique(problem.group, return_index=True)[1]
    start = np.asarray(choice)[first].astype(np.int64)
    start[items] = column
    allowed = program.allowed.copy()
    allowed[items] = False
    allowed[items, column] = True
    bound = dataclasses.replace(program, allowed=allowed)
    starts = _starts(problem, bound, start, items=items, room=room)
    ends = [improve(bound, one, room, trades=False) for one in starts]
    if not ends:
        return None
    best = min(ends, key=lambda end: float(program.loss(end)))
    if program.cost.size <= _SMALL:
        best = improve(bound, best, room)
    return float(program.loss(best))


def _starts(
    problem: Problem, bound: Program, start: np.ndarray, *, items: np.ndarray, room: int
) -> list[np.ndarray]:
    """Maps within the budget that keep to the demand: the one at hand, and the best one known."""
    mixture = np.zeros(bound.allowed.shape)
    mixture[np.arange(len(start)), start] = 1.0
    fitted = round_down(bound, Relaxed(mixture, 0.0, 0.0), room)
    known = problem.search.candidates.copy()
    known[:, items] = start[items]
    known = known[(bound.total(known) <= room) & bound.keeps(known)]
    starts = [] if fitted is None else [fitted]
    if len(known):
        starts.append(known[int(bound.loss(known).argmin())])
    return starts


def loss_tied(
    problem: Problem, choice: np.ndarray, units: Sequence[int], budget: int
) -> float | None:
    """The predicted loss of a map in which some units share an option, whichever is best."""
    losses = [
        loss
        for column in range(len(problem.menu))
        if (loss := loss_with(problem, choice, units, column, budget)) is not None
    ]
    return min(losses, default=None)
