"""Recordings of any length, read window by window: what was read and passed is dropped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import decoding
from .decoding import LONGEST
from .utterances import Utterance, duration


def is_long(recording: Utterance) -> bool:
    """Whether a recording is too long to be taken at once.

    Raises:
        SpeechError: the file is not audio.
    """
    return duration(recording) > LONGEST


class LongAudio:
    """A recording whose samples are read forwards, each window from where the last one began or
    later, so that no more than a window and a block of it are in memory.

    Args:
        recording: of any length.
    """

    def __init__(self, recording: Utterance) -> None:
        self._pieces: Iterator[np.ndarray] = decoding.stream(recording.audio)
        self._held = np.zeros(0, dtype=np.float32)
        self._start = 0  # of what is held, in samples of the recording

    def read(self, start: int, count: int) -> np.ndarray:
        """Samples from `start` on, shape (n,), float32; fewer than `count` where it ends.

        Raises:
            SpeechError: the recording cannot be decoded that far.
            ValueError: `start` is before that of an earlier window.
        """
        if start < self._start:
            raise ValueError("a window begins before the one that was read last")
        self._fill(start + count)
        self._held = self._held[start - self._start :]
        self._start = start
        return self._held[:count]

    def reaches(self, stop: int) -> bool:
        """Whether it has so many samples; none are passed.

        Raises:
            SpeechError: the recording cannot be decoded that far.
        """
        return self._fill(stop) >= stop

    def _fill(self, stop: int) -> int:
        """Hold what there is up to a sample; returns to where it is held."""
        parts, reached = [self._held], self._start + len(self._held)
        while reached < stop and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            reached += len(piece)
        if len(parts) > 1:
            self._held = np.concatenate(parts)
        return reached
