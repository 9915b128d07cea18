"""Progress of long computations, reported while they run, and the time that they still take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_GUESS = 2.0  # seconds at the start of a stage in which nothing is said of its end


@dataclass(frozen=True)
class Progress:
    """How far a long computation has come: `done` of `total` steps of a named stage.

    Attributes:
        stage: what is being done.
        done, total: steps of it.
        part, parts: which of several like parts, such as maps, this stage belongs to, from 0.
    """

    stage: str
    done: int
    total: int
    part: int = 0
    parts: int = 1


Report = Callable[[Progress], None]
"""Called with each step of a computation's progress."""


def silent(progress: Progress) -> None:
    """Report nothing."""


class TimeLeft:
    """Guesses from what was reported so far how long the rest takes, at the same pace.

    Args:
        clock: the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = 0.0  # the first part that was seen
        self._first_part = self._part = 0
        self._part_began = 0.0
        self._stage = ""
        self._stage_began = 0.0
        self._latest = self._already = 0

    def seconds(self, at: Progress) -> float | None:
        """Seconds left of this stage and of the parts after this one; None while that is a guess.

        Args:
            at: what was just reported; to be called with every report.
        """
        now = self._clock()
        is_new = at.stage != self._stage or at.done < self._latest
        if not self._stage or at.part < self._part or (at.parts == 1 and is_new):
            self._began, self._first_part = now, at.part
            self._part_began = now
        elif at.part != self._part:
            self._part_began = now
        if is_new:
            self._stage, self._stage_began, self._already = at.stage, now, at.done
        self._latest, self._part = at.done, at.part
        worked, gone = at.done - self._already, now - self._stage_began
        of_stage = (at.total - at.done) * gone / worked if worked > 0 else None
        behind = at.part - self._first_part
        if at.parts == 1 or not behind:
            if of_stage is None or gone < _GUESS:
                return None
            of_part = now - self._part_began + of_stage
            return of_stage + of_part * (at.parts - at.part - 1)
        each = (self._part_began - self._began) / behind
        of_this = max(each - (now - self._part_began), 0.0) if of_stage is None else of_stage
        return of_this + each * (at.parts - at.part - 1)


def duration(seconds: float) -> str:
    """A guess at a duration in words, no finer than it is known."""
    if seconds < 90:
        return f"{max(5 * round(seconds / 5), 5)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"
