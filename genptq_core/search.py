"""Search for integer maps: stationary ones of many prices, descent by changes and trades."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .knapsack import SeparableFront, separable_front
from .prediction import QuadraticLoss
from .relaxation import Relaxation, Relaxed

_LEAST = 1e-12  # improvements below are rounding
_FIRST, _ROWS = 8, 64  # changes whose trades are looked at together, first and later
_STEPS = 16
_SMALL = 500  # options in all, up to which every start is traded on
_CLOSE = 1.02  # starts with a loss farther from the best start's are not worth a descent
_DRAWN = 2000  # points of the separable front among the candidates
_PRICES = 160


@dataclass(frozen=True)
class Program:
    """One option for each item, costs within budgets, least loss: what the solvers see.

    Attributes:
        cost: of every option, shape (items, options), int64.
        loss: predicted loss over them.
        allowed: options open, shape (items, options), bool, at least one an item.
        members: disjoint sets of items with budgets of their own, shape (sets, items), bool.
        most: the cost that each set may take, shape (sets,), int64.
    """

    cost: np.ndarray
    loss: QuadraticLoss
    allowed: np.ndarray
    members: np.ndarray
    most: np.ndarray

    @cached_property
    def separable(self) -> np.ndarray:
        """Second-order loss of each option alone, infinite where it is closed."""
        return np.where(self.allowed, self.loss.separable, np.inf)

    @cached_property
    def columns(self) -> np.ndarray:
        """A column of the loss's projections an option, scaled so that products are cross terms:
        shape (items * options, rows)."""
        rows = self.loss.projections.reshape(len(self.loss.projections), -1)
        return np.ascontiguousarray(np.sqrt(1 - self.loss.shrinkage) * rows.T)

    @cached_property
    def own(self) -> np.ndarray:
        """Products between options of one item: shape (items, options, options)."""
        items, options = self.cost.shape
        mine = self.columns.reshape(items, options, -1)
        return np.asarray(np.matmul(mine, mine.transpose(0, 2, 1)))

    @cached_property
    def states(self) -> SeparableFront:
        """The front of the separable loss."""
        return separable_front(self.cost, self.separable)

    @cached_property
    def relaxation(self) -> Relaxation:
        """The continuous domain."""
        caps = (self.members, self.most) if len(self.most) else None
        return Relaxation(self.loss, self.cost, self.allowed, caps)

    @cached_property
    def candidates(self) -> np.ndarray:
        """Good maps of every size, shape (maps, items): of the separable front, stationary ones of
        the full loss, and one option everywhere. Those that keep the sets' budgets."""
        count = len(self.states.cost)
        points = np.unique(np.linspace(0, count - 1, min(count, _DRAWN)).astype(np.int64))
        found = [self.states.choices(points), lagrangian_maps(self), uniform_maps(self)]
        choices = np.concatenate(found)
        return choices[self.keeps(choices)]

    @cached_property
    def starts(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Candidates by option of the heaviest item: costs, rising; the best so far, and its loss.

        Trades of one pair cannot pay for a change of the heaviest item, so that is tried first.
        """
        choices = self.candidates
        cost, loss = self.total(choices), self.loss(choices)
        heaviest = int(np.ptp(np.where(self.allowed, self.cost, 0), axis=1).argmax())
        found = []
        for option in np.unique(choices[:, heaviest]):
            mine = np.flatnonzero(choices[:, heaviest] == option)
            mine = mine[np.lexsort((loss[mine], cost[mine]))]
            lowest = np.minimum.accumulate(loss[mine])
            first = np.append(True, lowest[1:] < lowest[:-1])
            best = mine[np.maximum.accumulate(np.where(first, np.arange(len(mine)), 0))]
            found.append((cost[mine], best, lowest))
        return found

    def total(self, choices: np.ndarray) -> np.ndarray:
        """Cost of choices, shape (..., items) -> (...)."""
        return self.cost[np.arange(len(self.cost)), choices].sum(axis=-1)

    def keeps(self, choices: np.ndarray) -> np.ndarray:
        """Whether choices keep the sets' budgets, shape (..., items) -> (...)."""
        each = self.cost[np.arange(len(self.cost)), choices]
        return np.asarray((each @ self.members.T <= self.most).all(axis=-1))

    def solve(self, room: int) -> tuple[np.ndarray, Relaxed]:
        """The best choice found within a budget, and the continuous one that bounds it."""
        relaxed = self.relaxation.at(room)
        starts = [improve(self, s, room, trades=False) for s in self._starts(relaxed, room)]
        starts.sort(key=lambda choice: float(self.loss(choice)))
        # Trades take most of the time, and lead from close starts to losses that are closer still.
        found = [improve(self, start, room) for start in starts[: 1 if self._large else 4]]
        return min(found, key=lambda c: float(self.loss(c))), relaxed

    @property
    def _large(self) -> bool:
        return self.cost.size > _SMALL

    def _starts(self, relaxed: Relaxed, room: int) -> list[np.ndarray]:
        known: list[tuple[float, np.ndarray]] = []
        for cost, best, lowest in self.starts:
            place = int(np.searchsorted(cost, room, side="right")) - 1
            if place >= 0:
                known.append((float(lowest[place]), self.candidates[best[place]]))
        exact = self.states.within(room)
        if exact >= 0:
            choice = self.states.choices(np.array([exact]))[0]
            if self.keeps(choice):
                known.append((float(self.loss(choice)), choice))
        known.sort(key=lambda start: start[0])
        starts = [choice for value, choice in known[:3] if value <= _CLOSE * known[0][0]]
        rounded = round_down(self, relaxed, room)
        return starts if rounded is None else [*starts, rounded]


def uniform_maps(task: Program) -> np.ndarray:
    """For each option, the map that is nearest to it everywhere that the constraints allow.

    Nearest in cost relative to the item's dearest; of options of equal cost, the wanted itself.
    """
    options = task.cost.shape[1]
    stored = task.cost / np.maximum(task.cost.max(axis=1, keepdims=True), 1)  # (items, options)
    distance = np.abs(stored.T[:, :, None] - stored[None])  # (wanted, items, options)
    distance += 1e-9 * ~np.eye(options, dtype=bool)[:, None]
    return np.asarray(np.where(task.allowed, distance, np.inf).argmin(axis=2))


def lagrangian_maps(task: Program, steps: int = _PRICES) -> np.ndarray:
    """For each price of a byte, a map that no change of one item improves; warm started."""
    items = len(task.cost)
    rows = np.arange(items)
    separable = task.separable
    finite = np.where(np.isfinite(separable), separable, np.nan)
    saved = np.nanmax(finite, axis=1) - np.nanmin(finite, axis=1)
    rate = saved / np.maximum(np.ptp(task.cost, axis=1), 1)
    rate = rate[rate > 0]
    if not len(rate):
        return np.empty((0, items), dtype=np.int64)
    prices = np.geomspace(float(rate.max()) * 100, float(rate.min()) / 100, steps)
    choice = np.where(task.allowed, task.cost, np.iinfo(np.int64).max).argmin(axis=1)
    slope = _slope(task, choice)
    maps = []
    for price in prices:
        for _ in range(30):
            score = slope + price * task.cost
            best = score.argmin(axis=1)
            gain = score[rows, choice] - score[rows, best]
            changed = np.flatnonzero((best != choice) & (gain > 1e-15 + 1e-9 * np.abs(gain)))
            if not len(changed):
                break
            fresh = choice.copy()
            fresh[changed] = best[changed]
            moved = _moved(task, choice, fresh, changed)
            # All at once if they help together, which they mostly do; else the best of them.
            hope = float(gain[changed].sum())
            crossed = 0.5 * float(moved @ moved) - 0.5 * float(_each(task, choice, fresh, changed))
            if crossed > 0.5 * hope:
                changed = changed[[int(gain[changed].argmax())]]
                fresh = choice.copy()
                fresh[changed] = best[changed]
                moved = _moved(task, choice, fresh, changed)
            slope = _after(task, slope, choice, fresh, changed, moved)
            choice = fresh
        maps.append(choice.copy())
    return np.unique(np.array(maps), axis=0)


def _slope(task: Program, choice: np.ndarray) -> np.ndarray:
    """Loss of each option given the rest, up to a constant an item: shape (items, options)."""
    items, options = task.cost.shape
    rows = np.arange(items)
    total = task.columns[rows * options + choice].sum(axis=0)
    pull = (task.columns @ total).reshape(items, options) - task.own[rows, choice]
    return np.asarray(task.separable + pull)


def _moved(task: Program, old: np.ndarray, new: np.ndarray, items: np.ndarray) -> np.ndarray:
    """How a change of some items moves the sum of chosen columns: shape (rows,)."""
    options = task.cost.shape[1]
    there, here = items * options + new[items], items * options + old[items]
    return np.asarray((task.columns[there] - task.columns[here]).sum(axis=0))


def _each(task: Program, old: np.ndarray, new: np.ndarray, items: np.ndarray) -> float:
    """Sum of the squared lengths of the items' own moves."""
    own = task.own[items]
    at = np.arange(len(items))
    a, b = old[items], new[items]
    return float((own[at, a, a] + own[at, b, b] - 2 * own[at, a, b]).sum())


def _after(
    task: Program,
    slope: np.ndarray,
    old: np.ndarray,
    new: np.ndarray,
    items: np.ndarray,
    moved: np.ndarray,
) -> np.ndarray:
    """The slope after a change of some items."""
    slope = slope + (task.columns @ moved).reshape(slope.shape)
    slope[items] -= task.own[items, new[items]] - task.own[items, old[items]]
    return slope


def improve(task: Program, choice: np.ndarray, room: int, *, trades: bool = True) -> np.ndarray:
    """Descend by changing one item, or trading between two, while the budgets hold.

    Args:
        task: the programme.
        choice: a feasible start, shape (items,).
        room: budget for the items together.
        trades: whether to trade too.

    Returns:
        A choice that no single change and no trade improves, within the budgets.
    """
    items, options = task.cost.shape
    rows = np.arange(items)
    choice = choice.copy()
    owner = np.repeat(rows, options)
    slope = _slope(task, choice)
    set_of = np.full(items, -1)
    for index, members in enumerate(task.members):
        set_of[members] = index
    for _ in range(4 * items):
        gain = (slope - slope[rows, choice][:, None]).ravel()
        extra = (task.cost - task.cost[rows, choice][:, None]).ravel()
        each = task.cost[rows, choice]
        spare = room - int(each.sum())
        # One more set, of no budget, for the items that are in none.
        left = np.append(task.most - task.members @ each, np.iinfo(np.int64).max)[set_of[owner]]
        better = np.flatnonzero(gain < -_LEAST)
        fits = (extra[better] <= spare) & (extra[better] <= left[better])
        if fits.any():
            moves = [int(better[fits][gain[better][fits].argmin()])]
        else:
            # No single change fits, so one must pay for another.
            moves = _trade(task, choice, better, gain, extra, spare, left, set_of) if trades else []
        if not moves:
            return choice
        fresh = choice.copy()
        for move in moves:
            fresh[owner[move]] = move % options
        changed = owner[moves]
        moved = _moved(task, choice, fresh, changed)
        slope = _after(task, slope, choice, fresh, changed, moved)
        choice = fresh
    return choice


def _trade(
    task: Program,
    choice: np.ndarray,
    better: np.ndarray,
    gain: np.ndarray,
    extra: np.ndarray,
    spare: int,
    left: np.ndarray,
    set_of: np.ndarray,
) -> list[int]:
    """A change for the better and one that pays for it, which help together; or none.

    Changes by D and E in two items meet in <D, E>, which is at most |D| |E| in size: most changes
    find none to pay for them, and only the others are looked at, the most promising first.
    """
    options = task.cost.shape[1]
    cheaper = np.flatnonzero((extra < 0) & np.isfinite(gain))
    if not len(cheaper) or not len(better):
        return []
    cheaper = cheaper[np.argsort(extra[cheaper], kind="stable")]
    here = np.arange(len(choice)) * options + choice
    square = task.own[:, np.arange(options), np.arange(options)]  # |column|^2
    from_here = task.own[np.arange(len(choice)), choice]
    reach = square + np.take_along_axis(square, choice[:, None], axis=1) - 2 * from_here
    reach = np.sqrt(np.maximum(reach, 0.0)).ravel()  # |D| of every change
    # The least that a change of some reach and one that can pay for it come to, a step of reach.
    low, high = float(reach[better].min()), float(reach[better].max())
    steps = np.linspace(low**0.5, high**0.5, _STEPS) ** 2
    steps[-1] = high
    least = np.minimum.accumulate(gain[cheaper] - steps[:, None] * reach[cheaper], axis=1)
    paying = np.searchsorted(extra[cheaper], spare - extra[better], side="right")
    better, paying = better[paying > 0], paying[paying > 0]
    step = np.searchsorted(steps[:-1], reach[better])
    hope = gain[better] + least[step, paying - 1]
    better, hope = better[hope < -_LEAST], hope[hope < -_LEAST]
    better = better[np.argsort(hope, kind="stable")]
    start = 0
    while start < len(better):
        # The first few rows nearly always hold the trade, if there is one.
        first = better[start : start + (_ROWS if start else _FIRST)]
        start += len(first)
        mine = task.columns[first] - task.columns[here[first // options]]
        met = mine @ task.columns.T
        meet = met[:, cheaper] - met[:, here[cheaper // options]]
        one, other = first[:, None] // options, cheaper // options
        fits = extra[first][:, None] + extra[cheaper] <= spare
        fits &= one != other
        together = (set_of[one] == set_of[other]) & (set_of[one] >= 0)
        own = extra[first][:, None] + np.where(together, extra[cheaper], 0)
        fits &= own <= left[first][:, None]
        pair = np.where(fits, gain[first][:, None] + gain[cheaper] + meet, np.inf)
        best = int(pair.argmin())
        if pair.ravel()[best] < -_LEAST:
            return [int(first[best // len(cheaper)]), int(cheaper[best % len(cheaper)])]
    return []


def round_down(task: Program, relaxed: Relaxed, room: int) -> np.ndarray | None:
    """Take each item's likeliest option, then shrink the cheapest losses until budgets hold."""
    score = np.where(task.allowed, relaxed.mixture, -1.0)
    choice = score.argmax(axis=1)
    rows = np.arange(len(choice))
    everything = np.ones((1, len(choice)), dtype=bool)
    for members, most in zip(
        np.concatenate([task.members, everything]), np.append(task.most, room), strict=True
    ):
        while (over := int(task.cost[rows, choice][members].sum()) - int(most)) > 0:
            saved = task.cost[rows, choice][:, None] - task.cost
            harm = task.separable - task.separable[rows, choice][:, None]
            usable = task.allowed & (saved > 0) & members[:, None]
            if not usable.any():
                return None
            rate = np.where(
                usable, np.maximum(harm, 0) / np.minimum(np.maximum(saved, 1), over), np.inf
            )
            item, option = np.unravel_index(rate.argmin(), rate.shape)
            choice[item] = option
    return choice
