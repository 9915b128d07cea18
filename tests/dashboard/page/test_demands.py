"""Demands as lines of text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ("99999999999999999999", "Line 1 gives the decoder 99999999999999999999 MB"),
        ("9" * 400, "as its budget"),
        ("0", "Line 1 gives the decoder 0 MB as its budget"),
        ("0.000", "more than 0"),
        ("1000000000", "less than 1,000,000,000 MB"),
        ("1e400", "gives '1e400 MB' as its bits"),
        ("nan", "gives 'nan MB' as its bits"),
        ("inf", "gives 'inf MB' as its bits"),
        ("-1", "gives '-1 MB' as its bits"),
        ("٣", "gives '٣ MB' as its bits"),
    ],
)
def test_a_budget_that_is_no_size_is_refused_by_name(size: str, sentence: str) -> None:
    with pytest.raises(ConstraintError, match=sentence):
        demands.parse(f"decoder <= {size} MB")


@pytest.mark.parametrize(
    "text",
    [
        "a" + " " * 16_000,
        "a" + " " * 16_000 + "= 4 =",
        "a <= " + "9" * 16_000,
        "a <= 3" + " " * 16_000 + "MBx",
        "[" * 16_000 + " = 4",
        "tie " + "[" * 16_000,
        "[" * 590 + " = 4",
        "*a" * 290 + "*b = 4",
        "* = 4;" * 2_000,
        "x" * 10_000_000,
        "; " * 10_000_000,
        " = 4;" * 15_000,
    ],
    ids=lambda text: f"{text[:12]} {len(text)}",
)
def test_a_long_text_is_refused_in_linear_time(profile: Profile, text: str) -> None:
    started = time.process_time()
    with pytest.raises(ConstraintError) as caught:
        demands.bound_units(profile, demands.parse(text))
    assert time.process_time() - started < 5
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("line", ["*f* = 4", "* >= 3", "* <= 8", "tie block:*", "tie *f*"])
def test_as_many_demands_as_are_taken_are_read_at_once(profile: Profile, line: str) -> None:
    text = f"{line}\n" * demands.MOST_LINES
    started = time.process_time()
    assert problem(profile, demands.constrain(demands.parse(text), Constraints())).smallest
    assert time.process_time() - started < 50


@given(st.text(alphabet="ab*[]=<>;# \t\n./0123456789MBtie:\x85\u2028é") | st.text())
def test_any_text_is_demands_or_a_sentence(text: str) -> None:
    try:
        parsed = demands.parse(text)
    except ConstraintError as error:
        assert error.hint
        return
    assert set(demands.parse(demands.write(parsed))) <= set(parsed)


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
