"""The multiple-choice knapsack: its front, and its linear relaxation.

Both answer every budget at once: a front is computed once and then looked up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

STATES = 100_000
"""Undominated states kept. Beyond that, the range of costs is cut into as many steps, and the best
state of each remains: where costs share no common step, states would grow without end."""

_CELLS = 2_000_000  # largest table over costs; beyond it, states are a list
_WORTH = 30  # cells of a table take as much time as one state of a list


@dataclass(frozen=True)
class _Stage:
    """The states after one more unit got its option, and which option each of them took.

    Attributes:
        unit: the unit.
        extra: cost of each of its options above the cheapest, shape (options,), int64.
        options: option of each state.
        cost: cost of each state, ascending; None where states are cells of a table.
        step: cost between two cells of the table.
    """

    unit: int
    extra: np.ndarray
    options: np.ndarray
    cost: np.ndarray | None
    step: int

    def option(self, cost: np.ndarray) -> np.ndarray:
        """Options of the states that have some costs."""
        if self.cost is None:
            return self.options[cost // self.step]
        return self.options[np.searchsorted(self.cost, cost)]


@dataclass(frozen=True)
class SeparableFront:
    """Undominated integer choices of a separable loss, by rising cost.

    Attributes:
        cost: total bytes of the units, shape (points,), int64.
        loss: total separable loss, shape (points,), strictly falling.
        exact: whether no undominated choice was left out.
    """

    cost: np.ndarray
    loss: np.ndarray
    exact: bool
    _stages: tuple[_Stage, ...]
    _least: int

    def choices(self, points: np.ndarray) -> np.ndarray:
        """Options of some points: shape (points, units)."""
        cost = self.cost[np.asarray(points)] - self._least
        out = np.empty((len(cost), len(self._stages)), dtype=np.int64)
        for stage in reversed(self._stages):
            option = stage.option(cost)
            out[:, stage.unit] = option
            cost = cost - stage.extra[option]
        return out

    def within(self, room: int) -> int:
        """The best point whose cost is at most `room`; -1 if none is."""
        return int(np.searchsorted(self.cost, room, side="right")) - 1


def separable_front(cost: np.ndarray, loss: np.ndarray) -> SeparableFront:
    """Front of the multiple-choice knapsack, unit by unit (Kellerer, Pferschy and Pisinger,
    "Knapsack Problems", 2004, section 11.5), for every budget in one pass.

    States are a table over costs while all costs are multiples of a step that is not too fine, and
    a list of undominated states where that is shorter. Exact unless more than `STATES` states are
    undominated.

    Args:
        cost: bytes, shape (units, options), int64.
        loss: loss, shape (units, options); infinite or NaN where an option is closed.

    Raises:
        ValueError: a unit has no open option.
    """
    menus = [_menu(c, v) for c, v in zip(cost, loss, strict=True)]
    least = sum(int(cost[unit, menu[0]]) for unit, menu in enumerate(menus))
    extras = [cost[unit] - cost[unit, menu[0]] for unit, menu in enumerate(menus)]
    steps = [int(np.gcd.reduce(e[menu])) for e, menu in zip(extras, menus, strict=True)]
    total: np.ndarray | None = np.zeros(1, dtype=np.int64)
    value, step, span, count, exact = np.zeros(1), 0, 0, 1, True
    stages: list[_Stage] = []
    for unit in _order(steps):
        menu, extra = menus[unit], extras[unit]
        finer = int(np.gcd(step, steps[unit])) or 1
        span += int(extra[menu[-1]])
        cells = span // finer + 1
        if cells <= min(_CELLS, _WORTH * count):
            value = _table(total, value, max(step, 1), finer, cells - int(extra[menu[-1]]) // finer)
            value, options = _next_table(value, cells, extra[menu] // finer, loss[unit, menu], menu)
            total, best = None, np.minimum.accumulate(value)
            count = 1 + int(np.count_nonzero(best[1:] < best[:-1]))
        else:
            if total is None:
                total, value = _listed(value, step)
            total, value, options, whole = _next_list(total, value, extra[menu], loss[unit, menu])
            options, count, exact = menu[options], len(total), exact and whole
        step = finer
        stages.append(_Stage(unit, extra, options, total, step))
    if total is None:
        total, value = _listed(value, step)
    return SeparableFront(total + least, value, exact, tuple(stages), least)


def _order(steps: list[int]) -> list[int]:
    """Units in an order in which their common step stays coarse for long.

    First those without a choice, then those with the most frequent step, then always those that
    leave the common step coarsest.
    """
    units: dict[int, list[int]] = {}
    for unit, step in enumerate(steps):
        units.setdefault(step, []).append(unit)
    order, common = units.pop(0, []), 0
    while units:
        chosen = max(units, key=lambda s: (math.gcd(common, s) if common else len(units[s]), s))
        order += units.pop(chosen)
        common = math.gcd(common, chosen)
    return order


def _menu(cost: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """A unit's undominated options, by rising cost."""
    open_ = np.flatnonzero(np.isfinite(loss))
    if not len(open_):
        raise ValueError("a unit has no open option")
    order = open_[np.lexsort((loss[open_], cost[open_]))]
    best = np.minimum.accumulate(loss[order])
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = loss[order][1:] < best[:-1]
    return order[keep]


