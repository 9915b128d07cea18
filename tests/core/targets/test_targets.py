"""Targets: what each format holds, and solving over menus of several forms and group sizes."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.predicted_loss import quadratic_loss
from genptq_core.allocation.problem import problem
from genptq_core.allocation.search import uniform_maps
from genptq_core.allocation.solving import choices_of, solve
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.file import bit_map_csv
from genptq_core.errors import ConstraintError
from genptq_core.measurement.comparison import compare
from genptq_core.options import grid_options
from genptq_core.profile import load_profile
from genptq_core.storage.locations import bundled_profiles
from genptq_core.targets import TARGETS, fixed_bytes, predicted_bytes, usable_targets
from tests.core import synthetic

MIXED = {"group_size": (64, 8, 4), "rates": (1.5, 2, 2.25, 3, 4.125)}
"""Options of two forms, with several group sizes for a width."""

BLOCKS = ("q4_0", "q5_1", "q8_0", "q4_k")


@pytest.mark.parametrize("target", [None, *TARGETS])
def test_only_what_the_target_holds_is_on_the_menu(target: str | None) -> None:
    profile = synthetic.profile(3, units=9, width=32, blocks=BLOCKS, **MIXED)
    task = problem(profile, target=target)
    forms = TARGETS[target or "native"].forms
    assert task.menu == tuple(option for option in profile.menu if option.form in forms)
    columns = [profile.menu.index(option) for option in task.menu]
    form = TARGETS[target or "native"]
    for unit, costs, allowed in zip(profile.units, task.cost, task.allowed, strict=True):
        assert costs.tolist() == [form.unit_bytes(unit, option) for option in task.menu]
        assert allowed.tolist() == [form.holds(unit, option) for option in task.menu]
    if form.format == "native":
        np.testing.assert_array_equal(task.cost, synthetic.native_bytes(profile)[:, columns])
    whole = quadratic_loss(profile).projections
    open_ = np.where(task.allowed, whole[:, :, columns], 0)
    np.testing.assert_array_equal(task.loss.projections, open_)
    assert {o.form for o in solve(task, int(1.3 * task.smallest)).options} <= forms


def test_a_profile_without_codes_is_held_natively_as_grids() -> None:
    grids = synthetic.profile(3, units=5, group_size=(64, 8))
    assert problem(grids).menu == problem(grids, target="integer").menu == grids.menu
    codes = synthetic.profile(3, units=5, bits=(), rates=(2, 3.5))
    assert problem(codes).menu == codes.menu
    with pytest.raises(
        ConstraintError, match=r"no option that the target 'integer' holds"
    ) as caught:
        problem(codes, target="integer")
    assert "native" in caught.value.hint


@pytest.mark.parametrize("target", ["Native", "ggml", "native "])
def test_an_unknown_target_is_refused_with_those_there_are(target: str) -> None:
    with pytest.raises(ConstraintError, match="no target") as caught:
        problem(synthetic.profile(0), target=target)
    assert "native, integer" in caught.value.hint


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["native", "integer"]), st.floats(0, 1))
def test_mixed_menus_never_go_over_budget_and_use_small_groups(
    seed: int, target: str, place: float
) -> None:
    profile = synthetic.profile(seed, units=10, width=32, **MIXED)
    task = problem(profile, target=target)
    largest = task.fixed + int(task.cost.max(axis=1).sum())
    budget = int(task.smallest + place * (largest - task.smallest))
    solved = solve(task, budget)
    assert task.allowed[np.arange(10), choices_of(task, solved.options)].all()
    assert solved.bytes <= budget
    for column in range(len(task.menu)):
        uniform = np.full(len(task.cost), column)
        if task.bytes(uniform) <= budget:
            assert solved.predicted_loss <= float(task.loss(uniform)) * (1 + 1e-9) + 1e-15


def test_a_choice_of_group_sizes_pays() -> None:
    """Several group sizes are never worse than one; groups of 32 lose much less here."""
    options = grid_options(synthetic.BITS, (64, 32))
    ratios = []
    for seed in range(6):
        base = synthetic.profile(seed, units=10, width=32, group_size=64, anchors=False)
        rows = np.repeat(base.projections, 2, axis=-1) * np.array([1, 0.6] * 5, dtype=np.float32)
        ways = dataclasses.replace(base.settings, options=options)
        one = problem(base)
        several = problem(dataclasses.replace(base, projections=rows, settings=ways))
        for factor in (1.1, 1.3, 1.6):
            before, after = (solve(task, int(factor * one.smallest)) for task in (one, several))
            assert after.predicted_loss <= before.predicted_loss * (1 + 1e-9)
            ratios.append(after.predicted_loss / before.predicted_loss)
    assert np.mean(ratios) < 0.99


def test_uniform_maps_are_nearest_in_bytes() -> None:
    profile = synthetic.profile(2, units=8, width=32, **MIXED)
    name = profile.units[0].name
    task = problem(profile, Constraints(((name, 4),)), target="integer")
    stored = task.cost[0] / task.weights[0]
    for column, wanted in enumerate(task.menu):
        row = uniform_maps(task.search.program)[column]
        assert (row[1:] == column).all()
        assert task.menu[row[0]].bits == 4
        distance = np.abs(stored - stored[column])
        assert distance[row[0]] == distance[task.allowed[0]].min(), wanted.key


def test_a_target_of_another_family_is_refused_before_anything_is_solved() -> None:
    profile = load_profile(bundled_profiles() / "conformer-an4")
    assert "onnx" not in usable_targets(profile.menu, profile.source.family)
    assert "onnx" in usable_targets(profile.menu)
    with pytest.raises(ConstraintError, match=r"parakeet_ctc.*It is for: whisper"):
        problem(profile, target="onnx")


@pytest.mark.parametrize("target", TARGETS)
def test_bytes_by_layer_add_up_in_every_format(target: str) -> None:
    profile = synthetic.profile(
        3, units=9, width=32, group_size=(64, 32), rates=(2, 3), blocks=BLOCKS
    )
    form = TARGETS[target]
    task = problem(profile, target=target)
    solved = [solve(task, int(factor * task.smallest)) for factor in (1.05, 1.4)]
    maps = [bit_map(profile, allocation.options) for allocation in solved]
    kept = fixed_bytes(form, profile)
    for chosen in maps:
        rows = csv.DictReader(io.StringIO(bit_map_csv(profile, chosen, target)))
        size = predicted_bytes(form, profile, chosen.options)
        assert kept + sum(int(row["bytes"]) for row in rows) == size
    comparison = compare(profile, maps[0], maps[1], target)
    assert [comparison.left.bytes, comparison.right.bytes] == [
        predicted_bytes(form, profile, chosen.options) for chosen in maps
    ]
    difference = comparison.right.bytes - comparison.left.bytes
    assert difference == sum(change.bytes for change in comparison.changes)


def test_maps_that_a_format_cannot_hold_are_compared_in_native_bytes() -> None:
    profile = synthetic.profile(3, units=4, group_size=(64,), rates=(2, 3))
    coded, grid = bit_map(profile, ["2"] * 4), bit_map(profile, ["4/64"] * 4)
    comparison = compare(profile, coded, grid, "compressed-tensors")
    native = TARGETS["native"]
    assert comparison.left.bytes == predicted_bytes(native, profile, coded.options)
    assert comparison.right.bytes == predicted_bytes(native, profile, grid.options)
