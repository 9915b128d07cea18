"""Constraints: globs, bounds, order of pins, and clear refusals."""

from __future__ import annotations

import fnmatch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.allocation.constraints import (
    LONGEST_GLOB,
    MANY,
    Constraints,
    allowed_options,
    matching,
    part_members,
    tied_groups,
)
from genptq_core.errors import ConstraintError, GenPTQError
from genptq_core.options import Option
from tests.core import synthetic

PROFILE = synthetic.profile(0, units=12)
MENU = np.array([option.bits for option in PROFILE.menu])


def test_nothing_is_closed_without_constraints() -> None:
    assert allowed_options(PROFILE, PROFILE.menu, Constraints()).all()


@given(st.integers(0, 20), st.integers(0, 20))
def test_bounds_are_inclusive(least: int, most: int) -> None:
    allowed = allowed_options(PROFILE, PROFILE.menu, Constraints(min_bits=least, max_bits=most))
    for row in allowed:
        np.testing.assert_array_equal(row, (least <= MENU) & (most >= MENU))


@pytest.mark.parametrize(
    "glob",
    [
        "*",
        "*encoder*",
        "*.fc1.weight",
        "*@0:*",
        "model.decoder.layers.0.*",
        "*layers.[0-1].*_proj*",
    ],
)
def test_a_pin_closes_every_other_width_of_what_it_matches(glob: str) -> None:
    allowed = allowed_options(PROFILE, PROFILE.menu, Constraints(((glob, 4),)))
    matched = [fnmatch.fnmatchcase(unit.name, glob) for unit in PROFILE.units]
    assert any(matched)
    for row, hit in zip(allowed, matched, strict=True):
        np.testing.assert_array_equal(row, MENU == 4 if hit else np.ones(len(MENU), bool))


def test_later_pins_win_and_pins_win_over_bounds() -> None:
    last = PROFILE.units[-1].name
    limits = Constraints((("*", 4), (last, 2)), min_bits=3)
    allowed = allowed_options(PROFILE, PROFILE.menu, limits)
    assert MENU[allowed[-1]].tolist() == [2]
    assert MENU[allowed[0]].tolist() == [4]
    reverse = allowed_options(PROFILE, PROFILE.menu, Constraints(((last, 2), ("*", 4))))
    assert MENU[reverse[-1]].tolist() == [4]


def test_a_unit_may_be_pinned_to_stay_as_it_is() -> None:
    allowed = allowed_options(PROFILE, PROFILE.menu, Constraints((("*embed_tokens*", 16),)))
    assert MENU[allowed[-1]].tolist() == [16]


@pytest.mark.parametrize("glob", ["encoder", "", "*.FC1.*", "*nothing*"])
def test_a_pin_that_matches_nothing_is_refused(glob: str) -> None:
    with pytest.raises(ConstraintError, match="matches no layer") as caught:
        allowed_options(PROFILE, PROFILE.menu, Constraints(((glob, 4),)))
    assert repr(glob) in caught.value.message
    assert PROFILE.units[0].name in caught.value.hint
    assert isinstance(caught.value, GenPTQError)


@pytest.mark.parametrize("bits", [0, -1, 5, 7, 17, 10**9])
def test_a_pin_to_an_unknown_width_is_refused(bits: int) -> None:
    with pytest.raises(ConstraintError, match=f"to {bits} bits") as caught:
        allowed_options(PROFILE, PROFILE.menu, Constraints((("*", bits),)))
    assert "2/8, 3/8, 4/8, 6/8, 8/8, 16" in caught.value.hint


def test_a_name_with_glob_characters_matches_only_by_its_pattern() -> None:
    with pytest.raises(ConstraintError):
        allowed_options(PROFILE, PROFILE.menu, Constraints((("[abc]", 4),)))


MIXED = synthetic.profile(0, units=4, group_size=(64, 8), rates=(2.25, 3))


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (3, ["3/64", "3/8", "3"]),
        (3.0, ["3/64", "3/8", "3"]),
        (2.25, ["2.25"]),
        (Option(3, 8), ["3/8"]),
        (Option(3), ["3"]),
        (16, ["16"]),
    ],
)
def test_a_pin_to_a_width_leaves_all_of_it_open(wanted: float | Option, keys: list[str]) -> None:
    allowed = allowed_options(MIXED, MIXED.menu, Constraints((("*k_proj*", 2), ("*", wanted))))
    for row in allowed:
        assert [o.key for o, open_ in zip(MIXED.menu, row, strict=True) if open_] == keys


def test_fractional_bounds() -> None:
    allowed = allowed_options(MIXED, MIXED.menu, Constraints(min_bits=2.25, max_bits=3))
    found = {option.key for option, open_ in zip(MIXED.menu, allowed[0], strict=True) if open_}
    assert found == {"2.25", "3", "3/64", "3/8"}


