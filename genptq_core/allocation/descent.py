"""Descent to integer maps that no change of one item, and no trade between two, improves."""

from __future__ import annotations

import numpy as np

from .program import Program

LEAST = 1e-12
"""Improvements below are rounding."""

LARGE = 2500
"""Options in all beyond which trades are looked for only between near options."""

_FIRST, _ROWS = 8, 64  # changes whose trades are looked at together, first and later
_BESIDE = 16  # changes made together
_STEPS = 16
_NEAR = 2


def improve(task: Program, choice: np.ndarray, room: int, *, trades: bool = True) -> np.ndarray:
    """Descend by changing one item, or trading between two, while the budgets hold.

    Args:
        task: the programme.
        choice: a feasible start, shape (items,).
        room: budget for the items together.
        trades: whether to trade too.

    Returns:
        A choice that no single change and no trade improves, within the budgets; of programmes
        beyond `LARGE`, no trade that moves each item by a few options.
    """
    state = _State(task, choice.copy(), room)
    for _ in range(4 * len(choice)):
        moves, size = state.changes(), 1
        if not moves and trades:
            moves, size = state.trades(), 2  # no change fits, so one must pay for another
        if not moves:
            break
        state.take(moves, size)
    return state.choice


class _State:
    """A choice, and what every change of it would gain and cost.

    Attributes:
        gain: of each change of one item, the loss it adds, shape (items * options,).
        extra: the cost that it adds.
        spare: what the budget has left.
        left: what the budget of the item's set has left, shape (items * options,).
    """

    def __init__(self, task: Program, choice: np.ndarray, room: int) -> None:
        self._task = task
        self._room = room
        self._rows = np.arange(len(choice))
        self.choice = choice
        self._slope = task.slope(choice)
        self._look()

    def _look(self) -> None:
        task, rows, choice = self._task, self._rows, self.choice
        options = task.cost.shape[1]
        each = task.cost[rows, choice]
        self.here = rows * options + choice
        self.gain = (self._slope - self._slope[rows, choice][:, None]).ravel()
        self.extra = (task.cost - each[:, None]).ravel()
        self.spare = self._room - int(each.sum())
        # One more set, of no budget, for the items that are in none.
        left = np.append(task.most - task.members @ each, np.iinfo(np.int64).max)
        self.left = left[task.set_of].repeat(options)
        self.better = np.flatnonzero(self.gain < -LEAST)

    def changes(self) -> list[int]:
        """The best change of one item that fits, and further ones beside it; none if none fits."""
        better = self.better
        fits = (self.extra[better] <= self.spare) & (self.extra[better] <= self.left[better])
        usable = better[fits]
        order = usable[np.argsort(self.gain[usable], kind="stable")[:_BESIDE]]
        return self._compatible([(int(move),) for move in order])

    def take(self, moves: list[int], size: int) -> None:
        """Make changes of different items, of which the first `size` are the best together."""
        task, options = self._task, self._task.cost.shape[1]
        while True:
            fresh, items = self.choice.copy(), np.array(moves) // options
            fresh[items] = np.array(moves) % options
            together = float(self.gain[moves].sum()) + task.crossed(self.choice, fresh, items)
            if len(moves) == size or together < -LEAST:
                break
            moves = moves[:size]  # several may meet badly: then the best alone
        self._slope = task.slope_after(self._slope, self.choice, fresh, items)
        self.choice = fresh
        self._look()

    def _compatible(self, wanted: list[tuple[int, ...]]) -> list[int]:
        """The first of some sets of changes, and those after it that fit beside it."""
        options = self._task.cost.shape[1]
        taken: list[int] = []
        items: set[int] = set()
        spare = self.spare
        for moves in wanted:
            mine = {move // options for move in moves}
            more = sum(int(self.extra[move]) for move in moves)
            # Beside the first, only where no item and no set's budget is shared.
            if taken and (items & mine or more > spare or len(self._task.most)):
                continue
            taken += moves
            items |= mine
            spare -= more
        return taken

    def trades(self) -> list[int]:
        """Changes for the better, each before one that pays for it; none if there are none.

        Changes by D and E in two items meet in <D, E>, which is at most |D| |E| in size: most
        changes find none to pay for them, and only the others are looked at, the most promising
        first.
        """
        gain, extra, better = self.gain, self.extra, self.better
        cheaper = np.flatnonzero((extra < 0) & np.isfinite(gain))
        if len(gain) > LARGE:
            rank, rows = self._task.rank, self._rows
            near = np.abs(rank - rank[rows, self.choice][:, None]).ravel() <= _NEAR
            better, cheaper = better[near[better]], cheaper[near[cheaper]]
        if not len(cheaper) or not len(better):
            return []
        cheaper = cheaper[np.argsort(extra[cheaper], kind="stable")]
        better = self._promising(better, cheaper)
        start = 0
        while start < len(better):
            # The first few rows nearly always hold the trade, if there is one.
            first = better[start : start + (_ROWS if start else _FIRST)]
            start += len(first)
            found = self._pairs(first, cheaper)
            if found:
                return found
        return []

    def _promising(self, better: np.ndarray, cheaper: np.ndarray) -> np.ndarray:
        """Changes for the better that might be paid for, the most promising first."""
        gain, extra, task = self.gain, self.extra, self._task
        options = np.arange(task.cost.shape[1])
        square = task.own[:, options, options]  # |column|^2
        here = np.take_along_axis(square, self.choice[:, None], axis=1)
        reach = square + here - 2 * task.own[self._rows, self.choice]
        reach = np.sqrt(np.maximum(reach, 0.0)).ravel()  # |D| of every change
        # The least that a change of some reach and one that can pay for it come to, by reach.
        low, high = float(reach[better].min()), float(reach[better].max())
        steps = np.linspace(low**0.5, high**0.5, _STEPS) ** 2
        steps[-1] = high
        least = np.minimum.accumulate(gain[cheaper] - steps[:, None] * reach[cheaper], axis=1)
        paying = np.searchsorted(extra[cheaper], self.spare - extra[better], side="right")
        better, paying = better[paying > 0], paying[paying > 0]
        step = np.searchsorted(steps[:-1], reach[better])
        hope = gain[better] + least[step, paying - 1]
        better, hope = better[hope < -LEAST], hope[hope < -LEAST]
        return better[np.argsort(hope, kind="stable")]

    def _pairs(self, first: np.ndarray, second: np.ndarray) -> list[int]:
        """The best trades between two lists of changes, of different items, that fit together."""
        task, options = self._task, self._task.cost.shape[1]
        mine = task.columns[first] - task.columns[self.here[first // options]]
        theirs = task.columns[second] - task.columns[self.here[second // options]]
        one, other = first[:, None] // options, second // options
        fits = self.extra[first][:, None] + self.extra[second] <= self.spare
        fits &= one != other
        together = (task.set_of[one] == task.set_of[other]) & (task.set_of[one] >= 0)
        own = self.extra[first][:, None] + np.where(together, self.extra[second], 0)
        fits &= own <= self.left[first][:, None]
        pair = np.where(
            fits, self.gain[first][:, None] + self.gain[second] + mine @ theirs.T, np.inf
        )
        partner = pair.argmin(axis=1)
        value = pair[np.arange(len(first)), partner]
        order = [row for row in np.argsort(value, kind="stable") if value[row] < -LEAST]
        return self._compatible([(int(first[row]), int(second[partner[row]])) for row in order])
