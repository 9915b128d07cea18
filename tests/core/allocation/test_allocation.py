"""Allocation: never over budget, constraints kept, bounds true, close to the integer optimum."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.descent import improve
from genptq_core.allocation.predicted_loss import QuadraticLoss, quadratic_loss
from genptq_core.allocation.problem import Problem
from genptq_core.allocation.problem import problem as make_problem
from genptq_core.allocation.solving import Allocation, choices_of, solve, solve_average_bits
from genptq_core.errors import ConstraintError, InfeasibleError
from genptq_core.options import UNQUANTIZED, Option, resolve
from tests.core import synthetic
from tests.examples import examples


def _largest(problem: Problem) -> int:
    return problem.fixed + int(np.where(problem.allowed, problem.cost, -1).max(axis=1).sum())


def _check(problem: Problem, found: Allocation) -> np.ndarray:
    """What is true of every allocation; returns its choice."""
    choice = choices_of(problem, found.options)
    rows = np.arange(len(choice))
    assert problem.allowed[rows, choice].all()
    assert found.bytes == problem.fixed + sum(int(problem.cost[u, o]) for u, o in enumerate(choice))
    assert found.predicted_loss == pytest.approx(float(problem.loss(choice)), rel=1e-12)
    assert found.avg_bits == pytest.approx(
        float((np.array(found.bits) * problem.weights).sum() / problem.weights.sum())
    )
    assert found.reduction_vs_fp32 == pytest.approx(1 - found.bytes / (4 * problem.parameters))
    assert found.lower_bound <= found.predicted_loss
    assert found.gap == found.predicted_loss - found.lower_bound
    assert found.milliseconds >= 0
    low = np.where(problem.allowed, problem.widths, 16).min(axis=1)
    high = np.where(problem.allowed, problem.widths, 0).max(axis=1)
    relaxed = np.array(found.relaxed_bits)
    assert (relaxed >= low - 1e-9).all()
    assert (relaxed <= high + 1e-9).all()
    return choice


problems = st.builds(
    synthetic.problem,
    st.integers(0, 2**32),
    units=st.integers(1, 12),
    bits=st.sampled_from([(4,), (2, 8), (2, 3, 4), (2, 3, 4, 6, 8), (1, 2, 3, 4, 5, 6, 7, 8)]),
    utterances=st.integers(1, 4),
    draws=st.integers(1, 2),
    width=st.sampled_from([1, 3, 8]),
    group_size=st.sampled_from([1, 4, 64, (64, 4), (4, 2, 1)]),
    rates=st.sampled_from([(), (), (3,), (1.5, 2.75, 4.125)]),
    target=st.sampled_from([None, "integer"]),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]),
    spread=st.sampled_from([0.0, 1.5, 6.0]),
    shared=st.sampled_from([0.0, 0.4, 1.0]),
    shrinkage=st.sampled_from([0.0, 0.1, 1.0]),
    anchors=st.booleans(),
)


@examples(220)
@given(problems, st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(-3, 3))
def test_never_over_budget(problem: Problem, places: list[float], nudge: int) -> None:
    """Over a thousand budgets, among them both ends and a byte to either side of a map's size."""
    least, most = problem.smallest, _largest(problem)
    budgets = {least, most, most + 1, *(int(least + p * (most - least)) for p in places)}
    budgets |= {max(least, budget + nudge) for budget in budgets}
    for budget in budgets:
        found = solve(problem, budget)
        _check(problem, found)
        assert found.bytes <= budget


@examples(150)
@given(problems, st.floats(0, 1))
def test_average_bits_are_never_exceeded(problem: Problem, place: float) -> None:
    low = np.where(problem.allowed, problem.widths, 16).min(axis=1)
    least = float((low * problem.weights).sum() / problem.weights.sum())
    for average in (least, least + place * (16 - least), 16.0):
        found = solve_average_bits(problem, average)
        choice = _check(problem, found)
        codes = float((problem.widths[choice] * problem.weights).sum())
        assert codes <= average * int(problem.weights.sum()) + 1e-6
    with pytest.raises(InfeasibleError, match="at least"):
        solve_average_bits(problem, least - 0.01)


@examples(120)
@given(problems)
def test_never_worse_than_one_option_everywhere(problem: Problem) -> None:
    for column in range(len(problem.menu)):
        uniform = np.full(len(problem.cost), column)
        loss = float(problem.loss(uniform))
        found = solve(problem, int(problem.bytes(uniform)))
        assert found.predicted_loss <= loss * (1 + 1e-9) + 1e-15
        average = solve_average_bits(problem, float(problem.widths[column]))
        assert average.predicted_loss <= loss * (1 + 1e-9) + 1e-15


