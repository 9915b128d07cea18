"""Descent to integer maps that no change of one item, and no trade between two, improves."""

from __future__ import annotations

import numpy as np

from .program import Program

LEAST = 1e-12
"""Improvements below are rounding."""

LARGE = 2500
"""Options in all beyond which trades are looked for only between near options."""

_FIRST, _ROWS = 8, 64  # changes whose trades are looked at together, first and later
_TOGETHER = 16  # changes made in one step
_STEPS = 16
_NEAR = 2


def improve(program: Program, choice: np.ndarray, room: int, *, trades: bool = True) -> np.ndarray:
    """A choice within the budgets that no change of one item and no trade between two improves.

    In programmes beyond `LARGE`, only trades that move each item by a few options are looked for.

    Args:
        program: the programme.
        choice: a feasible start, shape (items,).
        room: budget for the items together.
        trades: whether to trade as well.

    Returns:
        Options, shape (items,).
    """
    state = _State(program, choice.copy(), room)
    for _ in range(4 * len(choice)):
        moves, size = state.changes(), 1
        if not moves and trades:
            moves, size = state.trades(), 2  # no change fits, so one must pay for another
        if not moves:
            break
        state.take(moves, size)
    return state.choice


class _State:
    """A choice, and what every change of one item would add in loss and in cost.

    Attributes:
        choice: options, shape (items,).
        here: index of each item's chosen option among items * options, shape (items,).
        gain: loss that each change adds, shape (items * options,).
        extra: cost that it adds, shape (items * options,).
        spare: cost that the budget still has room for.
        spare_of_set: the same for the budget of the item's set, shape (items * options,).
        better: changes that lower the loss.
    """

    def __init__(self, program: Program, choice: np.ndarray, room: int) -> None:
        self._program = program
        self._room = room
        self._rows = np.arange(len(choice))
        self.choice = choice
        self._slope = program.slope(choice)
        self._look()

    def _look(self) -> None:
        program, rows, choice = self._program, self._rows, self.choice
        options = program.cost.shape[1]
        each = program.cost[rows, choice]
        self.here = rows * options + choice
        self.gain = (self._slope - self._slope[rows, choice][:, None]).ravel()
        self.extra = (program.cost - each[:, None]).ravel()
        self.spare = self._room - int(each.sum())
        # One more set, without a budget, for the items that are in none.
        spare = np.append(program.most - program.members @ each, np.iinfo(np.int64).max)
        self.spare_of_set = spare[program.set_of].repeat(options)
        self.better = np.flatnonzero(self.gain < -LEAST)

    def changes(self) -> list[int]:
        """The best change of one item that fits, and others that fit with it; empty if none."""
        better, extra = self.better, self.extra[self.better]
        fits = (extra <= self.spare) & (extra <= self.spare_of_set[better])
        usable = better[fits]
        order = usable[np.argsort(self.gain[usable], kind="stable")[:_TOGETHER]]
        return self._compatible([(int(move),) for move in order])

    def take(self, moves: list[int], size: int) -> None:
        """Make changes of different items, or only the first `size` where all together lose."""
        program, options = self._program, self._program.cost.shape[1]
        while True:
            fresh, items = self.choice.copy(), np.array(moves) // options
            fresh[items] = np.array(moves) % options
            together = float(self.gain[moves].sum()) + program.crossed(self.choice, fresh, items)
            if len(moves) == size or together < -LEAST:
                break
            moves = moves[:size]  # cross terms may outweigh the gains: then the best alone
        self._slope = program.slope_after(self._slope, self.choice, fresh, items)
        self.choice = fresh
        self._look()

    def _compatible(self, wanted: list[tuple[int, ...]]) -> list[int]:
        """The first of some sets of changes, and those after it that fit with it."""
        options = self._program.cost.shape[1]
        taken: list[int] = []
        items: set[int] = set()
        spare = self.spare
        for moves in wanted:
            changed = {move // options for move in moves}
            more = sum(int(self.extra[move]) for move in moves)
            # After the first, only changes that share no item and no set's budget with it.
            if taken and (items & changed or more > spare or len(self._program.most)):
                continue
            taken += moves
            items |= changed
            spare -= more
        return taken

    def trades(self) -> list[int]:
        """Changes that lower the loss, each followed by one that pays for it; empty if none do.

        Changes of two items by D and E have the cross term <D, E>, which is at most |D| |E| in
        size. That rules out most changes, and the others are looked at most promising first.
        """
        gain, extra, better = self.gain, self.extra, self.better
        cheaper = np.flatnonzero((extra < 0) & np.isfinite(gain))
        if len(gain) > LARGE:
            rank, rows = self._program.rank, self._rows
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
            pairs = self._pairs(first, cheaper)
            if pairs:
                return pairs
        return []

    def _promising(self, better: np.ndarray, cheaper: np.ndarray) -> np.ndarray:
        """Changes that lower the loss and might be paid for, most promising first."""
        gain, extra, program = self.gain, self.extra, self._program
        options = np.arange(program.cost.shape[1])
        square = program.own[:, options, options]  # |column|^2
        here = np.take_along_axis(square, self.choice[:, None], axis=1)
        reach = square + here - 2 * program.own[self._rows, self.choice]
        reach = np.sqrt(np.maximum(reach, 0.0)).ravel()  # |D| of every change
        # For each reach of a change, the least loss that the changes paying for it could add.
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
        program, options = self._program, self._program.cost.shape[1]
        moved_first = program.columns[first] - program.columns[self.here[first // options]]
        moved_second = program.columns[second] - program.columns[self.here[second // options]]
        item, payer = first[:, None] // options, second // options
        fits = self.extra[first][:, None] + self.extra[second] <= self.spare
        fits &= item != payer
        same_set = (program.set_of[item] == program.set_of[payer]) & (program.set_of[item] >= 0)
        in_set = self.extra[first][:, None] + np.where(same_set, self.extra[second], 0)
        fits &= in_set <= self.spare_of_set[first][:, None]
        gain = self.gain[first][:, None] + self.gain[second] + moved_first @ moved_second.T
        pair = np.where(fits, gain, np.inf)
        partner = pair.argmin(axis=1)
        value = pair[np.arange(len(first)), partner]
        order = [row for row in np.argsort(value, kind="stable") if value[row] < -LEAST]
        return self._compatible([(int(first[row]), int(second[partner[row]])) for row in order])
