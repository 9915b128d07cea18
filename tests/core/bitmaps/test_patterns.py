"""Patterns match as Python's do, in linear time, or are refused."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from genptq_core.bitmaps.patterns import LONGEST, Pattern, is_pattern

pieces = st.sampled_from(
    [
        *("a", "b", ".", ".*", "a+", "(a|b)*", "[ab]", "[^a]", "[a-c-]", r"\.", "^", "$", "b?"),
        *("(?:ab|c)+", r"\d", r"\w", "c*?", "(a+)+", "(^a|b$)", "()", "1"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(pieces, max_size=6).map("".join), st.text("abc.1", max_size=8))
def test_it_matches_what_python_s_matches(text: str, name: str) -> None:
    try:
        expected = re.search(text, name) is not None
    except re.error:
        assume(False)
    assert Pattern(text).matches(name) is expected


def test_what_takes_others_forever_is_quick() -> None:
    start = time.process_time()
    for text in ("(a+)+b", "(a|a)*b", "(.*a)*b", ".*.*.*.*.*b"):
        assert not Pattern(text).matches("a" * 2000)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a{2}", "repeats with"),
        ("(?=a)", r"group with \(\?"),
        ("(?P<n>a)", r"group with \(\?"),
        (r"\b", r"it has \\b"),
        (r"(a)\1", r"it has \\1"),
        ("a\\", "it has"),
        ("*a", r"nothing stands before \*"),
        ("a**", r"nothing stands before \*"),
        ("[a", r"a \[ is not closed"),
        ("(a", r"a \( is not closed"),
        ("a)", r"a \) closes nothing"),
        ("[b-a]", "bad character range"),
        ("a" * (LONGEST + 1), "257 characters"),
        ("(" * LONGEST, "not closed"),
    ],
)
def test_what_is_not_known_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pattern(text)


def test_names_of_modules_are_no_patterns() -> None:
    assert not is_pattern("model.encoder.layers.0.self_attn.k_proj")
    assert all(map(is_pattern, [".*fc1", "fc1$", "^fc", "fc[12]", "(a|b)", r"a\.b", "a+"]))
