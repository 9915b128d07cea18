"""Predicted loss: the dense formula, shrinkage, and corrections by measured losses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.errors import StoreError
from genptq_core.prediction import (
    _LARGEST_CORRECTION,
    QuadraticLoss,
    corrections,
    quadratic_loss,
    with_predictions,
)
from genptq_core.profile import Anchor
from genptq_core.units import UNQUANTIZED
from tests.core import synthetic


def _dense(loss: QuadraticLoss, choice: np.ndarray) -> float:
    """z^T [(1 - rho) A^T A + rho diag(A^T A)] z / 2, over one-hot z."""
    rows, units, widths = loss.projections.shape
    flat = loss.projections.reshape(rows, units * widths)
    gram = flat.T @ flat
    form = (1 - loss.shrinkage) * gram + loss.shrinkage * np.diag(np.diag(gram))
    z = np.zeros((units, widths))
    z[np.arange(units), choice] = 1.0
    return float(0.5 * z.ravel() @ form @ z.ravel())


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 5),
    st.floats(0, 1),
    st.sampled_from([0.0, 1e-9, 1.0, 1e9]),
)
def test_equals_the_dense_formula(
    seed: int, rows: int, units: int, widths: int, shrinkage: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    loss = QuadraticLoss(scale * rng.normal(size=(rows, units, widths)), shrinkage)
    choices = rng.integers(0, widths, size=(7, units))
    wanted = [_dense(loss, choice) for choice in choices]
    np.testing.assert_allclose(loss(choices), wanted, rtol=1e-9, atol=1e-12 * scale**2)
    assert (loss(choices) >= 0).all()


def test_shapes_and_long_batches() -> None:
    """More maps than one chunk, and any number of leading dimensions."""
    rng = np.random.default_rng(0)
    loss = QuadraticLoss(rng.normal(size=(3, 4, 5)))
    many = rng.integers(0, 5, size=(2100, 4))
    np.testing.assert_allclose(loss(many), [float(loss(one)) for one in many])
    cube = many[:2000].reshape(20, 100, 4)
    assert loss(cube).shape == (20, 100)
    np.testing.assert_array_equal(loss(cube).ravel(), loss(many[:2000]))
    assert loss(many[0]).shape == ()
    assert loss(many[:0]).shape == (0,)


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_full_shrinkage_is_separable(seed: int, units: int) -> None:
    rng = np.random.default_rng(seed)
    loss = QuadraticLoss(rng.normal(size=(4, units, 3)), 1.0)
    choice = rng.integers(0, 3, size=units)
    alone = sum(loss.separable[u, o] for u, o in enumerate(choice))
    assert float(loss(choice)) == pytest.approx(alone)


@given(st.integers(0, 2**32), st.integers(1, 6), st.floats(0, 1))
def test_shrinkage_interpolates(seed: int, units: int, shrinkage: float) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4, units, 3))
    choice = rng.integers(0, 3, size=units)
    whole, alone, between = (float(QuadraticLoss(rows, r)(choice)) for r in (0.0, 1.0, shrinkage))
    assert between == pytest.approx((1 - shrinkage) * whole + shrinkage * alone)


def test_a_unit_alone_has_no_cross_terms() -> None:
    made = synthetic.profile(1, units=5, anchors=False)
    choice = np.full(5, made.menu.index(UNQUANTIZED))
    choice[2] = 0
    values = [float(quadratic_loss(made, rho)(choice)) for rho in (0.0, 0.3, 1.0)]
    assert values == pytest.approx([values[0]] * 3)


def test_leaving_everything_as_it_is_costs_nothing() -> None:
    made = synthetic.profile(2, units=7)
    assert float(quadratic_loss(made)(np.full(7, len(made.menu) - 1))) == 0


def test_uncorrected_prediction_is_the_mean_over_draws_a_token() -> None:
    made = synthetic.profile(3, units=4, anchors=False)
    np.testing.assert_array_equal(corrections(made, 0.0), np.ones((4, 5)))
    choice = np.array([0, 3, 1, 2])
    picked = made.projections.astype(float)[:, :, np.arange(4), choice].sum(axis=2)
    wanted = 0.5 * (picked**2).mean(axis=1).sum() / made.lengths.sum()
    assert float(quadratic_loss(made, 0.0)(choice)) == pytest.approx(wanted)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([0.0, 0.4, 1.0]))
def test_anchors_come_out_as_measured(seed: int, units: int, shared: float) -> None:
    made = synthetic.profile(seed, units=units, shared=shared)
    exact, shrunk = quadratic_loss(made, 0.0), quadratic_loss(made)
    for anchor in made.anchors:
        pairs = zip(made.units, anchor.bits, strict=True)
        groups = {unit.group for unit, bits in pairs if bits != UNQUANTIZED}
        if len(groups) > 1:
            continue
        choice = np.array([made.menu.index(b) for b in anchor.bits])
        assert float(exact(choice)) == pytest.approx(anchor.loss, rel=1e-6)
        assert float(shrunk(choice)) == pytest.approx(anchor.loss, rel=1e-6)


def test_corrections_touch_only_their_group_and_width() -> None:
    made = synthetic.profile(4, units=8, anchors=False)
    group = made.units[0].group
    inside = np.array([unit.group == group for unit in made.units])
    bits = tuple(3 if hit else UNQUANTIZED for hit in inside)
    choice = np.array([made.menu.index(b) for b in bits])
    raw = float(quadratic_loss(made, 0.0)(choice))
    found = corrections(dataclasses.replace(made, anchors=(Anchor(bits, 4 * raw),)), 0.0)
    column = made.menu.index(3)
    np.testing.assert_allclose(found[inside, column], 2.0)
    found[inside, column] = 1.0
    np.testing.assert_array_equal(found, 1.0)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_corrections_are_bounded(factor: float) -> None:
    made = synthetic.profile(4, units=1, anchors=False)
    raw = float(quadratic_loss(made, 0.0)(np.array([0])))
    found = corrections(dataclasses.replace(made, anchors=(Anchor((2,), factor * raw),)), 0.0)
    wanted = _LARGEST_CORRECTION if factor > 1 else 1 / _LARGEST_CORRECTION
    assert found[0, 0] == pytest.approx(wanted)


@pytest.mark.parametrize("loss", [0.0, -0.1, float("nan")])
def test_anchors_that_say_nothing_change_nothing(loss: float) -> None:
    made = synthetic.profile(4, units=1, anchors=False)
    found = corrections(dataclasses.replace(made, anchors=(Anchor((2,), loss),)), 0.0)
    np.testing.assert_array_equal(found, 1.0)


def test_mixed_and_uniform_anchors_do_not_correct() -> None:
    made = synthetic.profile(5, units=6, anchors=False)
    mixed = Anchor((2, 3, 16, 16, 16, 16), 1.0)
    uniform = Anchor((2,) * 6, 1.0)
    empty = Anchor((16,) * 6, 1.0)
    found = corrections(dataclasses.replace(made, anchors=(mixed, uniform, empty)), 0.0)
    np.testing.assert_array_equal(found, 1.0)


def test_zero_sensitivities_predict_zero() -> None:
    made = synthetic.profile(6, units=4, scale=0.0)
    loss = quadratic_loss(made)
    assert (loss(np.zeros((1, 4), dtype=int)) == 0).all()


def test_measurements_carry_the_prediction_of_today() -> None:
    made = synthetic.profile(7, units=5)
    bits = (made.menu[0],) * 5
    stale = dataclasses.replace(synthetic.measured(made, bits), predicted_loss=123.0)
    (fresh,) = with_predictions(made, [stale])
    choice = np.array([made.menu.index(b) for b in bits])
    assert fresh.predicted_loss == pytest.approx(float(quadratic_loss(made)(choice)))
    assert dataclasses.replace(fresh, predicted_loss=123.0) == stale
    assert with_predictions(made, []) == []


@pytest.mark.parametrize("bits", [(7,) * 5, (2,) * 4])
def test_measurements_of_other_maps_are_named(bits: tuple[int, ...]) -> None:
    made = synthetic.profile(7, units=5)
    fits = synthetic.measured(made, (made.menu[0],) * 5)
    with pytest.raises(StoreError, match="does not fit the profile"):
        with_predictions(made, [dataclasses.replace(fits, bits=bits)])