def _table(
    total: np.ndarray | None, value: np.ndarray, step: int, finer: int, cells: int
) -> np.ndarray:
    """The states as a table of `cells` cells, `finer` apart in cost."""
    if total is None and step == finer:
        return value
    out = np.full(cells, np.inf)
    if total is None:
        out[:: step // finer][: len(value)] = value
    else:
        out[total // finer] = value
    return out


def _next_table(
    value: np.ndarray, cells: int, shifts: np.ndarray, losses: np.ndarray, menu: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The table after one more unit got its option, and the option that each cell took."""
    out = np.full(cells, np.inf)
    options = np.zeros(cells, dtype=np.uint16)
    fresh, better = np.empty(len(value)), np.empty(len(value), dtype=bool)
    for shift, loss, column in zip(shifts, losses, menu, strict=True):
        part = slice(int(shift), int(shift) + len(value))
        np.add(value, loss, out=fresh)
        np.less(fresh, out[part], out=better)
        np.copyto(out[part], fresh, where=better)
        np.copyto(options[part], np.uint16(column), where=better)
    return out, options


def _listed(value: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Costs and losses of a table's undominated cells."""
    best = np.minimum.accumulate(value)
    keep = np.ones(len(value), dtype=bool)
    keep[1:] = value[1:] < best[:-1]
    cells = np.flatnonzero(keep)
    return cells * step, value[cells]


def _next_list(
    total: np.ndarray, value: np.ndarray, extra: np.ndarray, losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """The list after one more unit got its option: costs, losses, options, and whether no state
    was left out."""
    costs = (total[None] + extra[:, None]).ravel()
    values = (value[None] + losses[:, None]).ravel()
    order = np.argsort(costs, kind="stable")  # fast, because these are sorted runs
    falling = values[order]
    best = np.minimum.accumulate(falling)
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = falling[1:] < best[:-1]
    kept = order[keep]
    ranked = costs[kept]
    kept = kept[np.append(ranked[1:] != ranked[:-1], True)]  # of equal costs the best, so the last
    thin = _thinned(costs[kept])
    kept = kept if thin is None else kept[thin]
    return costs[kept], values[kept], kept // len(total), thin is None


def _thinned(costs: np.ndarray) -> np.ndarray | None:
    """About `STATES` of the states: the last, so the best, of each step of cost; None for all."""
    if len(costs) <= STATES:
        return None
    low, high = int(costs[0]), int(costs[-1])
    step = (costs - low) * STATES // max(high - low, 1)
    last = np.append(step[1:] != step[:-1], True)
    last[0] = True  # the cheapest of all stays within reach
    return np.flatnonzero(last)


@dataclass(frozen=True)
class HullPath:
    """The linear relaxation's optimum for every budget, along lower convex hulls.

    Attributes:
        cost: cost after each step, beginning with the cheapest options, shape (steps + 1,).
        value: value after each step, shape (steps + 1,), falling, and convex without caps.
    """

    cost: np.ndarray
    value: np.ndarray
    _start: np.ndarray
    _unit: np.ndarray
    _from: np.ndarray
    _to: np.ndarray
    _share: np.ndarray
    _options: int

    def value_at(self, room: np.ndarray | float) -> np.ndarray:
        """Least value within budgets, which must be feasible."""
        return np.asarray(np.interp(room, self.cost, self.value))

    def mixture(self, room: float) -> np.ndarray:
        """The mixture of least value within a budget, shape (units, options)."""
        units = len(self._start)
        out = np.zeros((units, self._options))
        out[np.arange(units), self._start] = 1.0
        whole = int(np.searchsorted(self.cost[1:], room * (1 + 1e-15), side="right"))
        # Steps in order: a unit's last whole step says where it stands.
        taken = np.flatnonzero(self._share[:whole] >= 1.0)
        place = np.full(units, -1)
        place[self._unit[taken]] = self._to[taken]
        climbed = place >= 0
        out[climbed] = 0.0
        out[climbed, place[climbed]] = 1.0
        part = [int(s) for s in np.flatnonzero(self._share[:whole] < 1.0)]
        shares = [float(self._share[s]) for s in part]
        if whole < len(self._unit) and self.cost[whole + 1] > self.cost[whole]:
            fits = (room - self.cost[whole]) / (self.cost[whole + 1] - self.cost[whole])
            part.append(whole)
            shares.append(min(max(fits, 0.0), 1.0) * float(self._share[whole]))
        for step, share in zip(part, shares, strict=True):
            if share > 0:
                out[self._unit[step]] = 0.0
                out[self._unit[step], self._from[step]] = 1.0 - share
                out[self._unit[step], self._to[step]] = share
        return out


class Knapsack:
    """The linear relaxation over a fixed menu of costs: greedy along lower convex hulls.

    Sinha and Zoltners, "The Multiple-Choice Knapsack Problem" (Operations Research, 1979): after
    dropping options above each unit's lower convex hull, taking hull segments by falling
    steepness solves the relaxation exactly, and at most one unit ends up split. This also holds
    with caps on disjoint sets of units: what a cap cuts off is skipped.

    Args:
        cost: shape (units, options), not negative.
        allowed: shape (units, options), bool, at least one per unit.
        caps: disjoint sets of units, shape (sets, units), bool, and the cost that each may take,
            shape (sets,).
    """

    def __init__(
        self,
        cost: np.ndarray,
        allowed: np.ndarray,
        caps: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self._order = np.argsort(np.where(allowed, cost, np.inf), axis=1, kind="stable")
        self._cost = np.take_along_axis(cost.astype(np.float64), self._order, axis=1)
        self._open = np.take_along_axis(allowed, self._order, axis=1)
        self._extra = self._cost[:, None, :] - self._cost[:, :, None]  # from i to j: [:, i, j]
        self._later = self._extra > 0
        self._caps = caps

    def path(self, value: np.ndarray) -> HullPath:
        """The optimum for every budget.

        Args:
            value: value of each option, shape (units, options).
        """
        values = np.where(self._open, np.take_along_axis(value, self._order, axis=1), np.inf)
        rows = np.arange(len(values))
        unit, column = np.nonzero(self._hull(values))
        first = np.append(True, unit[1:] != unit[:-1])
        start = column[first]
        inner = ~first[1:]
        climber = unit[1:][inner]
        from_, to = column[:-1][inner], column[1:][inner]
        saved = values[climber, from_] - values[climber, to]
        extra = self._cost[climber, to] - self._cost[climber, from_]
        steep = _falling(saved / extra, climber)
        order = np.argsort(-steep, kind="stable")
        climber, from_, to = climber[order], from_[order], to[order]
        share = self._shares(climber, extra[order], start)
        cost = np.append(self._cost[rows, start].sum(), share * extra[order]).cumsum()
        worth = np.append(values[rows, start].sum(), -share * saved[order]).cumsum()
        columns = self._order
        return HullPath(
            cost=cost,
            value=worth,
            _start=columns[rows, start],
            _unit=climber,
            _from=columns[climber, from_],
            _to=columns[climber, to],
            _share=share,
            _options=values.shape[1],
        )

    def _hull(self, values: np.ndarray) -> np.ndarray:
        """Which options are vertices of a unit's lower convex hull: shape (units, options), bool.

        Options are by rising cost. A vertex is dominated by none, and falls less steeply to every
        dearer option than any cheaper one falls to it.
        """
        places = np.arange(values.shape[1])
        tie = places[:, None] < places[None]  # of equals, the first dominates
        same = ~self._later & ~self._later.transpose(0, 2, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            drop = values[:, :, None] - values[:, None, :]  # from i to j: [:, i, j]
            beaten = ((drop < 0) | ((drop == 0) & (tie | self._later))) & (self._later | same)
            alive = self._open & ~beaten.any(axis=1)
            pair = self._later & alive[:, :, None] & alive[:, None, :]
            slope = np.where(pair, drop / self._extra, np.nan)
            onward = np.where(pair, slope, -np.inf).max(axis=2)
            arrived = np.where(pair, slope, np.inf).min(axis=1)
        return np.asarray(alive & (onward < arrived))

    def _shares(self, unit: np.ndarray, extra: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The part of each step that the caps leave, shape (steps,)."""
        share = np.ones(len(unit))
        if self._caps is None:
            return share
        rows = np.arange(len(start))
        sets, caps = self._caps
        for members, most in zip(sets, caps, strict=True):
            inside = members[unit]
            spare = most - float(self._cost[rows, start][members].sum())
            before = np.cumsum(extra[inside]) - extra[inside]
            share[inside] = np.clip((spare - before) / extra[inside], 0.0, 1.0)
        return share


def _falling(steep: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Steepness that falls along each unit's hull: rounding must not let a step overtake the one
    before it."""
    wrong = np.flatnonzero((unit[1:] == unit[:-1]) & (steep[1:] > steep[:-1]))
    for owner in np.unique(unit[wrong]):
        steps = unit == owner
        steep[steps] = np.minimum.accumulate(steep[steps])
    return steep
