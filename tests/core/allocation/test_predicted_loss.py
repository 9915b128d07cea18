"""Predicted loss: the dense formula, shrinkage, and corrections by measured losses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.allocation.predicted_loss import (
    _LARGEST_CORRECTION,
    Growth,
    QuadraticLoss,
    corrections,
    quadratic_loss,
)
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.figures import figures_of
from genptq_core.errors import StoreError
from genptq_core.measurement.predictions import own_of, with_predictions
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import Anchor, Profile
from genptq_core.targets import TARGETS, predicted_bytes
from tests.core import synthetic
from tests.examples import examples


def _dense(loss: QuadraticLoss, choice: np.ndarray) -> float:
    """z^T [(1 - rho) A^T A + rho diag(A^T A)] z / 2, over one-hot z."""
    rows, units, widths = loss.projections.shape
    flat = loss.projections.reshape(rows, units * widths)
    gram = flat.T @ flat
    form = (1 - loss.shrinkage) * gram + loss.shrinkage * np.diag(np.diag(gram))
    z = np.zeros((units, widths))
    z[np.arange(units), choice] = 1.0
    return float(0.5 * z.ravel() @ form @ z.ravel())


@examples(150)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 6),
    units=st.integers(1, 5),
    widths=st.integers(1, 5),
    shrinkage=st.floats(0, 1),
    scale=st.sampled_from([0.0, 1e-9, 1.0, 1e9]),
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


def _corrections(made: Profile) -> np.ndarray:
    rows = made.projections.astype(float)
    return corrections(made, rows.reshape(-1, *rows.shape[2:]), 0.0)


def test_uncorrected_prediction_is_the_mean_over_draws_a_token() -> None:
    made = synthetic.profile(3, units=4, anchors=False)
    np.testing.assert_array_equal(_corrections(made), np.ones((4, 5)))
    choice = np.array([0, 3, 1, 2])
    picked = made.projections.astype(float)[:, :, np.arange(4), choice].sum(axis=2)
    wanted = 0.5 * (picked**2).mean(axis=1).sum() / made.lengths.sum()
    assert float(quadratic_loss(made, 0.0)(choice)) == pytest.approx(wanted)


@examples(60)
@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([0.0, 0.4, 1.0]))
def test_anchors_come_out_as_measured(seed: int, units: int, shared: float) -> None:
    made = synthetic.profile(seed, units=units, shared=shared)
    if seed % 2:
        made = synthetic.profile(
            seed, units=units, shared=shared, group_size=(64, 8), rates=(2, 2.5, 4)
        )
    exact, shrunk = quadratic_loss(made, 0.0), quadratic_loss(made)
    for anchor in made.anchors:
        pairs = zip(made.units, anchor.options, strict=True)
        groups = {unit.group for unit, option in pairs if option != UNQUANTIZED}
        if len(groups) > 1:
            continue
        choice = np.array([made.menu.index(option) for option in anchor.options])
        # To second order: beyond it, the loss grows as the uniform anchors say.
        for loss in (exact, shrunk):
            assert float(loss(choice)) == pytest.approx(float(loss.growth(anchor.loss)), rel=1e-6)


def test_corrections_touch_only_their_group_and_fall_with_the_error() -> None:
    """Widths above the anchor's have a quarter of its logarithm for each bit, those below all."""
    made = synthetic.profile(4, units=8, anchors=False)
    group = made.units[0].group
    inside = np.array([unit.group == group for unit in made.units])
    alone = tuple(Option(3, 8) if hit else UNQUANTIZED for hit in inside)
    choice = np.array([made.menu.index(option) for option in alone])
    raw = float(quadratic_loss(made, 0.0)(choice))
    found = _corrections(dataclasses.replace(made, anchors=(Anchor(alone, 4 * raw),)))
    for column, option in enumerate(made.settings.options):
        wanted = 2.0 ** (0.25 ** max(option.bits - 3, 0))
        np.testing.assert_allclose(found[inside, column], wanted)
    np.testing.assert_array_equal(found[~inside], 1.0)


def test_between_two_anchors_the_correction_is_between_theirs() -> None:
    made = synthetic.profile(4, units=8, anchors=False, rates=(2, 2.5, 3, 4))
    group = made.units[0].group
    inside = [unit.group == group for unit in made.units]
    anchors = []
    for key, factor in (("2", 16.0), ("3", 1.0)):
        alone = tuple(Option.parse(key) if hit else UNQUANTIZED for hit in inside)
        choice = np.array([made.menu.index(option) for option in alone])
        anchors.append(Anchor(alone, factor * float(quadratic_loss(made, 0.0)(choice))))
    found = _corrections(dataclasses.replace(made, anchors=tuple(anchors)))
    columns = [made.menu.index(Option.parse(key)) for key in ("2", "2.5", "3", "4", "2/8")]
    np.testing.assert_allclose(found[inside][:, columns], [[4.0, 2.0, 1.0, 1.0, 1.0]] * sum(inside))