@pytest.mark.parametrize("wanted", [Option(3, 16), Option(2), Option(2.5), 2.5])
def test_a_pin_to_an_option_that_is_not_there_is_refused(wanted: float | Option) -> None:
    with pytest.raises(ConstraintError, match="no such width") as caught:
        allowed_options(MIXED, MIXED.menu, Constraints((("*", wanted),)))
    assert "3/64, 3/8" in caught.value.hint


def test_only_the_menu_given_is_open() -> None:
    grids = MIXED.menu[:4]
    assert allowed_options(MIXED, grids, Constraints()).shape == (4, 4)
    with pytest.raises(ConstraintError, match=r"to 2\.25 bits"):
        allowed_options(MIXED, grids, Constraints((("*", 2.25),)))


def test_limits_by_name_close_what_they_match() -> None:
    limits = Constraints(limits=(("*fc*", 3, None), ("*@*", None, 4)))
    allowed = allowed_options(PROFILE, PROFILE.menu, limits)
    for unit, row in zip(PROFILE.units, allowed, strict=True):
        expected = np.ones(len(MENU), bool)
        if "fc" in unit.name:
            expected &= MENU >= 3
        if "@" in unit.name:
            expected &= MENU <= 4
        np.testing.assert_array_equal(row, expected)
    with pytest.raises(ConstraintError, match="matches no layer"):
        allowed_options(PROFILE, PROFILE.menu, Constraints(limits=(("nothing", 3, None),)))


def test_ties_group_what_they_match_and_ties_that_share_a_unit_become_one() -> None:
    units = PROFILE.units
    assert tied_groups(units, ()).tolist() == list(range(len(units)))
    group = tied_groups(units, ("*fc*",))
    feed = [i for i, u in enumerate(units) if "fc" in u.name]
    assert len(set(group[feed])) == 1
    assert len(set(group)) == len(units) - len(feed) + 1
    keys = [i for i, u in enumerate(units) if "k_proj" in u.name]
    values = [i for i, u in enumerate(units) if "v_proj" in u.name]
    apart = tied_groups(units, ("*k_proj*", "*v_proj*"))
    assert {apart[i] for i in keys}.isdisjoint(apart[i] for i in values)
    joined = tied_groups(units, ("*k_proj*", "*v_proj*", "*encoder.layers.0.self_attn.[kv]_proj*"))
    assert len({joined[i] for i in keys + values}) == 1
    with pytest.raises(ConstraintError, match="tie 'nothing' matches no layer"):
        tied_groups(units, ("nothing",))


def test_ties_by_block_stay_within_it() -> None:
    units = synthetic.profile(0, units=24).units
    group = tied_groups(units, ("block:*self_attn*",))
    for i, one in enumerate(units):
        for j, other in enumerate(units):
            alike = "self_attn" in one.name and "self_attn" in other.name
            alike &= (one.part, one.block) == (other.part, other.block)
            assert (group[i] == group[j]) == (alike or i == j)


def test_what_a_format_stores_alike_is_tied() -> None:
    units = synthetic.profile(0, units=12).units
    rows = tied_groups(units, (), "parameter")
    for i, one in enumerate(units):
        assert [rows[i] == rows[j] for j in range(12)] == [
            one.parameter == other.parameter for other in units
        ]
    assert set(tied_groups(units, (), "model").tolist()) == {0}


@pytest.mark.parametrize("parts", [(("lips", 5),), (("encoder", 5), ("encoder", 6))])
def test_budgets_of_no_part_or_twice_are_refused(parts: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(ConstraintError, match=r"no part|two budgets"):
        part_members(PROFILE.units, parts)


def test_a_pattern_of_any_length_is_read_or_refused_soon() -> None:
    assert matching(PROFILE.units, "*" * LONGEST_GLOB, "pin") == list(range(12))
    for glob in ("[" * 100_000, "*a" * 100_000, "x" * 100_000):
        with pytest.raises(ConstraintError, match="characters, and 500 are the most") as caught:
            matching(PROFILE.units, glob, "pin")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("most", [-1, 10**15, 2**63, 10**400, 10**5000], ids=range(5))
def test_a_budget_that_is_no_size_is_refused(most: int) -> None:
    with pytest.raises(ConstraintError, match="part 'decoder' is no size"):
        part_members(PROFILE.units, [("decoder", most)])


def test_many_demands_are_not_taken_out_one_by_one() -> None:
    pins, ties = (("*", 4),) * (MANY - 1), ("*",)
    assert len(list(Constraints(pins, ties=ties).without_each())) == MANY
    assert not list(Constraints(pins, ties=ties * 2).without_each())
