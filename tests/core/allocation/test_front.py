"""The front, its knee and area, and the curve from predicted loss to word errors."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.allocation.front import (
    WORST_USABLE,
    Front,
    hypervolume,
    knee,
    predicted_front,
    undominated,
)
from genptq_core.allocation.problem import Problem
from genptq_core.allocation.solving import solve
from genptq_core.allocation.wer_curve import COVERAGE, WerCurve, fit_wer_curve, solve_wer_increase
from genptq_core.errors import InfeasibleError
from tests.core import synthetic
from tests.examples import examples

points = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20).map(float)), min_size=1, max_size=30
)


@given(points)
def test_undominated_is_brute_force(pairs: list[tuple[int, float]]) -> None:
    size, loss = (np.array(values) for values in zip(*pairs, strict=True))
    kept = undominated(size, loss)
    assert (np.diff(size[kept]) > 0).all()
    assert (np.diff(loss[kept]) < 0).all()
    wanted = {
        (s, v)
        for s, v in pairs
        if not any((t <= s and w <= v) and (t, w) != (s, v) for t, w in pairs)
    }
    assert {(int(size[i]), float(loss[i])) for i in kept} == wanted


def test_undominated_of_nothing() -> None:
    assert len(undominated(np.empty(0), np.empty(0))) == 0


@given(points)
def test_knee_and_hypervolume_of_any_front(pairs: list[tuple[int, float]]) -> None:
    size, loss = (np.array(values) for values in zip(*pairs, strict=True))
    kept = undominated(size, loss)
    size, loss = size[kept], loss[kept]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 <= knee(size, loss) < len(size)
        assert -1e-12 <= hypervolume(size, loss) <= 1 + 1e-12


def test_knee_is_the_corner() -> None:
    size = np.array([10, 11, 12, 20, 30])
    loss = np.array([1.0, 0.5, 0.05, 0.04, 0.0])
    assert knee(size, loss) == 2
    # A useless start does not move it: losses past the worst usable count alike.
    assert knee(size, loss * np.array([1e6, 1, 1, 1, 1])) == 2


def test_hypervolume_by_hand() -> None:
    size = np.array([0, 1, 2, 4])
    loss = WORST_USABLE * np.array([1.0, 0.5, 0.25, 0.0])
    # Steps of width 1/4, 1/4 and 1/2 under 0, 1/2 and 3/4.
    assert hypervolume(size, loss) == pytest.approx(0.25 * 0 + 0.25 * 0.5 + 0.5 * 0.75)
    better = hypervolume(size, loss * np.array([1, 0.5, 0.5, 1]))
    assert better > hypervolume(size, loss)


@pytest.mark.parametrize("units", [1, 2, 6, 14])
def test_predicted_front(units: int) -> None:
    problem = synthetic.problem(units, units=units)
    front = predicted_front(problem)
    assert (np.diff(front.bytes) > 0).all()
    assert (np.diff(front.loss) < 0).all()
    np.testing.assert_array_equal(problem.bytes(front.choices), front.bytes)
    np.testing.assert_allclose(problem.loss(front.choices), front.loss)
    assert front.bytes[0] == problem.smallest
    assert front.loss[-1] == 0
    assert 0 <= front.knee < len(front.bytes)
    assert 0 <= front.hypervolume <= 1
    _, size, loss = problem.candidates
    for s, v in zip(size, loss, strict=True):
        assert ((front.bytes <= s) & (front.loss <= v)).any()


def test_the_separable_front_is_exact() -> None:
    problem = synthetic.problem(1, units=5, bits=(2, 4), shrinkage=1.0)
    maps = synthetic.every_choice(problem)
    kept = undominated(problem.bytes(maps), problem.loss(maps))
    front = predicted_front(problem)
    # Sums in another order may split or join ties in the last bit.
    for s, v in zip(problem.bytes(maps)[kept], problem.loss(maps)[kept], strict=True):
        place = np.searchsorted(front.bytes, s, side="right") - 1
        assert front.loss[place] == pytest.approx(float(v), rel=1e-9, abs=1e-15)


def test_front_of_a_single_map() -> None:
    problem = dataclasses.replace(
        synthetic.problem(0, units=3), allowed=np.eye(6, dtype=bool)[[1, 1, 1]]
    )
    front = predicted_front(problem)
    assert front.choices.tolist() == [[1, 1, 1]]
    assert front.knee == 0
    assert 0 <= front.hypervolume <= 1


def _curve(
    *, scale: float = 0.4, power: float = 1.1, band: float = 0.3, floor: float = 0.003
) -> WerCurve:
    return WerCurve(
        scale=scale,
        power=power,
        band=band,
        floor=floor,
        held_out=0.002,
        points=12,
        largest=0.5,
    )


def _synthetic_points(
    rng: np.random.Generator, count: int, scale: float, power: float, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    loss = np.exp(rng.uniform(np.log(0.003), np.log(0.5), size=count))
    clean = scale * loss**power
    return loss, clean * np.exp(noise * rng.normal(size=count)) + 0.001 * rng.normal(size=count)


# The same cases each time: noise that bends a fit too far can be found by searching for it.
@examples(20, derandomize=True)
@given(st.integers(0, 2**32), st.floats(0.1, 0.5), st.floats(0.7, 1.6))
def test_fit_recovers_a_power_law(seed: int, scale: float, power: float) -> None:
    loss, increase = _synthetic_points(np.random.default_rng(seed), 40, scale, power, 0.1)
    curve = fit_wer_curve(loss, increase)
    assert curve is not None
    # The prior bends the power where points below the noise leave it open, and the curve hardly.
    assert curve.power == pytest.approx(power, abs=0.45)
    for x in (0.05, 0.2, 0.4):
        assert float(curve.increase(x)) == pytest.approx(scale * x**power, rel=0.3, abs=0.003)
    assert curve.points == 40
    assert curve.largest == loss.max()


def test_fit_without_noise_is_close() -> None:
    loss = np.geomspace(0.01, 0.5, 8)
    curve = fit_wer_curve(loss, 0.4 * loss**1.2)
    assert curve is not None
    assert (curve.scale, curve.power) == pytest.approx((0.4, 1.2), rel=0.1)
    assert curve.held_out < 0.005


@examples(30)
@given(st.lists(st.tuples(st.floats(1e-6, 5), st.floats(-0.02, 1.5)), min_size=5, max_size=8))
def test_curve_of_any_points_is_monotone_and_finite(pairs: list[tuple[float, float]]) -> None:
    loss, increase = zip(*pairs, strict=True)
    curve = fit_wer_curve(loss, increase)
    if curve is None:
        assert sum(y < 0.5 for y in increase) < 5
        return
    grid = np.geomspace(1e-6, curve.largest, 60)
    middle = curve.increase(grid)
    low, high = curve.interval(grid)
    assert np.isfinite(middle).all()
    assert (np.diff(middle) >= 0).all()
    assert (np.diff(high) >= 0).all()
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert curve.power > 0
    for wanted in (0.0, 1e-4, 0.01, 0.3, 10.0):
        assert curve.loss_for(wanted) >= 0


def test_interval_holds_about_the_stated_share() -> None:
    """On fresh points of the same law, over many fits."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(16):
        scale, power = rng.uniform(0.1, 0.5), rng.uniform(0.7, 1.6)
        loss, increase = _synthetic_points(rng, 30, scale, power, 0.2)
        curve = fit_wer_curve(loss, increase)
        assert curve is not None
        loss, increase = _synthetic_points(rng, 100, scale, power, 0.2)
        low, high = curve.interval(loss)
        inside.append(((low <= increase) & (increase <= high)).mean())
    assert COVERAGE - 0.08 <= np.mean(inside) <= COVERAGE + 0.08


