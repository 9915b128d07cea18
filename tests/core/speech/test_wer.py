"""Word errors by hand, paired intervals, and alignments that rebuild both texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.speech.wer import (
    Errors,
    align,
    count_errors,
    normalize,
    paired_interval,
)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "words"),
    [
        ("the cat sat", "the cat sat", 0, 3),
        ("the cat sat", "The cat, sat!", 0, 3),
        ("the cat sat", "the bat sat", 1, 3),
        ("the cat sat", "the sat", 1, 3),
        ("the cat sat", "the black cat sat", 1, 3),
        ("the cat sat", "", 3, 3),
        ("", "the cat", 0, 0),  # nothing was said: counted apart
        ("", "", 0, 0),
        ("a b c d", "w x y z", 4, 4),
        ("uh the cat", "the cat", 0, 2),  # hesitations do not count
        ("it's colour", "it is color", 0, 3),
        ("[noise]", "anything", 0, 0),  # nothing is left of the reference
        ("twenty one cats", "21 cats", 0, 2),
    ],
)
def test_counts_by_hand(reference: str, hypothesis: str, errors: int, words: int) -> None:
    counts = count_errors([reference], [hypothesis])
    assert (counts.errors.tolist(), counts.words.tolist()) == ([errors], [words])


def test_rate_is_over_the_whole_set() -> None:
    counts = count_errors(["a b c d e f g h", "x y"], ["a b c d e f g h", "q y"])
    assert counts.errors.tolist() == [0, 1]
    assert counts.words.tolist() == [8, 2]
    assert counts.wer == pytest.approx(0.1)


def test_what_is_written_on_silence_is_counted_apart() -> None:
    """A word for "[noise]" would be an error rate without words; it enters no rate."""
    counts = count_errors(
        ["the cat sat", "", "[noise]", "..."], ["the cat", "thank you", "music plays on", "..."]
    )
    assert counts.on_silence.tolist() == [0, 2, 3, 0]
    assert counts.errors.tolist() == [1, 0, 0, 0]
    assert counts.wer == pytest.approx(1 / 3)


def test_more_insertions_than_words_go_past_one() -> None:
    assert count_errors(["cat"], ["a very long loop of cat"]).wer > 1


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="shorter"):
        count_errors(["a", "b"], ["a"])


words = st.lists(
    st.sampled_from(["red", "green", "blue", "apple", "pear", "stone", "river"]), max_size=8
)


def _levenshtein(left: list[str], right: list[str]) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


@settings(max_examples=80, deadline=None)
@given(words, words)
def test_errors_are_the_edit_distance(left: list[str], right: list[str]) -> None:
    counts = count_errors([" ".join(left)], [" ".join(right)])
    assert counts.errors[0] == (_levenshtein(left, right) if left else 0)
    assert counts.words[0] == len(left)
    assert counts.on_silence[0] == (0 if left else len(right))


@settings(max_examples=80, deadline=None)
@given(words, words)
def test_alignment_rebuilds_both_texts(left: list[str], right: list[str]) -> None:
    reference, hypothesis = " ".join(left), " ".join(right)
    spans = align(reference, hypothesis)
    assert " ".join(s.reference for s in spans if s.reference) == reference
    assert " ".join(s.hypothesis for s in spans if s.hypothesis) == hypothesis
    errors = 0
    for span in spans:
        expected, written = span.reference.split(), span.hypothesis.split()
        if span.kind == "equal":
            assert expected == written
        else:
            errors += max(len(expected), len(written))
        if span.kind == "substitute":
            assert len(expected) == len(written) > 0
        if span.kind == "delete":
            assert expected
            assert not written
        if span.kind == "insert":
            assert written
            assert not expected
    assert errors == _levenshtein(left, right)


@settings(max_examples=120, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_can_be_aligned_and_counted(reference: str, hypothesis: str) -> None:
    """A model may write anything: joiners, other scripts, control characters."""
    spans = align(reference, hypothesis)
    for side, text in (("reference", reference), ("hypothesis", hypothesis)):
        rebuilt = " ".join(getattr(s, side) for s in spans if getattr(s, side))
        assert rebuilt.split() == normalize(text).split()
    counts = count_errors([reference], [hypothesis])
    assert counts.words[0] == len(normalize(reference).split())
    assert 0 <= counts.errors[0] <= counts.words[0] + len(normalize(hypothesis).split())


def _errors(errors: np.ndarray, words: np.ndarray) -> Errors:
    return Errors(errors.astype(np.int64), words.astype(np.int64), np.zeros(len(words), np.int64))


def test_interval_is_zero_for_equal_errors() -> None:
    rng = np.random.default_rng(0)
    same = _errors(rng.integers(0, 5, size=30), rng.integers(5, 20, size=30))
    assert paired_interval(same, same) == (0.0, 0.0)


def test_interval_of_a_constant_increase_is_a_point() -> None:
    words = np.full(20, 10)
    full = _errors(np.arange(20) % 4, words)
    worse = _errors(full.errors + 1, words)
    assert paired_interval(full, worse) == pytest.approx((0.1, 0.1))
    assert paired_interval(worse, full) == pytest.approx((-0.1, -0.1))


def test_interval_holds_the_increase_itself_and_repeats() -> None:
    rng = np.random.default_rng(1)
    words = rng.integers(5, 30, size=60)
    full = _errors(rng.binomial(words, 0.05), words)
    worse = _errors(rng.binomial(words, 0.09), words)
    low, high = paired_interval(full, worse)
    assert low < worse.wer - full.wer < high
    assert paired_interval(full, worse) == (low, high)
    wide = paired_interval(full, worse, level=0.99)
    assert wide[0] < low < high < wide[1]
    other = paired_interval(full, worse, seed=1)
    assert other == pytest.approx((low, high), abs=0.005)


def test_interval_covers_the_truth_about_as_often_as_stated() -> None:
    rng = np.random.default_rng(2)
    covered = []
    for seed in range(60):
        words = rng.integers(8, 25, size=60)
        shared = rng.binomial(words, 0.05)
        worse = shared + rng.binomial(words, 0.03)
        low, high = paired_interval(_errors(shared, words), _errors(worse, words), seed=seed)
        covered.append(low <= 0.03 <= high)
    assert 0.85 <= np.mean(covered) <= 1.0


def test_pairing_is_narrower_than_not() -> None:
    """Errors that both models make cancel, however hard the utterances are."""
    rng = np.random.default_rng(3)
    words = np.full(80, 12)
    hard = rng.integers(0, 12, size=80)
    full, worse = _errors(hard, words), _errors(np.minimum(hard + (hard % 7 == 0), 12), words)
    low, high = paired_interval(full, worse)
    low_shuffled, high_shuffled = paired_interval(full, _errors(worse.errors[::-1], words))
    assert high - low < 0.5 * (high_shuffled - low_shuffled)


def test_interval_of_one_utterance_and_of_no_words() -> None:
    full = _errors(np.array([1]), np.array([10]))
    more = _errors(np.array([3]), np.array([10]))
    assert paired_interval(full, more) == pytest.approx((0.2, 0.2))
    nothing = _errors(np.array([0, 0]), np.array([0, 0]))
    assert paired_interval(nothing, nothing) == (0.0, 0.0)
