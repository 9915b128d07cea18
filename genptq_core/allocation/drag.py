"""Maps of every size as one small table: what a page shows while a size is being dragged.

The exact answer takes a solve. While a finger moves there is no time for one, so a few hundred
sizes are answered beforehand. The largest of them within a budget is looked up: it never exceeds
the budget, and loses at most 5 % more than the exact answer; where a map is ruined anyway, beyond
0.3 nats per token, it may be 15 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .descent import improve
from .front import Front, undominated
from .problem import Problem
from .program import Program

NEGLIGIBLE = 1e-5
"""Predicted loss, nats per token, below which maps are told apart by nothing that can be measured:
a hundredth of a percentage point of word errors and less."""

ANSWERED = 120
"""Sizes answered beforehand, besides those of the front and seven between each two."""

_LARGE = 2500  # options in all beyond which an answer takes long
_EXACT = 40  # answers of such a problem
_BETWEEN = 7  # sizes between two answers, which follow from the larger one's
_RELAXED = 40  # sizes at which the continuous widths are kept
_FEW = 6  # of those until the table is there
_ALIKE = 1.01  # points whose losses are nearer than this to a kept one's are left out


@dataclass(frozen=True)
class DragTable:
    """Maps by rising size and falling loss.

    Attributes:
        bytes: sizes, shape (points,), int64.
        loss: predicted loss, shape (points,), nats per token.
        choices: menu indices, shape (points, units), uint8.
        relaxed_bytes: sizes at which the continuous solution is known, ascending, shape (sizes,).
        relaxed_bits: width of each unit in it, shape (sizes, units), float32.
    """

    bytes: np.ndarray
    loss: np.ndarray
    choices: np.ndarray
    relaxed_bytes: np.ndarray
    relaxed_bits: np.ndarray

    def at(self, budget: int) -> int:
        """Index of the best point within a budget; the smallest point where none is within it."""
        return max(int(np.searchsorted(self.bytes, budget, side="right")) - 1, 0)


def drag_table(
    problem: Problem,
    front: Front,
    answered: int = ANSWERED,
    wait: Callable[[], None] = lambda: None,
) -> DragTable:
    """The table of a problem: its front, filled up until neighbours differ by little.

    Args:
        problem: the problem; its menu has at most 256 options.
        front: its predicted front.
        answered: sizes to answer beforehand; fewer are quicker and farther from the exact answer.
            Of a large problem they are few in any case.
        wait: called between one size and the next, so that others may go first.
    """
    budgets = _budgets(front, min(answered, _EXACT) if is_large(problem) else answered)
    for budget in budgets:  # first what makes answers to anyone quick
        wait()
        problem.search.relaxation.at(int(budget) - problem.fixed)
    filled = _descending(problem, budgets, wait)
    choices = np.concatenate([front.choices, np.array(filled, dtype=front.choices.dtype)])
    rooms = budgets[np.unique(np.linspace(0, len(budgets) - 1, _RELAXED).astype(np.int64))]
    return _table(problem, choices, rooms)


def _table(problem: Problem, choices: np.ndarray, rooms: np.ndarray) -> DragTable:
    """The table of some maps, and of the continuous widths at some sizes."""
    size, loss = problem.bytes(choices), problem.loss(choices)
    keep = undominated(size, loss)
    keep = keep[_apart(loss[keep])]
    relaxed = [problem.search.relaxation.at(int(b) - problem.fixed).mixture for b in rooms]
    return DragTable(
        bytes=size[keep],
        loss=loss[keep],
        choices=choices[keep].astype(np.uint8),
        relaxed_bytes=rooms,
        relaxed_bits=np.array(
            [mixture[problem.group] @ problem.widths for mixture in relaxed], dtype=np.float32
        ),
    )


def is_large(problem: Problem) -> bool:
    """Whether a problem's table takes many seconds, not two."""
    return problem.cost.size > _LARGE


def coarse_table(problem: Problem, front: Front) -> DragTable:
    """A table of the front alone, for the time until `drag_table` has answered."""
    rooms = np.unique(np.linspace(front.bytes[0], front.bytes[-1], _FEW).astype(np.int64))
    return _table(problem, front.choices, rooms)


def _budgets(front: Front, count: int) -> np.ndarray:
    """Sizes to answer beforehand, evenly spread over the logarithm of the front's losses."""
    heights = np.log(np.maximum(front.loss, NEGLIGIBLE))
    # The front's loss falls with its size; interpolation wants rising places.
    wanted = np.linspace(heights[0], heights[-1], count)
    sizes = np.interp(-wanted, -heights, front.bytes.astype(np.float64))
    ends = [float(front.bytes[0]), float(front.bytes[-1])]
    return np.unique(np.append(sizes, ends).astype(np.int64))


def _descending(
    problem: Problem, budgets: np.ndarray, wait: Callable[[], None]
) -> list[np.ndarray]:
    """Good maps within budgets and between them: answers, each shrunk towards the one below it.

    From below, what is left between two answers rarely pays for the next option of a heavy unit;
    from above, that unit has it, and others make room.

    Returns:
        Maps of shape (units,).
    """
    search, program = problem.search, problem.search.program
    rooms = budgets - problem.fixed
    answers = []
    for room in rooms:
        wait()
        answers.append(search.solve(int(room))[0])
    maps = list(answers)
    for below, above, choice in zip(rooms[:-1], rooms[1:], answers[1:], strict=True):
        for room in np.linspace(above, below, _BETWEEN + 2)[1:-1].astype(np.int64):
            wait()
            choice = improve(program, _shrunk(program, choice, room), int(room), trades=False)
            maps.append(choice)
    return [choice[problem.group] for choice in maps]


def _shrunk(program: Program, choice: np.ndarray, room: int) -> np.ndarray:
    """A choice with items changed where that loses least for each byte, until it is within room."""
    rows = np.arange(len(choice))
    slope = program.slope(choice)
    while (over := int(program.cost[rows, choice].sum()) - room) > 0:
        saved = program.cost[rows, choice][:, None] - program.cost
        harm = np.maximum(slope - slope[rows, choice][:, None], 0.0)
        usable = program.allowed & (saved > 0)
        rate = np.where(usable, harm / np.minimum(np.maximum(saved, 1), over), np.inf)
        item, option = np.unravel_index(int(rate.argmin()), rate.shape)
        fresh = choice.copy()
        fresh[item] = option
        slope = program.slope_after(slope, choice, fresh, np.array([item]))
        choice = fresh
    return choice


def _apart(loss: np.ndarray) -> np.ndarray:
    """Indices of falling losses of which each is well below the one before it; both ends stay."""
    heights = np.maximum(loss, NEGLIGIBLE)
    kept = [0]
    for index in range(1, len(heights)):
        if heights[kept[-1]] > _ALIKE * heights[index]:
            kept.append(index)
    if kept[-1] != len(heights) - 1:
        kept.append(len(heights) - 1)
    return np.array(kept)
