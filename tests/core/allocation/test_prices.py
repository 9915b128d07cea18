"""Estimated prices of demands: never below the exact solver's by much, never over the budget."""

from __future__ import annotations

import numpy as np

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.prices import loss_tied, loss_with
from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import choices_of, solve
from tests.core import synthetic


def test_prices_are_near_those_of_the_exact_solver() -> None:
    profile = synthetic.profile(2, units=12, width=32)
    task = problem(profile)
    budget = int(1.6 * task.smallest)
    best = solve(task, budget)
    choice = choices_of(task, best.options)
    for unit in (0, 5, 11):
        for column in range(len(task.menu) - 1):
            estimate = loss_with(task, choice, [unit], column, budget)
            pins = ((profile.units[unit].name, task.menu[column].bits),)
            exact_task = problem(profile, Constraints(pins=pins))
            if estimate is None:
                assert exact_task.smallest > budget
                continue
            exact = solve(exact_task, budget).predicted_loss
            assert 0.95 * exact <= estimate <= 1.3 * exact
    at_hand = int(choice[3])
    assert loss_with(task, choice, [3], at_hand, budget) <= best.predicted_loss * (1 + 1e-9)


def test_a_tie_takes_the_best_common_option() -> None:
    profile = synthetic.profile(2, units=12, width=32)
    task = problem(profile)
    budget = int(1.6 * task.smallest)
    best = solve(task, budget)
    choice = choices_of(task, best.options)
    tied = loss_tied(task, choice, range(3), budget)
    assert tied is not None and tied >= 0.999 * best.predicted_loss
    assert loss_tied(task, choice, range(3), task.smallest - 1) is None
    assert np.isfinite(tied)