@pytest.mark.parametrize("count", range(5))
def test_too_few_points_fit_no_curve(count: int) -> None:
    loss = np.geomspace(0.01, 0.1, 5)
    assert fit_wer_curve(loss[:count], loss[:count]) is None
    # Neither points without loss nor points where decoding loops count.
    padded = [*loss[:count], 0.0, 0.0, 3.0, 4.0, 5.0]
    assert fit_wer_curve(padded, [*loss[:count], 0.0, 0.0, 1.2, 1.3, 0.5]) is None


def test_five_points_are_enough() -> None:
    loss = np.geomspace(0.01, 0.1, 5)
    assert fit_wer_curve(loss, loss / 3) is not None


@given(
    st.floats(0.01, 2),
    st.floats(0.3, 2),
    st.floats(0, 1),
    st.floats(0, 0.02),
    st.floats(1e-5, 1),
)
def test_loss_for_inverts_the_upper_end(
    scale: float, power: float, band: float, floor: float, increase: float
) -> None:
    curve = _curve(scale=scale, power=power, band=band, floor=floor)
    loss = curve.loss_for(increase)
    if increase <= floor:
        assert loss == 0
        return
    upper = float(curve.interval(loss)[1])
    assert upper == pytest.approx(increase, rel=1e-6, abs=1e-12)
    assert float(curve.interval(loss * 1.01)[1]) >= increase * (1 - 1e-9)


def test_loss_for_on_a_nearly_flat_curve() -> None:
    """Any loss at all is allowed, then; not an error of arithmetic."""
    curve = _curve(scale=1e-3, power=1e-4, band=0.1, floor=0.0)
    assert curve.loss_for(0.5) > 1e100
    assert curve.loss_for(1e-9) == pytest.approx(0.0)


def _curved() -> tuple[Problem, Front, WerCurve]:
    problem = synthetic.problem(3, units=8)
    return problem, predicted_front(problem), _curve()


@pytest.mark.parametrize("increase", [0.004, 0.01, 0.02, 0.05, 0.2])
def test_solve_wer_increase_is_the_smallest_on_the_front(increase: float) -> None:
    problem, front, curve = _curved()
    found = solve_wer_increase(problem, front, curve, increase)
    assert float(curve.interval(found.predicted_loss)[1]) <= increase * (1 + 1e-9)
    limit = curve.loss_for(increase)
    smaller = front.bytes < found.bytes
    assert (front.loss[smaller] > limit * (1 - 1e-9)).all()
    # Nor does the solver reach it with a byte less than the front's point.
    place = int(np.flatnonzero(front.loss <= limit)[0])
    assert found.bytes <= front.bytes[place]
    if front.bytes[place] > problem.smallest:
        less = solve(problem, int(front.bytes[place - 1]))
        assert less.predicted_loss > limit or less.bytes <= found.bytes


def test_no_increase_at_all_leaves_the_model_as_it_is() -> None:
    problem, front, curve = _curved()
    found = solve_wer_increase(problem, front, curve, 0.001)
    assert found.predicted_loss == 0


def test_solve_wer_increase_says_what_can_be_promised() -> None:
    made = synthetic.problem(3, units=4)
    closed = made.allowed.copy()
    closed[:, -1] = False  # nothing may stay at 16 bits
    problem = dataclasses.replace(made, allowed=closed)
    front = predicted_front(problem)
    curve = _curve()
    with pytest.raises(InfeasibleError, match=r"under 0.00 points.*0.30 points"):
        solve_wer_increase(problem, front, curve, 1e-7)
