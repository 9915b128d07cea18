"""Demands as lines of text."""

from __future__ import annotations

import pytest

from dashboard.page import demands
from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.errors import ConstraintError
from genptq_core.options import Option
from genptq_core.profile import Profile


@pytest.mark.parametrize(
    ("text", "pins"),
    [
        ("", ()),
        ("*fc1* = 4", (("*fc1*", 4),)),
        ("a=2; b = 16  # note\n\n", (("a", 2), ("b", 16))),
        ("a = 2.25\nb=4/8", (("a", 2.25), ("b", Option(4, 8)))),
    ],
)
def test_pins_are_read(text: str, pins: tuple[tuple[str, float | Option], ...]) -> None:
    assert demands.constrain(demands.parse(text), Constraints()).pins == pins


def test_every_kind_is_read_and_written_back() -> None:
    text = "*fc1* = 4\n*enc* >= 3\n*enc* <= 6\ntie block:*attn*\ndecoder <= 3.5 MB"
    parsed = demands.parse(text)
    assert [d.kind for d in parsed] == list(demands.KINDS)
    assert demands.write(parsed) == text
    limits = demands.constrain(parsed, Constraints(min_bits=2))
    assert limits == Constraints(
        pins=(("*fc1*", 4),),
        min_bits=2,
        limits=(("*enc*", 3, None), ("*enc*", None, 6)),
        ties=("block:*attn*",),
        budgets=(("decoder", 3_500_000),),
    )


_BAD = ("foo", "= 4", "a =", "a = four", "a = -2", "a = ٤", "a = 123", "a = 4/", "a >= 4/64")


@pytest.mark.parametrize("text", [*_BAD, "tie ", "nobody <= 3 MB", "a < 3"])
def test_bad_lines_are_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ConstraintError) as caught:
        demands.parse(text)
    assert caught.value.hint


def test_a_lock_replaces_what_was_asked_of_that_layer(profile: Profile) -> None:
    unit, other = profile.units[2], profile.units[3]
    text = demands.lock("* >= 3", unit, Option(4, 8))
    text = demands.lock(text, other, Option(8, 8))
    text = demands.lock(text, unit, Option(3, 8))
    task = problem(profile, demands.constrain(demands.parse(text), Constraints()))
    options = solve(task, 3 * task.smallest).options
    assert (options[2], options[3]) == (Option(3, 8), Option(8, 8))
    assert min(options).bits >= 3
    assert demands.bound_units(profile, demands.parse(text)) == frozenset(range(24))
    assert demands.free(demands.free(text, unit), other) == "* >= 3"


def test_ties_on_offer_tie_the_layer_to_others(profile: Profile) -> None:
    offered = 0
    for index, unit in enumerate(profile.units):
        for words, tie in demands.tie_choices(unit, profile.units).items():
            text = demands.tie("", tie)
            task = problem(profile, demands.constrain(demands.parse(text), Constraints()))
            assert (task.group == task.group[index]).sum() > 1, words
            offered += 1
    assert offered
