"""The time left, at the pace so far."""

from __future__ import annotations

import pytest

from genptq_core.progress import Progress, TimeLeft, duration


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _said(clock: _Clock, steps: list[tuple[float, Progress]]) -> list[float | None]:
    left = TimeLeft(clock)
    found = []
    for after, progress in steps:
        clock.now += after
        found.append(left.seconds(progress))
    return found


def test_a_stage_ends_at_its_pace() -> None:
    steps = [(0, 0), (1, 1), (9, 10), (30, 40), (60, 100)]
    found = _said(_Clock(), [(after, Progress("x", done, 100)) for after, done in steps])
    assert found == [None, None, 90, 60, 0]


def test_what_was_there_already_is_no_pace() -> None:
    steps = [(0, Progress("x", 50, 100)), (10, Progress("x", 60, 100))]
    assert _said(_Clock(), steps) == [None, 40]


def test_another_stage_starts_anew() -> None:
    steps = [(0, Progress("x", 0, 2)), (50, Progress("x", 2, 2)), (1, Progress("y", 0, 10))]
    assert _said(_Clock(), [*steps, (10, Progress("y", 5, 10))]) == [None, 0, None, 10]


def test_later_parts_take_as_long() -> None:
    def at(part: int, stage: str, done: int) -> Progress:
        return Progress(f"map {part + 1}, {stage}", done, 10, part, 4)

    steps = [
        (0, at(0, "rounding", 0)),
        (20, at(0, "measuring", 0)),
        (10, at(0, "measuring", 5)),  # 10 s left of this map, which takes 40
        (10, at(1, "rounding", 0)),  # the first took 40 s
        (5, at(1, "rounding", 5)),
    ]
    found = _said(_Clock(), steps)
    assert found == [None, None, 10 + 3 * 40, 40 + 2 * 40, 5 + 2 * 40]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "5 s"), (62, "60 s"), (100, "2 min"), (3700, "62 min"), (7500, "2 h 5 min")],
)
def test_durations_are_no_finer_than_they_are_known(seconds: float, words: str) -> None:
    assert duration(seconds) == words
