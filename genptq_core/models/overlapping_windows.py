"""Windows of a long recording as a CTC model hears them: they overlap, and frames are joined.

A CTC model's attention grows with the square of a recording's length: at 20 ms a frame, a layer of
16 heads takes 0.1 GB for 30 s and 14 GB for five minutes; and it was trained on utterances of tens
of seconds. So what is longer than 30 s is heard in windows of 30 s. Neighbours share four seconds,
and each frame is taken from the window in which it has two seconds or more on both sides. Labels
are collapsed once, over all frames, so that a word on a seam is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..speech.utterances import LONGEST, RATE
from . import Transcript
from .long_form import Window

OVERLAP = 4.0
"""Seconds that neighbouring windows share."""


class OverlappingWindows:
    """How a CTC model hears long recordings; see `LongForm`.

    Args:
        model: the model.
        hop: samples from one frame to the next.
    """

    def __init__(self, model: Any, hop: int) -> None:
        self.model = model
        self._hop = hop
        self._frames = int(LONGEST * RATE) // hop  # of a window; a multiple of frames each
        self._shared = max(int(OVERLAP * RATE) // (2 * hop), 1)  # frames of half an overlap
        self.size = self._frames * hop

    def window(self, start: int, stop: int, transcript: Transcript, last: bool) -> Window:
        """The frames up to the middle of what the next window shares."""
        frames = len(transcript.tokens)
        first = self._shared if start else 0
        end = frames if last else min(self._frames - self._shared, frames)
        kept = range(min(first, end), end)
        return Window(
            start=start,
            stop=stop,
            next=stop if last else start + (self._frames - 2 * self._shared) * self._hop,
            transcript=transcript,
            said=tuple(transcript.tokens[i] for i in kept),
            kept=tuple(kept),
            covered=(stop - start if last else end * self._hop) - first * self._hop,
            loops=False,
        )

    def text(self, said: Sequence[int]) -> str:
        """The text of all windows' frames, one after another."""
        return str(self.model.text(list(said)))
