"""Who goes first: work in the background waits while somebody's answer is computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

CALM = 0.3
"""Seconds after an answer in which the rest of the page follows, or another is asked for."""

LONGEST = 2.0
"""Seconds that a piece of background work waits at most."""


class Turns:
    """Answers of all sessions, and work that waits for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._answering = 0
        self._calm = 0.0  # the moment from which background work may go on

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While an answer is computed."""
        with self._changed:
            self._answering += 1
        try:
            yield
        finally:
            with self._changed:
                self._answering -= 1
                self._calm = time.monotonic() + CALM
                self._changed.notify_all()

    def wait(self) -> None:
        """Let answers pass; returns at once where none is computed, nor was just now.

        Background work is not put off for ever: after `LONGEST`, it has its turn.
        """
        end = time.monotonic() + LONGEST
        with self._changed:
            while time.monotonic() < end and (self._answering or time.monotonic() < self._calm):
                self._changed.wait(CALM)
