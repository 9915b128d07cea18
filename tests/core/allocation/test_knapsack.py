"""The multiple-choice knapsack against linear and integer programming, and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from genptq_core.allocation import knapsack
from genptq_core.allocation.knapsack import Knapsack, separable_front
from tests.examples import examples


def _menu(
    seed: int, units: int, widths: int, *, costs: str = "random", values: str = "random"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Costs, values and open options of a made-up knapsack."""
    rng = np.random.default_rng(seed)
    cost = {
        "random": lambda: rng.integers(0, 30, size=(units, widths)),
        "rising": lambda: np.cumsum(rng.integers(1, 9, size=(units, widths)), axis=1),
        "equal": lambda: np.full((units, widths), 7),
        "zero": lambda: np.zeros((units, widths), dtype=np.int64),
        "steps": lambda: np.tile(np.arange(widths), (units, 1)) * 3,
    }[costs]().astype(np.int64)
    value = {
        "random": lambda: rng.normal(size=(units, widths)),
        "zero": lambda: np.zeros((units, widths)),
        "tiny": lambda: rng.random((units, widths)) * 1e-9,
        "huge": lambda: rng.normal(size=(units, widths)) * 1e9,
        "decaying": lambda: np.exp(rng.normal(size=(units, 1)) - np.arange(widths)),
        # Multiples of 0.1 on a line: slopes that are equal but for rounding.
        "line": lambda: 0.1 * rng.integers(1, 4, size=(units, 1)) * (widths - np.arange(widths)),
        "integers": lambda: rng.integers(-5, 6, size=(units, widths)).astype(float),
    }[values]()
    allowed = rng.random((units, widths)) < 0.7
    allowed[np.arange(units), rng.integers(0, widths, size=units)] = True
    return cost, value, allowed


menus = st.builds(
    _menu,
    st.integers(0, 2**32),
    st.integers(1, 7),
    st.integers(1, 6),
    costs=st.sampled_from(["random", "rising", "equal", "zero", "steps"]),
    values=st.sampled_from(["random", "zero", "tiny", "huge", "decaying", "line", "integers"]),
)


def _ends(cost: np.ndarray, allowed: np.ndarray) -> tuple[int, int]:
    least = np.where(allowed, cost, cost.max() + 1).min(axis=1).sum()
    most = np.where(allowed, cost, -1).max(axis=1).sum()
    return int(least), int(most)


def _linear_optimum(cost: np.ndarray, value: np.ndarray, allowed: np.ndarray, room: float) -> float:
    units, widths = cost.shape
    unit = max(float(np.abs(value).max()), 1e-300)  # HiGHS has absolute tolerances
    found = linprog(
        value.ravel() / unit,
        A_ub=cost.reshape(1, -1).astype(float),
        b_ub=[room],
        A_eq=np.kron(np.eye(units), np.ones((1, widths))),
        b_eq=np.ones(units),
        bounds=[(0, 1 if open_ else 0) for open_ in allowed.ravel()],
        method="highs",
    )
    assert found.status == 0, found.message
    return float(found.fun) * unit


