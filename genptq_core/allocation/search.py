"""Search for integer maps: good starts for every budget, then descent from the best of them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .descent import improve
from .knapsack import SeparableFront, separable_front
from .program import Program
from .relaxation import Relaxation, Relaxed

_DRAWN = 2000  # points of the separable front among the candidates
_PRICES = 160
_SMALL = 500  # options in all, up to which every start is traded on
_CLOSE = 1.02  # starts with a loss farther from the best start's are not worth a descent


class Search:
    """What is computed once for a programme, to solve it for any budget.

    Args:
        program: the programme.
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    @cached_property
    def states(self) -> SeparableFront:
        """The front of the separable loss alone."""
        return separable_front(self.program.cost, self.program.separable)

    @cached_property
    def relaxation(self) -> Relaxation:
        """The continuous programme."""
        caps = (self.program.members, self.program.most) if len(self.program.most) else None
        return Relaxation(self.program.loss, self.program.cost, self.program.allowed, caps)

    @cached_property
    def candidates(self) -> np.ndarray:
        """Good maps of every size that keep the sets' budgets, shape (maps, items).

        They come from the separable front, from stationary points of the full loss, and from one
        option everywhere.
        """
        count = len(self.states.cost)
        points = np.unique(np.linspace(0, count - 1, min(count, _DRAWN)).astype(np.int64))
        choices = np.concatenate(
            [
                self.states.choices(points),
                lagrangian_maps(self.program),
                uniform_maps(self.program),
            ]
        )
        return choices[self.program.keeps(choices)]

    @cached_property
    def starts(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each option of the heaviest item, its candidates by rising cost.

        Trades of one pair cannot pay for a change of the heaviest item, so each of its options has
        starts of its own.

        Returns:
            Costs; the index of the best candidate up to each cost; and its loss.
        """
        choices = self.candidates
        cost, loss = self.program.total(choices), self.program.loss(choices)
        heaviest = int(
            np.ptp(np.where(self.program.allowed, self.program.cost, 0), axis=1).argmax()
        )
        starts = []
        for option in np.unique(choices[:, heaviest]):
            maps = np.flatnonzero(choices[:, heaviest] == option)
            maps = maps[np.lexsort((loss[maps], cost[maps]))]
            lowest = np.minimum.accumulate(loss[maps])
            first = np.append(True, lowest[1:] < lowest[:-1])
            best = maps[np.maximum.accumulate(np.where(first, np.arange(len(maps)), 0))]
            starts.append((cost[maps], best, lowest))
        return starts

    def solve(self, room: int, *, trades: bool = True) -> tuple[np.ndarray, Relaxed]:
        """The best choice found within a budget, and the continuous one that bounds it.

        Args:
            room: budget for the items together.
            trades: whether to trade between items at the end, which takes most of the time.
        """
        relaxed = self.relaxation.at(room)
        starts = [improve(self.program, s, room, trades=False) for s in self._starts(relaxed, room)]
        starts.sort(key=lambda choice: float(self.program.loss(choice)))
        if not trades:
            return starts[0], relaxed
        # Trades lead from close starts to losses that are closer still.
        ends = [improve(self.program, start, room) for start in starts[: 1 if self._large else 4]]
        return min(ends, key=lambda choice: float(self.program.loss(choice))), relaxed

    @property
    def _large(self) -> bool:
        return self.program.cost.size > _SMALL

    def _starts(self, relaxed: Relaxed, room: int) -> list[np.ndarray]:
        known: list[tuple[float, np.ndarray]] = []
        for cost, best, lowest in self.starts:
            place = int(np.searchsorted(cost, room, side="right")) - 1
            if place >= 0:
                known.append((float(lowest[place]), self.candidates[best[place]]))
        exact = self.states.within(room)
        if exact >= 0:
            choice = self.states.choices(np.array([exact]))[0]
            if self.program.keeps(choice):
                known.append((float(self.program.loss(choice)), choice))
        known.sort(key=lambda start: start[0])
        starts = [choice for value, choice in known[:3] if value <= _CLOSE * known[0][0]]
        rounded = round_down(self.program, relaxed, room)
        return starts if rounded is None else [*starts, rounded]


def uniform_maps(program: Program) -> np.ndarray:
    """For each option, the map that takes it everywhere, or the nearest option that is allowed.

    Nearest means in cost relative to the item's dearest option; of options of equal cost, the
    wanted one itself.

    Returns:
        Shape (options, items).
    """
    options = program.cost.shape[1]
    stored = program.cost / np.maximum(
        program.cost.max(axis=1, keepdims=True), 1
    )  # (items, options)
    distance = np.abs(stored.T[:, :, None] - stored[None])  # (wanted, items, options)
    distance += 1e-9 * ~np.eye(options, dtype=bool)[:, None]
    return np.asarray(np.where(program.allowed, distance, np.inf).argmin(axis=2))


def lagrangian_maps(program: Program, steps: int = _PRICES) -> np.ndarray:
    """For each price of a byte, a map that no change of one item improves, shape (maps, items).

    Each price starts from the map of the price before it.
    """
    items = len(program.cost)
    rows = np.arange(items)
    separable = program.separable
    finite = np.where(np.isfinite(separable), separable, np.nan)
    saved = np.nanmax(finite, axis=1) - np.nanmin(finite, axis=1)
    rate = saved / np.maximum(np.ptp(program.cost, axis=1), 1)
    rate = rate[rate > 0]
    if not len(rate):
        return np.empty((0, items), dtype=np.int64)
    prices = np.geomspace(float(rate.max()) * 100, float(rate.min()) / 100, steps)
    choice = np.where(program.allowed, program.cost, np.iinfo(np.int64).max).argmin(axis=1)
    slope = program.slope(choice)
    maps = []
    for price in prices:
        for _ in range(30):
            score = slope + price * program.cost
            best = score.argmin(axis=1)
            gain = score[rows, choice] - score[rows, best]
            changed = np.flatnonzero((best != choice) & (gain > 1e-15 + 1e-9 * np.abs(gain)))
            if not len(changed):
                break
            fresh = choice.copy()
            fresh[changed] = best[changed]
            # All changes at once if they help together, which they mostly do; else the best one.
            if program.crossed(choice, fresh, changed) > 0.5 * float(gain[changed].sum()):
                changed = changed[[int(gain[changed].argmax())]]
                fresh = choice.copy()
                fresh[changed] = best[changed]
            slope = program.slope_after(slope, choice, fresh, changed)
            choice = fresh
        maps.append(choice.copy())
    return np.unique(np.array(maps), axis=0)


def round_down(program: Program, relaxed: Relaxed, room: int) -> np.ndarray | None:
    """Each item's likeliest option, then shrunk where that loses least until budgets hold.

    Returns:
        Shape (items,); None where no choice is small enough.
    """
    score = np.where(program.allowed, relaxed.mixture, -1.0)
    choice = score.argmax(axis=1)
    rows = np.arange(len(choice))
    everything = np.ones((1, len(choice)), dtype=bool)
    for members, most in zip(
        np.concatenate([program.members, everything]), np.append(program.most, room), strict=True
    ):
        while (over := int(program.cost[rows, choice][members].sum()) - int(most)) > 0:
            saved = program.cost[rows, choice][:, None] - program.cost
            harm = program.separable - program.separable[rows, choice][:, None]
            usable = program.allowed & (saved > 0) & members[:, None]
            if not usable.any():
                return None
            rate = np.where(
                usable, np.maximum(harm, 0) / np.minimum(np.maximum(saved, 1), over), np.inf
            )
            item, option = np.unravel_index(rate.argmin(), rate.shape)
            choice[item] = option
    return choice