def test_an_anchor_speaks_for_grids_of_its_width_in_any_groups() -> None:
    made = synthetic.profile(4, units=8, anchors=False, group_size=(64, 8), rates=(2, 3))
    group = made.units[0].group
    inside = np.array([unit.group == group for unit in made.units])
    for option, columns in ((Option(3, 64), ["3/64", "3/8"]), (Option(3), ["3"])):
        form = option.form
        alone = tuple(option if hit else UNQUANTIZED for hit in inside)
        choice = np.array([made.menu.index(o) for o in alone])
        raw = float(quadratic_loss(made, 0.0)(choice))
        anchor = Anchor(alone, 4 * raw)
        found = _corrections(dataclasses.replace(made, anchors=(anchor,)))
        assert found.shape == (8, len(made.settings.options))
        for column, other in enumerate(made.settings.options):
            if other.bits == 3 or other.form != form:
                wanted = np.where(inside & (other.key in columns), 2.0, 1.0)
                np.testing.assert_allclose(found[:, column], wanted)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_corrections_are_bounded(factor: float) -> None:
    made = synthetic.profile(4, units=1, anchors=False)
    raw = float(quadratic_loss(made, 0.0)(np.array([0])))
    anchor = Anchor((Option(2, 8),), factor * raw)
    found = _corrections(dataclasses.replace(made, anchors=(anchor,)))
    wanted = _LARGEST_CORRECTION if factor > 1 else 1 / _LARGEST_CORRECTION
    assert found[0, 0] == pytest.approx(wanted)


@pytest.mark.parametrize("loss", [0.0, -0.1, float("nan")])
def test_anchors_that_say_nothing_change_nothing(loss: float) -> None:
    made = synthetic.profile(4, units=1, anchors=False)
    found = _corrections(dataclasses.replace(made, anchors=(Anchor((Option(2, 8),), loss),)))
    np.testing.assert_array_equal(found, 1.0)


def test_mixed_and_uniform_anchors_do_not_correct() -> None:
    made = synthetic.profile(5, units=6, anchors=False)
    mixed = Anchor((Option(2, 8), Option(3, 8), *(UNQUANTIZED,) * 4), 1.0)
    uniform = Anchor((Option(2, 8),) * 6, 1.0)
    empty = Anchor((UNQUANTIZED,) * 6, 1.0)
    found = _corrections(dataclasses.replace(made, anchors=(mixed, uniform, empty)))
    np.testing.assert_array_equal(found, 1.0)


def test_zero_sensitivities_predict_zero() -> None:
    made = synthetic.profile(6, units=4, scale=0.0)
    loss = quadratic_loss(made)
    assert (loss(np.zeros((1, 4), dtype=int)) == 0).all()


def test_measurements_carry_the_prediction_of_today() -> None:
    made = synthetic.profile(7, units=5)
    options = (made.menu[0],) * 5
    stale = dataclasses.replace(synthetic.measured(made, options), predicted_loss=123.0)
    (fresh,) = with_predictions(made, [stale])
    choice = np.array([made.menu.index(option) for option in options])
    assert fresh.predicted_loss == pytest.approx(float(quadratic_loss(made)(choice)))
    assert dataclasses.replace(fresh, predicted_loss=123.0) == stale
    assert with_predictions(made, []) == []


def test_measurements_have_the_size_that_a_target_gives_them() -> None:
    made = synthetic.profile(7, units=8, width=64, group_size=(64,), rates=(2.25,))
    held, not_held = (synthetic.measured(made, (key,) * 8) for key in ("16", "2.25"))
    form = TARGETS["compressed-tensors"]
    sized, same = with_predictions(made, [held, not_held], form.name)
    assert sized.bytes == predicted_bytes(form, made, held.options) > held.bytes
    assert sized.reduction_vs_fp32 == 1 - sized.bytes / (4 * made.source.parameters)
    assert same == with_predictions(made, [not_held])[0]


