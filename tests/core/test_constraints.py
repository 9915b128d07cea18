"""Constraints: globs, bounds, order of pins, and clear refusals."""

from __future__ import annotations

import fnmatch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.constraints import Constraints, allowed_options
from genptq_core.errors import ConstraintError, GenPTQError
from tests.core import synthetic

PROFILE = synthetic.profile(0, units=12)
MENU = np.array(PROFILE.menu)


def test_nothing_is_closed_without_constraints() -> None:
    assert allowed_options(PROFILE, Constraints()).all()


@given(st.integers(0, 20), st.integers(0, 20))
def test_bounds_are_inclusive(least: int, most: int) -> None:
    allowed = allowed_options(PROFILE, Constraints(min_bits=least, max_bits=most))
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
    allowed = allowed_options(PROFILE, Constraints(((glob, 4),)))
    matched = [fnmatch.fnmatchcase(unit.name, glob) for unit in PROFILE.units]
    assert any(matched)
    for row, hit in zip(allowed, matched, strict=True):
        np.testing.assert_array_equal(row, MENU == 4 if hit else np.ones(len(MENU), bool))


def test_later_pins_win_and_pins_win_over_bounds() -> None:
    last = PROFILE.units[-1].name
    limits = Constraints((("*", 4), (last, 2)), min_bits=3)
    allowed = allowed_options(PROFILE, limits)
    assert MENU[allowed[-1]].tolist() == [2]
    assert MENU[allowed[0]].tolist() == [4]
    reverse = allowed_options(PROFILE, Constraints(((last, 2), ("*", 4))))
    assert MENU[reverse[-1]].tolist() == [4]


def test_a_unit_may_be_pinned_to_stay_as_it_is() -> None:
    allowed = allowed_options(PROFILE, Constraints((("*embed_tokens*", 16),)))
    assert MENU[allowed[-1]].tolist() == [16]


@pytest.mark.parametrize("glob", ["encoder", "", "*.FC1.*", "*nothing*"])
def test_a_pin_that_matches_nothing_is_refused(glob: str) -> None:
    with pytest.raises(ConstraintError, match="matches no layer") as caught:
        allowed_options(PROFILE, Constraints(((glob, 4),)))
    assert repr(glob) in caught.value.message
    assert PROFILE.units[0].name in caught.value.hint
    assert isinstance(caught.value, GenPTQError)


@pytest.mark.parametrize("bits", [0, -1, 5, 7, 17, 10**9])
def test_a_pin_to_an_unknown_width_is_refused(bits: int) -> None:
    with pytest.raises(ConstraintError, match=f"to {bits} bits") as caught:
        allowed_options(PROFILE, Constraints((("*", bits),)))
    assert "2, 3, 4, 6, 8, 16" in caught.value.hint


def test_a_name_with_glob_characters_matches_only_by_its_pattern() -> None:
    with pytest.raises(ConstraintError):
        allowed_options(PROFILE, Constraints((("[abc]", 4),)))
