"""Solving for what a map may take in memory, where the runtime's memory depends on the map."""

from __future__ import annotations

import numpy as np

from ..errors import InfeasibleError
from ..profile import Profile
from ..targets.ways import Way
from .problem import Problem
from .solving import Allocation, solve

_HALVINGS = 24


def solve_within_memory(
    problem: Problem, profile: Profile, way: Way, memory: int, size: int | None = None
) -> Allocation:
    """The best map found that takes no more memory, and no more bytes of download.

    Memory grows with size nearly everywhere, so the largest size is sought whose map fits.

    Args:
        problem: the allocation problem.
        profile: the profile.
        way: what runs the map.
        memory: most bytes of the weights in memory.
        size: most bytes of the folder; None for any.

    Raises:
        InfeasibleError: even the smallest map takes more of one of them; the least is told.
    """
    largest = problem.fixed + int(np.where(problem.allowed, problem.cost, 0).max(axis=1).sum())
    high = largest if size is None else min(size, largest)
    best = solve(problem, high)
    if way.memory(profile, best.options) <= memory:
        return best
    low = problem.smallest
    least = solve(problem, low)
    taken = way.memory(profile, least.options)
    if taken > memory:
        raise InfeasibleError(
            f"{memory / 1e6:.2f} MB of memory are not feasible: under these constraints the "
            f"weights take at least {taken / 1e6:.2f} MB in {way.name}.",
            "Allow as much, or relax what is demanded.",
            smallest=taken,
        )
    best = least
    for _ in range(_HALVINGS):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        found = solve(problem, middle)
        if way.memory(profile, found.options) <= memory:
            low, best = max(middle, found.bytes), found
        else:
            high = middle
    return best