def test_a_target_is_told_by_its_own_maps_where_enough_were_measured() -> None:
    made = synthetic.profile(7, units=5, group_size=(64,), rates=(2.25, 3, 4, 5, 6))
    coded = [synthetic.measured(made, (key,) * 5) for key in ("2.25", "3", "4", "5", "6")]
    grids = [synthetic.measured(made, (key,) * 5) for key in ("3/64", "4/64")]
    records = with_predictions(made, [*coded, *grids])
    assert own_of(made, records) == records[:5]
    assert own_of(made, records, "integer") == records
    assert own_of(made, records[1:]) == records[1:]
    assert own_of(made, records, "gguf") == records


@pytest.mark.parametrize(
    "options", [(Option(7, 8),) * 5, (Option(2, 64),) * 5, (Option(2),) * 5, (Option(2, 8),) * 4]
)
def test_measurements_of_other_maps_are_named(options: tuple[Option, ...]) -> None:
    made = synthetic.profile(7, units=5)
    fits = synthetic.measured(made, (made.menu[0],) * 5)
    with pytest.raises(StoreError, match="does not fit the profile"):
        with_predictions(made, [dataclasses.replace(fits, options=options)])


def test_figures_of_a_map_of_any_format() -> None:
    made = synthetic.profile(8, units=6, group_size=(64, 8), rates=(2.25, 3))
    chosen = bit_map(made, ("2/64", "2/8", "2.25", "3", "8/8", "16"))
    figures = figures_of(made, chosen)
    choice = np.array([made.menu.index(option) for option in chosen.options])
    assert figures.predicted_loss == pytest.approx(float(quadratic_loss(made)(choice)))
    assert figures.bytes == synthetic.native_kept(made) + int(
        synthetic.native_bytes(made)[np.arange(6), choice].sum()
    )
    weights = np.array([unit.weights for unit in made.units])
    average = float((weights * [2, 2, 2.25, 3, 8, 16]).sum() / weights.sum())
    assert figures.avg_bits == pytest.approx(average)
    half = figures_of(made, bit_map(made, (16,) * 6))
    assert (half.avg_bits, half.predicted_loss) == (16, 0)
    assert half.bytes == 2 * (made.source.parameters - made.source.derived)


@given(st.floats(1e-6, 1e3), st.floats(0.3, 3.0), st.lists(st.floats(0, 100), min_size=2))
def test_growth_rises_and_is_never_below_second_order(
    knee: float, power: float, losses: list[float]
) -> None:
    second = np.sort(losses)
    grown = Growth(knee, power)(second)
    assert (grown >= second).all()
    assert (np.diff(grown) >= 0).all()
    np.testing.assert_array_equal(Growth()(second), second)
    assert float(Growth(knee, power)(knee)) == pytest.approx(2 * knee)


def test_growth_follows_the_uniform_anchors() -> None:
    made = synthetic.profile(9, units=8, utterances=2, anchors=False)
    made = dataclasses.replace(made, projections=made.projections * 0.02)  # losses below a nat
    raw = quadratic_loss(made)
    assert raw.growth == Growth()
    second = [float(raw(np.full(8, column))) for column in range(5)]
    true = Growth(second[1], 1.4)
    anchors = tuple(
        Anchor((option,) * 8, float(true(loss)))
        for option, loss in zip(made.settings.options, second, strict=True)
    )
    found = quadratic_loss(dataclasses.replace(made, anchors=anchors)).growth
    np.testing.assert_allclose(found(np.array(second)), true(np.array(second)), rtol=0.01)
    # What is lost beyond a nat says nothing of the maps that anyone takes.
    ruined = (Anchor((made.settings.options[0],) * 8, 7.0), *anchors[1:])
    assert quadratic_loss(dataclasses.replace(made, anchors=ruined)).growth(second[1]) < 1


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_what_other_utterances_lose_is_no_growth(factor: float) -> None:
    """Anchors are of the first utterances; that the rest are harder is not growth."""
    made = synthetic.profile(3, units=8, utterances=8)
    made = dataclasses.replace(
        made,
        projections=made.projections * 0.02,
        anchors=tuple(dataclasses.replace(a, loss=a.loss * 4e-4) for a in made.anchors),
    )
    # Groups' corrections are of all utterances; without them growth is seen alone.
    made = dataclasses.replace(made, anchors=tuple(a for a in made.anchors if _uniform(a)))
    rest = made.projections.copy()
    rest[made.anchored :] *= factor
    other = dataclasses.replace(made, projections=rest)
    growth = quadratic_loss(made, denoise=False).growth
    assert made.anchored < len(made.lengths) and np.isfinite(growth.knee)
    found = quadratic_loss(other, denoise=False).growth
    assert (found.knee, found.power) == pytest.approx((growth.knee, growth.power), rel=1e-6)


def _uniform(anchor: Anchor) -> bool:
    return len(set(anchor.options)) == 1
