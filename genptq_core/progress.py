"""Progress of long computations, reported while they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a long computation has come: `done` of `total` steps of a named stage."""

    stage: str
    done: int
    total: int


Report = Callable[[Progress], None]
"""Called with each step of a computation's progress."""


def silent(progress: Progress) -> None:
    """Report nothing."""
