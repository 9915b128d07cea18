"""Demands on an allocation: ties, budgets of parts, what a target stores alike, who is to blame."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.knapsack import Knapsack
from genptq_core.allocation.problem import Problem
from genptq_core.allocation.problem import problem as make_problem
from genptq_core.allocation.solving import choices_of, solve, solve_average_bits
from genptq_core.errors import ConstraintError, InfeasibleError
from genptq_core.targets import TARGETS
from tests.core import synthetic
from tests.examples import examples


def _largest(problem: Problem) -> int:
    return problem.fixed + int(np.where(problem.allowed, problem.cost, -1).max(axis=1).sum())


def _part(problem: Problem, choice: np.ndarray, members: np.ndarray) -> int:
    return int(problem.cost[np.arange(len(choice)), choice][members].sum())


@pytest.mark.parametrize(
    ("problems", "budgets"),
    [(20, 25), pytest.param(250, 40, marks=pytest.mark.slow)],
    ids=["500", "10,000"],
)
def test_budgets_are_kept_to_the_byte(problems: int, budgets: int) -> None:
    """Random problems, half of them with ties and budgets of parts."""
    kept = 0
    for seed in range(problems):
        rng = np.random.default_rng(seed)
        units = int(rng.integers(1, 9))
        made = synthetic.profile(
            seed, units=units, width=int(rng.choice([1, 3, 8])), utterances=2, draws=1
        )
        limits = Constraints()
        if seed % 2 and units >= 4:
            free = make_problem(made)
            inside = np.array([u.part == "encoder" for u in made.units])
            low, high = (int(f(free.cost[inside], axis=1).sum()) for f in (np.min, np.max))
            limits = Constraints(
                ties=("block:*self_attn*",) if seed % 4 == 1 else (),
                budgets=(("encoder", int(low + rng.random() * (high - low))),),
            )
        problem = make_problem(made, limits)
        least, most = problem.smallest, _largest(problem)
        for budget in rng.integers(least, most + 2, size=budgets):
            found = solve(problem, int(budget))
            choice = choices_of(problem, found.options)
            assert found.bytes == int(problem.bytes(choice)) <= budget
            assert (problem.group[:, None] == problem.group).any()
            for members, room in zip(problem.members, problem.most, strict=True):
                assert _part(problem, choice, members) <= room
            for index in range(int(problem.group.max()) + 1):
                assert len(set(choice[problem.group == index])) == 1
            kept += 1
    assert kept == problems * budgets


def test_ties_are_kept_and_near_the_best_that_keeps_them() -> None:
    excess = []
    for seed in range(12):
        made = synthetic.profile(seed, units=6, bits=(2, 3, 4, 8))
        problem = make_problem(made, Constraints(ties=("*encoder*",)))
        maps = synthetic.every_choice(problem)
        tied = np.array([u.part == "encoder" for u in made.units])
        maps = maps[(maps[:, tied] == maps[:, tied][:, :1]).all(axis=1)]
        sizes, losses = problem.bytes(maps), problem.loss(maps)
        for place in (0.1, 0.3, 0.6):
            budget = int(problem.smallest + place * (_largest(problem) - problem.smallest))
            found = solve(problem, budget)
            best = float(losses[sizes <= budget].min())
            assert found.lower_bound <= best * (1 + 1e-9)
            excess.append(found.predicted_loss / best - 1)
            average = solve_average_bits(problem, 4.0)
            choice = choices_of(problem, average.options)
            assert len(set(choice[tied])) == 1
            assert average.avg_bits <= 4.0 + 1e-9
    assert np.mean(excess) < 0.01
    assert max(excess) < 0.2


def test_budgets_of_parts_are_kept_and_near_the_best_that_keeps_them() -> None:
    excess = []
    for seed in range(12):
        made = synthetic.profile(seed, units=6, bits=(2, 3, 4, 8))
        free = make_problem(made)
        inside = np.array([u.part == "encoder" for u in made.units])
        low, high = (int(f(free.cost[inside], axis=1).sum()) for f in (np.min, np.max))
        for share in (0.0, 0.2, 0.5):
            room = int(low + share * (high - low))
            problem = make_problem(made, Constraints(budgets=(("encoder", room),)))
            maps = synthetic.every_choice(problem)
            each = problem.cost[np.arange(6), maps]
            maps = maps[each[:, inside].sum(axis=1) <= room]
            sizes, losses = problem.bytes(maps), problem.loss(maps)
            for place in (0.1, 0.3, 0.9):
                budget = int(problem.smallest + place * (_largest(problem) - problem.smallest))
                found = solve(problem, budget)
                best = float(losses[sizes <= budget].min())
                assert _part(problem, choices_of(problem, found.options), inside) <= room
                assert found.lower_bound <= best * (1 + 1e-9)
                excess.append(found.predicted_loss / best - 1)
    assert np.mean(excess) < 0.01
    assert max(excess) < 0.3


@examples(150)
@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_the_relaxation_with_caps_is_the_linear_optimum(
    seed: int, cap: float, place: float
) -> None:
    rng = np.random.default_rng(seed)
    units, options = int(rng.integers(2, 8)), int(rng.integers(2, 6))
    cost = np.cumsum(rng.integers(0, 20, size=(units, options)), axis=1)
    value = rng.normal(size=(units, options))
    allowed = rng.random((units, options)) < 0.8
    allowed[np.arange(units), rng.integers(0, options, size=units)] = True
    members = np.zeros((1, units), dtype=bool)
    members[0, : int(rng.integers(1, units + 1))] = True
    low = np.where(allowed, cost, 10**6).min(axis=1)
    high = np.where(allowed, cost, -1).max(axis=1)
    most = np.array([low[members[0]].sum() + cap * (high - low)[members[0]].sum()])
    room = float(low.sum() + place * (high - low).sum())
    path = Knapsack(cost, allowed, (members, most)).path(np.where(allowed, value, 0.0))
    mixture = path.mixture(room)
    inside = np.repeat(members[0], options) * cost.ravel()
    exact = linprog(
        value.ravel(),
        A_ub=np.array([cost.ravel(), inside]),
        b_ub=np.array([room, most[0]]),
        A_eq=np.kron(np.eye(units), np.ones((1, options))),
        b_eq=np.ones(units),
        bounds=[(0, float(a)) for a in allowed.ravel()],
    )
    assert exact.status == 0
    assert (mixture >= -1e-12).all()
    np.testing.assert_allclose(mixture.sum(axis=1), 1.0)
    assert (cost * mixture).sum() <= room + 1e-6
    assert (inside * mixture.ravel()).sum() <= most[0] + 1e-6
    assert float((value * mixture).sum()) == pytest.approx(exact.fun, abs=1e-7)
    assert float(path.value_at(room)) == pytest.approx(exact.fun, abs=1e-7)


def test_a_size_that_cannot_be_names_the_demand_to_blame() -> None:
    made = synthetic.profile(0, units=12)
    limits = Constraints((("*encoder*fc*", 8), ("*decoder*", 3)), min_bits=2)
    problem = make_problem(made, limits)
    with pytest.raises(InfeasibleError, match="smallest size under these constraints") as caught:
        solve(problem, problem.smallest - 1)
    without = make_problem(made, dataclasses.replace(limits, pins=(("*decoder*", 3),))).smallest
    assert caught.value.smallest == problem.smallest > without
    assert "the pin *encoder*fc*=8" in caught.value.hint
    assert f"{without / 1e6:.2f} MB" in caught.value.hint
    with pytest.raises(InfeasibleError) as bare:
        solve(make_problem(made), 1)
    assert bare.value.hint == "Raise the size."


def test_a_part_that_cannot_fit_its_budget_is_named() -> None:
    made = synthetic.profile(0, units=12)
    with pytest.raises(InfeasibleError, match=r"The encoder does not fit in 0\.00 MB"):
        make_problem(made, Constraints(budgets=(("encoder", 5),)))
    with pytest.raises(ConstraintError, match="tied to the encoder"):
        make_problem(made, Constraints(ties=("*layers.0*",), budgets=(("encoder", 10**9),)))
    with pytest.raises(ConstraintError, match="budgets in bytes"):
        solve_average_bits(make_problem(made, Constraints(budgets=(("encoder", 10**9),))), 4.0)


def test_a_tie_without_a_common_width_is_refused() -> None:
    made = synthetic.profile(0, units=12)
    limits = Constraints((("*k_proj*", 2), ("*v_proj*", 8)), ties=("*self_attn*",))
    with pytest.raises(ConstraintError, match="no common width"):
        make_problem(made, limits)


@pytest.mark.parametrize("grain", ["parameter", "model"])
def test_a_target_that_stores_units_alike_gets_them_alike(
    grain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it cannot hold is not drawn, and its own bytes are counted."""
    coarse = dataclasses.replace(
        TARGETS["integer"],
        name="coarse",
        grain=grain,
        holds=lambda unit, option: option.bits != 3,
        unit_bytes=lambda unit, option: int(unit.weights * option.bits),
        fixed_bytes=lambda stored, units: 7,
    )
    monkeypatch.setitem(TARGETS, "coarse", coarse)
    made = synthetic.profile(5, units=12)
    problem = make_problem(made, target="coarse")
    for place in (0.1, 0.5, 0.9):
        budget = int(problem.smallest + place * (_largest(problem) - problem.smallest))
        found = solve(problem, budget)
        assert 3 not in found.bits
        weights = [int(u.weights * b) for u, b in zip(made.units, found.bits, strict=True)]
        assert found.bytes == 7 + sum(weights) <= budget
        alike: dict[str, set[float]] = {}
        for unit, bits in zip(made.units, found.bits, strict=True):
            alike.setdefault(unit.parameter if grain == "parameter" else "", set()).add(bits)
        assert all(len(widths) == 1 for widths in alike.values())


def test_bounds_of_many_sizes_hold_for_every_map() -> None:
    for seed in range(6):
        problem = synthetic.problem(seed, units=5, bits=(2, 3, 4, 8))
        maps = synthetic.every_choice(problem)
        sizes, losses = problem.bytes(maps), problem.loss(maps)
        asked = np.linspace(problem.smallest, _largest(problem), 9)
        bounds = problem.lower_bounds(asked)
        for size, bound in zip(asked, bounds, strict=True):
            assert bound <= losses[sizes <= size].min() * (1 + 1e-9)
        assert bounds[0] > 0