def test_opposite_errors_do_not_hide_the_uniform_map() -> None:
    """Errors that cancel when all units have one width: the separable score cannot see it."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        decay = 2.0 ** -np.arange(4)
        count = int(rng.integers(2, 10))
        rows = (rng.normal(size=(2, count, 1)) + 0.05 * rng.normal(size=(2, count, 4))) * decay
        rows -= rows.mean(axis=1, keepdims=True)
        problem = synthetic.raw_problem(rows, np.cumsum(rng.integers(1, 20, (count, 4)), axis=1))
        for column in range(4):
            uniform = np.full(count, column)
            found = solve(problem, int(problem.bytes(uniform)))
            assert found.predicted_loss <= float(problem.loss(uniform)) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("count", [40, pytest.param(120, marks=pytest.mark.slow)])
def test_close_to_the_best_map_of_all(count: int) -> None:
    """Against every map of small problems: nearly always the optimum, on average within 0.5 %."""
    rng = np.random.default_rng(0)
    excess, bound = [], []
    for seed in range(count):
        problem = synthetic.problem(
            seed,
            units=int(rng.integers(2, 6)),
            bits=(2, 3, 4, 6),
            shared=float(rng.choice([0.0, 0.4, 0.9])),
            shrinkage=float(rng.choice([0.0, 0.1, 0.85])),
        )
        maps = synthetic.every_choice(problem)
        size, loss = problem.bytes(maps), problem.loss(maps)
        for budget in rng.integers(problem.smallest, size.max() + 1, size=5):
            best = float(loss[size <= budget].min())
            found = solve(problem, int(budget))
            assert found.lower_bound <= best * (1 + 1e-9) + 1e-15
            assert found.predicted_loss >= best * (1 - 1e-9) - 1e-15
            excess.append((found.predicted_loss - best) / max(best, 1e-12))
            bound.append((best - found.lower_bound) / max(best, 1e-12))
    print(f"excess: mean {np.mean(excess):.2%}, worst {np.max(excess):.1%}; "
          f"bound below the optimum by {np.mean(bound):.0%}")  # fmt: skip
    assert np.mean(np.array(excess) < 1e-9) >= 0.97
    assert np.mean(excess) <= 0.005


def test_the_front_of_a_separable_loss_is_met_exactly() -> None:
    problem = synthetic.problem(3, units=10, shrinkage=1.0)
    for index in range(0, len(problem.search.states.cost), 7):
        budget = problem.fixed + int(problem.search.states.cost[index])
        assert solve(problem, budget).predicted_loss == pytest.approx(
            float(problem.loss.growth(problem.search.states.loss[index])), rel=1e-9
        )


def test_more_room_is_never_worse_by_much() -> None:
    problem = synthetic.problem(4, units=14)
    best = np.inf
    for budget in np.linspace(problem.smallest, _largest(problem), 40):
        loss = solve(problem, int(budget)).predicted_loss
        assert loss <= 1.1 * best + 1e-12
        best = min(best, loss)


@pytest.mark.parametrize("units", [1, 2, 9])
def test_ends_of_the_budget(units: int) -> None:
    problem = synthetic.problem(5, units=units)
    smallest = solve(problem, problem.smallest)
    assert smallest.bytes == problem.smallest
    assert set(smallest.bits) == {2}
    roomy = solve(problem, 10 * _largest(problem))
    assert set(roomy.bits) == {16}
    assert roomy.predicted_loss == 0
    assert roomy.relaxed_bits == pytest.approx((16.0,) * units)


@examples(80)
@given(
    st.integers(0, 1000), st.integers(1, 9), st.sampled_from([None, 3, 4]), st.sampled_from([6, 16])
)
def test_infeasible_names_the_true_smallest_size(
    seed: int, units: int, least: int | None, most: int
) -> None:
    made = synthetic.profile(seed, units=units)
    pins = ((made.units[seed % units].name, 6),)
    problem = make_problem(made, Constraints(pins, min_bits=least, max_bits=most))
    # A pin wins over the bounds; everything else takes its smallest allowed width.
    widths = [6 if u.name == pins[0][0] else (least or 2) for u in made.units]
    sizes = synthetic.native_bytes(made)
    columns = [made.menu.index(resolve(made.menu, b)) for b in widths]
    true = synthetic.native_kept(made) + sum(
        int(sizes[i, column]) for i, column in enumerate(columns)
    )
    with pytest.raises(InfeasibleError) as caught:
        solve(problem, true - 1)
    assert caught.value.smallest == problem.smallest == true
    found = solve(problem, true)
    assert found.bytes == true
    assert found.bits == tuple(widths)
    with pytest.raises(InfeasibleError) as caught:
        solve_average_bits(problem, 1.0)
    assert caught.value.smallest == true


@examples(120)
@given(st.integers(0, 10_000), st.integers(1, 10), st.floats(0, 1))
def test_pins_and_bounds_are_respected(seed: int, units: int, place: float) -> None:
    rng = np.random.default_rng(seed)
    made = synthetic.profile(seed, units=units)
    widths = [option.bits for option in made.menu]
    least, most = sorted(float(b) for b in rng.choice(widths, size=2))
    pinned = {
        made.units[i].name: float(rng.choice(widths))
        for i in rng.choice(units, size=int(rng.integers(0, units + 1)), replace=False)
    }
    limits = Constraints(tuple(pinned.items()), min_bits=least, max_bits=most)
    problem = make_problem(made, limits)
    budget = int(problem.smallest + place * (_largest(problem) - problem.smallest))
    found = solve(problem, budget)
    _check(problem, found)
    assert found.bytes <= budget
    for unit, bits, relaxed in zip(made.units, found.bits, found.relaxed_bits, strict=True):
        if unit.name in pinned:
            assert bits == pinned[unit.name]
            assert relaxed == pytest.approx(bits)
        else:
            assert least <= bits <= most


def test_all_allowed_but_one_map() -> None:
    made = synthetic.profile(6, units=5)
    problem = make_problem(made, Constraints((("*", 4),)))
    assert problem.allowed.sum() == 5
    for budget in (problem.smallest, problem.smallest + 10**6):
        found = solve(problem, budget)
        assert found.bits == (4,) * 5
        assert found.gap == pytest.approx(0.0, abs=1e-3 * found.predicted_loss)
        assert found.relaxed_bits == pytest.approx((4.0,) * 5)


def test_options_that_are_not_finite_are_excluded_by_name() -> None:
    made = synthetic.profile(7, units=4, anchors=False)
    broken = made.projections.copy()
    broken[1, 0, 2, made.menu.index(Option(3, 8))] = np.nan
    broken[0, 1, 0, made.menu.index(Option(6, 8))] = np.inf
    made = dataclasses.replace(made, projections=broken)
    with pytest.warns(RuntimeWarning, match="not finite") as caught:
        problem = make_problem(made)
    text = str(caught[0].message)
    assert f"{made.units[2].name} at 3/8" in text
    assert f"{made.units[0].name} at 6/8" in text
    assert made.units[1].name not in text
    assert (~problem.allowed).sum() == 2
    for budget in np.linspace(problem.smallest, _largest(problem), 15):
        found = solve(problem, int(budget))
        _check(problem, found)
        assert np.isfinite(found.predicted_loss)
        assert found.bits[2] != 3
        assert found.bits[0] != 6
    with (
        pytest.warns(RuntimeWarning, match=f"{made.units[2].name} at 3"),
        pytest.raises(ConstraintError, match=made.units[2].name),
    ):
        make_problem(made, Constraints(((made.units[2].name, 3),)))


def test_contradictory_bounds_name_a_layer() -> None:
    made = synthetic.profile(8, units=3)
    with pytest.raises(ConstraintError, match=f"{made.units[0].name} and 2 more"):
        make_problem(made, Constraints(min_bits=8, max_bits=4))


def test_huge_and_zero_sensitivities_together() -> None:
    made = synthetic.profile(9, units=6, anchors=False)
    tilted = made.projections.copy()
    tilted[:, :, 0] *= 1e9
    tilted[:, :, 1] = 0.0
    problem = make_problem(dataclasses.replace(made, projections=tilted))
    # Two bits for the unit that loses nothing, as many as it takes for the one that loses all.
    found = solve(problem, int(problem.smallest + problem.cost[0, -1] - problem.cost[0, 0]))
    assert found.bits[0] == 16
    assert found.bits[1] == 2


@pytest.mark.parametrize("seed", range(5))
def test_equal_units_and_costs(seed: int) -> None:
    """Every option costs the same: each unit takes its best."""
    rng = np.random.default_rng(seed)
    rows = np.abs(rng.normal(size=(1, 6, 4)))
    problem = synthetic.raw_problem(rows, np.full((6, 4), 5))
    found = solve(problem, 30)
    assert found.bytes == 30
    best = rows[0].argmin(axis=1) + 1
    assert found.bits == tuple(best)


@examples(60)
@given(problems, st.floats(0, 1))
def test_improve_only_improves(problem: Problem, place: float) -> None:
    room = int((problem.smallest + place * (_largest(problem) - problem.smallest)) - problem.fixed)
    start = np.where(problem.allowed, problem.cost, problem.cost.max() + 1).argmin(axis=1)
    before = start.copy()
    found = improve(problem.search.program, start, room)
    np.testing.assert_array_equal(start, before)
    assert problem.bytes(found) <= problem.fixed + room
    low = float(problem.loss(start))
    assert float(problem.loss(found)) <= low * (1 + 1e-9)
    _check_settled(problem, found, problem.fixed + room)


@examples(60)
@given(problems, st.floats(0, 1))
def test_solutions_are_settled(problem: Problem, place: float) -> None:
    budget = int(problem.smallest + place * (_largest(problem) - problem.smallest))
    _check_settled(problem, choices_of(problem, solve(problem, budget).options), budget)


@pytest.mark.parametrize("shared", [0.0, 0.4, 0.9])
def test_trades_are_found_from_a_poor_start(shared: float) -> None:
    for seed in range(12):
        problem = synthetic.problem(seed, units=12, shared=shared, shrinkage=0.1)
        cheapest = problem.cost.argmin(axis=1)
        for place in (0.1, 0.2, 0.35):
            budget = int(problem.smallest + place * (_largest(problem) - problem.smallest))
            found = improve(problem.search.program, cheapest, budget - problem.fixed)
            _check_settled(problem, found, budget)


def _check_settled(problem: Problem, choice: np.ndarray, budget: int) -> None:
    """No change of one unit that fits is better, nor one that another unit's shrinking pays for."""
    loss = float(problem.loss(choice))
    least = loss - 1e-9 * float(problem.loss.separable.max(axis=1).sum()) - 1e-11
    singles = []
    for unit, option in np.argwhere(problem.allowed):
        other = choice.copy()
        other[unit] = option
        singles.append((other, unit, option))
    maps = np.array([other for other, _, _ in singles])
    assert (problem.loss(maps)[problem.bytes(maps) <= budget] >= least).all()
    size = int(problem.bytes(choice))
    better = [s for s, v in zip(singles, problem.loss(maps), strict=True) if v < least]
    cheaper = [s for s, v in zip(singles, problem.bytes(maps), strict=True) if v < size]
    trades = []
    for other, unit, _ in better:
        for _, payer, option in cheaper:
            if payer != unit:
                both = other.copy()
                both[payer] = option
                trades.append(both)
    if trades:
        pairs = np.array(trades)
        assert (problem.loss(pairs)[problem.bytes(pairs) <= budget] >= least).all()


