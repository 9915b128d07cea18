"""Loops and early stops, told by runs of words."""

from __future__ import annotations

import numpy as np

from genptq_core.speech.runaways import find_runaways


def _told(said: list[str], heard: list[str], normalizer: str = "basic") -> tuple[list[int], ...]:
    found = find_runaways(said, heard, normalizer)
    assert found.loops.shape == found.stops.shape == (len(said),)
    assert (found.either == (found.loops | found.stops)).all()
    return found.loops.nonzero()[0].tolist(), found.stops.nonzero()[0].tolist()


def test_runs_of_eight_words_are_runaways() -> None:
    said = ["a b c d"] * 4 + ["a b c d e f g h i j k"] * 2
    heard = ["a b c d", "a b c d" + " d" * 7, "a b c d" + " d" * 8, "", "a b c", "k " * 11]
    assert _told(said, heard) == ([2], [4])


def test_what_is_far_too_long_loops_though_no_run_was_added() -> None:
    said = ["a b c d e f g h", ""]
    assert _told(said, [" x ".join("abcdefgh") + " x" * 3, "x " * 7]) == ([], [])
    longer = " x x ".join("abcdefgh") + " x x x x x"
    assert _told(said, [longer, "x " * 8]) == ([0, 1], [])


def test_characters_have_longer_runs() -> None:
    said = ["今天天气很好我们一起出去散步吧你觉得怎么样呢"]
    assert _told(said, [said[0][:8]], "multilingual-characters") == ([], [])
    assert _told(said, [said[0][:4]], "multilingual-characters") == ([], [0])
    assert _told(said, [said[0] + "好" * 15], "multilingual-characters") == ([], [])
    assert _told(said, [said[0] + "好" * 16], "multilingual-characters") == ([0], [])


def test_no_utterances() -> None:
    assert find_runaways([], []).either.dtype == np.bool_
    assert _told([], []) == ([], [])
