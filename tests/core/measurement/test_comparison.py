"""Two maps side by side."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.figures import figures_of
from genptq_core.measurement.comparison import compare, wer_difference
from genptq_core.measurement.records import Measured
from genptq_core.options import Option
from genptq_core.targets import TARGETS, predicted_bytes
from tests.core import synthetic

SAID = {f"audio {i}": "the quick brown fox jumps over the lazy dog" for i in range(30)}


def _record(widths: int, wrong: int) -> Measured:
    """Of 30 utterances, `wrong` have one word replaced."""
    profile = synthetic.profile(2)
    heard = [
        (audio, text, text.replace("fox", "box") if i < wrong else text)
        for i, (audio, text) in enumerate(SAID.items())
    ]
    record = synthetic.measured(profile, widths, transcripts=heard)
    return dataclasses.replace(record, utterances=30, wer=wrong / 270)


def test_widths_bytes_and_layers() -> None:
    profile = synthetic.profile(2)
    left = bit_map(profile, [4] * 8)
    right = bit_map(profile, [4, 3, 4, 6, 4, 4, 4, 3])
    found = compare(profile, left, right)
    assert found.left == figures_of(profile, left)
    assert found.widths == (3, 4, 6)
    assert found.units.tolist() == [[0, 0, 0], [2, 5, 1], [0, 0, 0]]
    assert found.weights.sum() == sum(unit.weights for unit in profile.units)
    assert sorted(change.unit for change in found.changes) == [1, 3, 7]
    assert found.right.bytes - found.left.bytes == sum(c.bytes for c in found.changes)
    steps = [abs(change.loss) for change in found.changes]
    assert steps == sorted(steps, reverse=True)
    for change in found.changes:
        alone = list(left.options)
        alone[change.unit] = change.right
        loss = figures_of(profile, bit_map(profile, alone)).predicted_loss
        assert change.loss == pytest.approx(loss - found.left.predicted_loss)
        assert np.sign(change.bytes) == np.sign(change.right.bits - change.left.bits)


def test_a_map_does_not_differ_from_itself() -> None:
    profile = synthetic.profile(2)
    same = bit_map(profile, [4] * 8)
    assert compare(profile, same, same).changes == ()


def test_bytes_are_those_of_the_target_that_holds_the_map() -> None:
    profile = synthetic.profile(2, width=64, group_size=(64,), rates=(2.25,))
    form = TARGETS["compressed-tensors"]
    held = ["4/64" if form.holds(unit, Option(4, 64)) else "16" for unit in profile.units]
    left, right = bit_map(profile, held), bit_map(profile, ["2.25", *held[1:]])
    found, native = (compare(profile, left, right, name) for name in (form.name, None))
    assert found.left.bytes == predicted_bytes(form, profile, left.options) != native.left.bytes
    assert found.right == native.right  # that format cannot hold its code
    assert found.left.predicted_loss == native.left.predicted_loss


def test_errors_are_compared_in_pairs() -> None:
    # Wrong on the same utterances: two independent intervals would overlap, pairs are told apart.
    found = wer_difference(_record(4, 8), _record(3, 16), SAID)
    assert found.difference == pytest.approx(8 / 270)
    assert found.ci95 is not None and 0 < found.ci95[0] < found.difference < found.ci95[1]
    assert found.significant
    assert wer_difference(_record(4, 8), _record(3, 9), SAID).significant is False
    other = wer_difference(_record(3, 16), _record(4, 8), SAID)
    assert other.significant and other.ci95 is not None and other.ci95[1] < 0


def test_without_texts_there_is_no_interval() -> None:
    found = wer_difference(_record(4, 8), _record(3, 16), {})
    assert found.ci95 is None and found.significant is None
    assert found.difference == pytest.approx(8 / 270)


def test_other_speech_is_refused() -> None:
    profile = synthetic.profile(2)
    other = synthetic.measured(profile, 4, speech="other")
    with pytest.raises(ValueError, match="different speech"):
        wer_difference(_record(4, 1), other, SAID)
