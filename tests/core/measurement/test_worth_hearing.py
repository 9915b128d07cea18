"""Which recordings are worth hearing first."""

from __future__ import annotations

from genptq_core.measurement.worth_hearing import worth_hearing
from tests.core import synthetic

SAID = {"a": "red green blue", "b": "bread and milk", "c": "winter is long", "d": "dogs"}


def test_newly_wrong_comes_first() -> None:
    record = synthetic.measured(
        synthetic.profile(1),
        4,
        transcripts=[
            ("a", "red green blue", "red green blue"),
            ("b", "bread x milk", "x x x"),
            ("c", "Winter, is long.", "winter is x"),
            ("d", "docks", "dogs"),
            ("unknown", "x", "y"),
        ],
    )
    found = worth_hearing(record, SAID)
    assert [h.audio for h in found] == ["c", "b", "a", "d"]
    assert [(h.full_errors, h.picked_errors) for h in found] == [(0, 1), (1, 3), (0, 0), (1, 0)]
    assert [h.newly_wrong for h in found] == [True, False, False, False]
    assert found[0].reference == SAID["c"]


def test_words_on_silence_are_worth_hearing() -> None:
    said = {"a": "red", "b": "[noise]"}
    transcripts = [("a", "red", "red"), ("b", "", "thank you")]
    record = synthetic.measured(synthetic.profile(1), 4, transcripts=transcripts)
    (first, _) = worth_hearing(record, said)
    assert (first.audio, first.full_errors, first.picked_errors) == ("b", 0, 2)
    assert first.newly_wrong


def test_without_transcripts_there_is_nothing() -> None:
    assert worth_hearing(synthetic.measured(synthetic.profile(1), 4), SAID) == []
