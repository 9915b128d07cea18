"""Maps of every size as one small table: what a page shows while a size is being dragged.

The exact answer takes a solve. While a finger moves there is no time for one, so a few hundred
sizes are answered beforehand. The largest of them within a budget is looked up: it never exceeds
the budget, and loses at most a few per cent more than the exact answer: 5 % where a model has up to
a hundred layers or so, up to 9 % at some sizes of one with five hundred. Where a map is ruined
anyway, beyond 0.3 nats per token, it may be 15 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .front import Front, undominated
from .problem import Problem

NEGLIGIBLE = 1e-5
"""Predicted loss, nats per token, below which maps are told apart by nothing that can be measured:
a hundredth of a percentage point of word errors and less."""

ANSWERED = 480
"""Sizes answered beforehand, besides those of the front."""

_ANSWERED_LARGE = 64  # the same where each takes long
_LARGE = 2500  # options in all beyond which it does
_RELAXED = 40  # sizes at which the continuous widths are kept
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


def drag_table(problem: Problem, front: Front, answered: int = ANSWERED) -> DragTable:
    """The table of a problem: its front, filled up until neighbours differ by little.

    Args:
        problem: the problem; its menu has at most 256 options.
        front: its predicted front.
        answered: sizes to answer beforehand; fewer are quicker and farther from the exact answer.
            Of a large problem they are few in any case.
    """
    budgets = _budgets(problem, front, answered)
    filled = [_answer(problem, int(budget)) for budget in budgets]
    choices = np.concatenate([front.choices, np.array(filled, dtype=front.choices.dtype)])
    size, loss = problem.bytes(choices), problem.loss(choices)
    keep = undominated(size, loss)
    keep = keep[_apart(loss[keep])]
    rooms = budgets[np.unique(np.linspace(0, len(budgets) - 1, _RELAXED).astype(np.int64))]
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


def _budgets(problem: Problem, front: Front, answered: int) -> np.ndarray:
    """Sizes to answer beforehand, evenly spread over the logarithm of the front's losses."""
    count = answered if problem.cost.size <= _LARGE else min(answered, _ANSWERED_LARGE)
    heights = np.log(np.maximum(front.loss, NEGLIGIBLE))
    # The front's loss falls with its size; interpolation wants rising places.
    wanted = np.linspace(heights[0], heights[-1], count)
    sizes = np.interp(-wanted, -heights, front.bytes.astype(np.float64))
    ends = [float(front.bytes[0]), float(front.bytes[-1])]
    return np.unique(np.append(sizes, ends).astype(np.int64))


def _answer(problem: Problem, budget: int) -> np.ndarray:
    """A good map within a budget, found without trades, shape (units,)."""
    search, room = problem.search, budget - problem.fixed
    choice, _ = search.solve(room, trades=False)
    return np.asarray(choice[problem.group])


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