def test_candidates_are_what_they_say() -> None:
    problem = synthetic.problem(10, units=9)
    choices, size, loss = problem.candidates
    np.testing.assert_array_equal(size, [problem.bytes(c) for c in choices])
    np.testing.assert_allclose(loss, [problem.loss(c) for c in choices])
    assert problem.allowed[np.arange(9), choices].all()
    for column in range(len(problem.menu)):
        assert (choices == column).all(axis=1).any()


def test_candidates_respect_pins() -> None:
    made = synthetic.profile(10, units=9)
    problem = make_problem(made, Constraints((("*decoder.layers*", 3), ("*@*", 8)), min_bits=3))
    choices, _, _ = problem.candidates
    assert problem.allowed[np.arange(9), choices].all()


def test_choices_of() -> None:
    problem = synthetic.problem(0, units=3)
    named = choices_of(problem, (Option(2, 8), UNQUANTIZED, Option(4, 8)))
    assert named.tolist() == [0, 5, 2]
    assert choices_of(problem, (2, "16", "4/8")).tolist() == named.tolist()
    for unknown in (5, Option(4, 64), Option(4), "4/64", "four"):
        with pytest.raises(ConstraintError, match=r"no width .* on the menu"):
            choices_of(problem, (2, unknown, 7))


def test_a_loss_of_ones_own() -> None:
    made = synthetic.profile(1, units=4)
    loss = quadratic_loss(made, 1.0)
    problem = make_problem(made, loss=loss)
    assert problem.loss.shrinkage == 1.0
    np.testing.assert_array_equal(problem.loss.projections, loss.projections)
    assert isinstance(problem.loss, QuadraticLoss)


def test_the_same_request_has_the_same_answer() -> None:
    both = synthetic.problem(2, units=12), synthetic.problem(2, units=12)
    first, second = (solve(problem, int(1.4 * problem.smallest)) for problem in both)
    assert dataclasses.replace(first, milliseconds=0) == dataclasses.replace(second, milliseconds=0)