def _check_mixture(mixture: np.ndarray, cost: np.ndarray, allowed: np.ndarray, room: float) -> None:
    assert (mixture >= 0).all()
    assert mixture[~allowed].max(initial=0.0) == 0
    np.testing.assert_allclose(mixture.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert (mixture * cost).sum() <= room * (1 + 1e-12) + 1e-9
    assert ((mixture > 0).sum(axis=1) > 1).sum() <= 1, "more than one unit is split"
    assert ((mixture > 0).sum(axis=1) <= 2).all()


@examples(350)
@given(menus, st.floats(0, 1))
@example(_menu(0, 5, 6, costs="steps", values="line"), 0.5)
@example(_menu(0, 1, 1), 0.0)
def test_minimize_is_the_linear_optimum(
    menu: tuple[np.ndarray, np.ndarray, np.ndarray], place: float
) -> None:
    cost, value, allowed = menu
    least, most = _ends(cost, allowed)
    room = least + place * (most - least)
    mixture = Knapsack(cost, allowed).path(value).mixture(room)
    _check_mixture(mixture, cost, allowed, room)
    wanted = _linear_optimum(cost, value, allowed, room)
    scale = np.abs(value[allowed]).max()
    assert float((mixture * value).sum()) == pytest.approx(wanted, rel=1e-7, abs=1e-7 * scale)


@examples(100)
@given(menus)
def test_minimize_at_the_very_ends(menu: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """At the least room each unit takes its cheapest option; with plenty, its best."""
    cost, value, allowed = menu
    least, most = _ends(cost, allowed)
    knapsack = Knapsack(cost, allowed)
    tight = knapsack.path(value).mixture(least)
    _check_mixture(tight, cost, allowed, least)
    cheapest = np.where(allowed, cost, cost.max() + 1).min(axis=1)
    np.testing.assert_allclose((tight * cost).sum(axis=1), cheapest)
    best_of_cheapest = np.where(allowed & (cost == cheapest[:, None]), value, np.inf).min(axis=1)
    np.testing.assert_allclose((tight * value).sum(axis=1), best_of_cheapest)
    for room in (most, 10 * most + 1):
        loose = knapsack.path(value).mixture(room)
        _check_mixture(loose, cost, allowed, room)
        best = np.where(allowed, value, np.inf).min(axis=1)
        np.testing.assert_allclose((loose * value).sum(axis=1), best)


def test_one_knapsack_serves_many_values() -> None:
    cost, _, allowed = _menu(3, 5, 4, costs="rising")
    least, most = _ends(cost, allowed)
    knapsack = Knapsack(cost, allowed)
    for seed in range(5):
        value = np.random.default_rng(seed).normal(size=cost.shape)
        room = (least + most) / 2
        again = Knapsack(cost, allowed).path(value).mixture(room)
        np.testing.assert_array_equal(knapsack.path(value).mixture(room), again)


@pytest.mark.parametrize("tilt", [0.1, 0.3, 0.7, 1 / 3, 1.1])
def test_slopes_equal_but_for_rounding_keep_rows_on_the_simplex(tilt: float) -> None:
    """Options on one line, in floating point: later hull steps may look steeper by an ulp."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        steps = np.sort(rng.choice(40, size=(3, 6)), axis=1)
        cost = steps + 6 * np.arange(6)
        value = (2.0 + rng.random()) - tilt * cost
        allowed = np.ones(cost.shape, dtype=bool)
        least, most = _ends(cost, allowed)
        room = rng.uniform(least, most)
        mixture = Knapsack(cost, allowed).path(value).mixture(room)
        _check_mixture(mixture, cost, allowed, room)
        assert (mixture * cost).sum() == pytest.approx(room)


def _brute_front(cost: np.ndarray, loss: np.ndarray) -> list[tuple[int, float]]:
    """Undominated (cost, loss) pairs among all integer choices."""
    open_ = [np.flatnonzero(np.isfinite(row)) for row in loss]
    points = sorted(
        (
            sum(int(cost[u, o]) for u, o in enumerate(pick)),
            sum(loss[u, o] for u, o in enumerate(pick)),
        )
        for pick in itertools.product(*open_)
    )
    front: list[tuple[int, float]] = []
    for size, value in points:
        if not front or value < front[-1][1]:
            front.append((size, value))
    return front


def _closed(value: np.ndarray, allowed: np.ndarray, mark: float) -> np.ndarray:
    return np.where(allowed, value, mark)


@examples(200)
@given(
    st.builds(
        _menu,
        st.integers(0, 2**32),
        st.integers(1, 5),
        st.integers(1, 4),
        costs=st.sampled_from(["random", "rising", "equal", "zero", "steps"]),
        # Whole numbers add up exactly in any order.
        values=st.sampled_from(["integers", "zero"]),
    ),
    st.sampled_from([np.inf, np.nan]),
)
def test_separable_front_is_brute_force(
    menu: tuple[np.ndarray, np.ndarray, np.ndarray], mark: float
) -> None:
    cost, value, allowed = menu
    loss = _closed(value, allowed, mark)
    front = separable_front(cost, loss)
    assert list(zip(front.cost.tolist(), front.loss.tolist(), strict=True)) == _brute_front(
        cost, loss
    )


@examples(150)
@given(menus)
def test_separable_front_is_in_order_and_traces_back(
    menu: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    cost, value, allowed = menu
    front = separable_front(cost, _closed(value, allowed, np.nan))
    assert (np.diff(front.cost) > 0).all()
    assert (np.diff(front.loss) < 0).all()
    choices = front.choices(np.arange(len(front.cost)))
    units = np.arange(len(cost))
    assert allowed[units, choices].all()
    np.testing.assert_array_equal(cost[units, choices].sum(axis=1), front.cost)
    np.testing.assert_allclose(
        value[units, choices].sum(axis=1), front.loss, rtol=1e-12, atol=1e-12
    )
    some = np.array([len(front.cost) - 1, 0])
    np.testing.assert_array_equal(front.choices(some), choices[some])


@pytest.mark.parametrize("seed", range(6))
def test_separable_front_is_the_integer_optimum_at_any_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units, widths = 18, 6
    cost = np.cumsum(rng.integers(1, 60, size=(units, widths)), axis=1)
    loss = np.exp(rng.normal(size=(units, 1)) - 1.3 * np.arange(widths)) * rng.uniform(
        0.5, 1.5, size=(units, widths)
    )
    allowed = rng.random((units, widths)) < 0.8
    allowed[:, -1] = True
    front = separable_front(cost, np.where(allowed, loss, np.inf))
    rows = sparse.vstack(
        [
            sparse.csr_array(cost.reshape(1, -1).astype(float)),
            sparse.kron(sparse.eye_array(units), np.ones((1, widths))),
        ]
    )
    for _ in range(4):
        budget = int(rng.integers(front.cost[0], front.cost[-1] + 1))
        found = milp(
            loss.ravel(),
            constraints=LinearConstraint(
                rows, np.append(-np.inf, np.ones(units)), np.append(budget, np.ones(units))
            ),
            integrality=np.ones(loss.size),
            bounds=Bounds(0, allowed.ravel().astype(float)),
            options={"mip_rel_gap": 0.0},
        )
        assert found.status == 0, found.message
        place = np.searchsorted(front.cost, budget, side="right") - 1
        assert front.loss[place] == pytest.approx(found.fun, rel=1e-6)


def test_a_unit_without_open_options_has_no_front() -> None:
    with pytest.raises(ValueError, match="no open option"):
        separable_front(np.array([[1, 2], [1, 2]]), np.array([[1.0, 0.5], [np.nan, np.inf]]))


@pytest.mark.parametrize("coarse", [1, 96, 4608])
def test_tables_and_lists_of_states_agree(coarse: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs in steps make tables; without room for tables the same front comes of lists."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        steps = rng.choice([1, 4, 12], size=(14, 1)) * coarse
        cost = np.cumsum(rng.integers(1, 9, size=(14, 6)), axis=1) * steps
        loss = np.exp(rng.normal(size=(14, 1)) - np.arange(6)) * rng.uniform(0.5, 2, size=(14, 6))
        with monkeypatch.context() as patch:
            patch.setattr(knapsack, "_CELLS", 0)
            lists = separable_front(cost, loss)
        tables = separable_front(cost, loss)
        assert tables.exact
        assert lists.exact
        np.testing.assert_array_equal(tables.cost, lists.cost)
        np.testing.assert_allclose(tables.loss, lists.loss, rtol=1e-12)
        for front in (tables, lists):
            choices = front.choices(np.arange(len(front.cost)))
            np.testing.assert_array_equal(cost[np.arange(14), choices].sum(axis=1), front.cost)


def test_too_many_states_are_thinned_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cost = np.cumsum(rng.integers(1, 10**6, size=(20, 8)), axis=1)
    loss = np.exp(rng.normal(size=(20, 1)) - np.arange(8)) * rng.uniform(0.7, 1.4, size=(20, 8))
    loss = np.minimum.accumulate(loss, axis=1)
    exact = separable_front(cost, loss)
    monkeypatch.setattr(knapsack, "STATES", 400)
    front = separable_front(cost, loss)
    assert 200 < len(front.cost) <= 402 < len(exact.cost)
    assert (np.diff(front.cost) > 0).all()
    assert (np.diff(front.loss) < 0).all()
    assert front.cost[0] == exact.cost[0] == cost.min(axis=1).sum()
    assert front.loss[-1] == pytest.approx(exact.loss[-1])
    choices = front.choices(np.arange(len(front.cost)))
    np.testing.assert_array_equal(cost[np.arange(20), choices].sum(axis=1), front.cost)
    best = exact.loss[np.searchsorted(exact.cost, front.cost, side="right") - 1]
    assert (front.loss >= best * (1 - 1e-12)).all()
    assert np.median(front.loss / best) < 1.02
