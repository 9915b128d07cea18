"""The band that a model borrows: from where, how wide, and how its own maps narrow it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.allocation.borrowed_curve import BorrowedCurve, Points, borrow

LOSS = np.geomspace(0.001, 0.05, 8)


def _points(factor: float, power: float = 1.0, maps: int = 8, name: str = "lender") -> Points:
    """Maps on the curve factor * loss^power, each a little off it."""
    loss = LOSS[:maps]
    apart = np.where(np.arange(len(loss)) % 2, 1.05, 0.95)
    return Points(name, loss, factor * loss**power * apart, np.full(len(loss), 0.002))


def test_models_that_agree_make_a_narrow_band_around_them() -> None:
    lent = [_points(factor, name=f"model {factor}") for factor in (0.8, 1.0, 1.2)]
    curve = borrow(lent)
    assert curve.increase(0.02) == pytest.approx(0.02, rel=0.15)
    assert curve.borrowed_from == ("model 0.8", "model 1.0", "model 1.2")
    assert (curve.points, curve.largest) == (0, pytest.approx(0.05))
    apart = borrow([_points(factor) for factor in (0.1, 1.0, 10.0)])
    assert _width(apart, 0.02) > 1.2 * _width(curve, 0.02)
    assert _width(borrow([]), 0.02) > _width(curve, 0.02)


def _width(curve: BorrowedCurve, loss: float) -> float:
    low, high = curve.interval(loss)
    return float(high - low)


def test_its_own_maps_narrow_it_from_the_first_on() -> None:
    lent, truth = [_points(1.0), _points(1.4)], _points(3.0)
    widths, errors = [], []
    for shown in (0, 1, 2, 4):
        chosen = np.arange(8)[:: 8 // shown] if shown else np.arange(0)
        parts = (truth.loss[chosen], truth.increase[chosen], truth.sampling[chosen])
        curve = borrow(lent, Points("own", *parts))
        widths.append(_width(curve, 0.02) / float(curve.increase(0.02)))
        errors.append(abs(float(curve.increase(0.02)) - 0.06))
        assert curve.points == shown
    assert widths == sorted(widths, reverse=True)
    assert errors == sorted(errors, reverse=True)
    assert widths[-1] < 0.7 * widths[0] and errors[-1] < 0.3 * errors[0]


def test_one_runaway_moves_it_little() -> None:
    lent, own = [_points(1.0), _points(1.3)], _points(1.0, maps=4)
    wild = Points("own", own.loss, own.increase + np.array([0, 0.3, 0, 0]), own.sampling)
    before, after = (float(borrow(lent, points).increase(0.01)) for points in (own, wild))
    assert before < after < 2 * before


def test_a_small_set_has_a_wide_band() -> None:
    lent, own = [_points(1.0)], _points(1.0, maps=3)
    noisy = Points("own", own.loss, own.increase, np.full(3, 0.03))
    assert _width(borrow(lent, noisy), 1e-4) > 1.5 * _width(borrow(lent, own), 1e-4)


@settings(max_examples=10, deadline=None)
@given(
    factor=st.floats(0.05, 20),
    power=st.floats(0.5, 2),
    increase=st.floats(1e-4, 0.5),
    shown=st.integers(0, 4),
)
def test_the_band_holds_its_middle_and_what_is_promised_of_it(
    factor: float, power: float, increase: float, shown: int
) -> None:
    curve = borrow([_points(factor, power)], _points(factor / 2, power, maps=shown))
    loss = np.geomspace(1e-6, 1, 30)
    low, high = curve.interval(loss)
    middle = curve.increase(loss)
    assert (np.diff(middle) >= 0).all() and (low <= middle).all() and (middle <= high).all()
    most = curve.loss_for(increase)
    if most:
        assert curve.interval(most)[1] < increase
    else:
        assert curve.interval(1e-7)[1] >= increase
    assert curve.floor == pytest.approx(float(curve.interval(0.0)[1]))
