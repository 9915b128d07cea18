"""Search for integer maps: stationary ones of many prices, descent by changes and trades."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .relaxation import Relaxed

if TYPE_CHECKING:
    from .allocation import Problem


def uniform_maps(task: Problem) -> np.ndarray:
    """For each option, the map that is nearest to it everywhere that the constraints allow.

    Nearest in bytes a weight; of options with equal bytes, the wanted one itself.
    """
    stored = task.cost / task.weights[:, None]  # (units, options)
    distance = np.abs(stored.T[:, :, None] - stored[None])  # (wanted, units, options)
    distance += 1e-9 * ~np.eye(len(task.menu), dtype=bool)[:, None]
    return np.where(task.allowed, distance, np.inf).argmin(axis=2)


def lagrangian_maps(task: Problem, steps: int = 160) -> np.ndarray:
    """For each price of a byte, a map that no change of one unit improves; warm started."""
    units, options = task.cost.shape
    rows = np.arange(units)
    separable = task.separable
    finite = np.where(np.isfinite(separable), separable, np.nan)
    saved = np.nanmax(finite, axis=1) - np.nanmin(finite, axis=1)
    rate = saved / np.maximum(np.ptp(task.cost, axis=1), 1)
    rate = rate[rate > 0]
    if not len(rate):
        return np.empty((0, units), dtype=np.int64)
    prices = np.geomspace(float(rate.max()) * 100, float(rate.min()) / 100, steps)
    choice = np.where(task.allowed, task.cost, np.iinfo(np.int64).max).argmin(axis=1)
    pull = task.gram[:, rows * options + choice].sum(axis=1).reshape(units, options)
    maps = []
    for price in prices:
        for _ in range(10):
            changed = False
            for unit in rows:
                score = separable[unit] + pull[unit] + price * task.cost[unit]
                best = int(score.argmin())
                if best != choice[unit]:
                    moved = task.gram[:, unit * options + best]
                    moved = moved - task.gram[:, unit * options + choice[unit]]
                    pull += moved.reshape(units, options)
                    choice[unit] = best
                    changed = True
            if not changed:
                break
        maps.append(choice.copy())
    return np.unique(np.array(maps), axis=0)


def improve(task: Problem, cost: np.ndarray, choice: np.ndarray, room: int) -> np.ndarray:
    """Descend by changing one unit, or trading between two, while the budget holds.

    Args:
        task: the problem.
        cost: what each option takes of the budget, shape (units, options).
        choice: a feasible start, shape (units,).
        room: budget for the units together.

    Returns:
        A choice that no single change and no trade improves, within `room`.
    """
    units, options = cost.shape
    rows = np.arange(units)
    choice = choice.copy()
    flat_cost = cost.ravel()
    linear = task.separable.ravel()
    owner = np.repeat(rows, options)
    for _ in range(4 * units):
        chosen = rows * options + choice
        slope = linear + task.gram[:, chosen].sum(axis=1)  # loss of each option, given the rest
        gain = slope - slope[chosen][owner]
        extra = flat_cost - flat_cost[chosen][owner]
        spare = room - int(cost[rows, choice].sum())
        better = np.flatnonzero(gain < -1e-12)
        single = np.where(extra[better] <= spare, gain[better], np.inf)
        moves = []
        if len(single) and np.isfinite(single.min()):
            moves = [int(better[single.argmin()])]
        else:
            # No single change fits, so one must pay for another.
            cheaper = np.flatnonzero((extra < 0) & np.isfinite(gain))
            moves = _best_trade(task, chosen, better, cheaper, gain, extra, spare)
        if not moves:
            return choice
        for move in moves:
            choice[owner[move]] = move % options
    return choice


def _best_trade(
    task: Problem,
    chosen: np.ndarray,
    better: np.ndarray,
    cheaper: np.ndarray,
    gain: np.ndarray,
    extra: np.ndarray,
    spare: int,
) -> list[int]:
    """The pair of a change for the better and one that pays for it, of all the best; or none.

    Changes by D and E in two units meet in (1 - rho) <D, E>, which is at most (1 - rho) |D| |E|
    in size: most pairs cannot pay, and only the others are looked at.
    """
    options = task.cost.shape[1]
    length = np.sqrt(2 * task.separable).ravel()
    reach = length + length[chosen].repeat(options)  # at least |D|, for every change
    first, second = better[:, None], cheaper[None]
    hope = gain[first] + gain[second]
    hope -= (1 - task.loss.shrinkage) * reach[first] * reach[second]
    usable = (hope < -1e-12) & (extra[first] + extra[second] <= spare)
    usable &= first // options != second // options
    rows, columns = np.nonzero(usable)
    first, second = better[rows], cheaper[columns]
    if not len(first):
        return []
    old, other = chosen[first // options], chosen[second // options]
    gram = task.gram
    pair = gain[first] + gain[second] + gram[first, second] - gram[old, second]
    pair += gram[old, other] - gram[first, other]
    best = int(pair.argmin())
    return [int(first[best]), int(second[best])] if pair[best] < -1e-12 else []


def round_down(task: Problem, cost: np.ndarray, relaxed: Relaxed, room: int) -> np.ndarray:
    """Take each unit's likeliest option, then shrink the cheapest losses until it fits."""
    score = np.where(task.allowed, relaxed.mixture, -1.0)
    choice = score.argmax(axis=1)
    rows = np.arange(len(choice))
    while (over := int(cost[rows, choice].sum()) - room) > 0:
        saved = cost[rows, choice][:, None] - cost
        harm = task.separable - task.separable[rows, choice][:, None]
        usable = task.allowed & (saved > 0)
        rate = np.where(
            usable, np.maximum(harm, 0) / np.minimum(np.maximum(saved, 1), over), np.inf
        )
        unit, option = np.unravel_index(rate.argmin(), rate.shape)
        choice[unit] = option
    return choice
