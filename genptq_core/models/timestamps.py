"""Whisper's tokens for times: which may follow which, and the parts of a window that they mark.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), sections 2.3
and 4.5: a long recording is heard in windows of 30 s, and the last time that a window says for sure
is where the next one begins. The rules are those of OpenAI's `ApplyTimestampRules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STEP = 0.02
"""Seconds between one token for a time and the next."""

_LATEST_START = 50  # steps into a window by which its first part begins


@dataclass(frozen=True)
class Segment:
    """A part of a window.

    Attributes:
        start, stop: seconds from the window's start.
        tokens: what was written for it, times left out.
    """

    start: float
    stop: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Timestamps:
    """The tokens for times of one model.

    Attributes:
        first: the token for 0 s; all smaller tokens are text or control tokens.
        stop: the token after the last.
        ends: tokens, any of which ends a window.
    """

    first: int
    stop: int
    ends: tuple[int, ...]

    def is_time(self, token: int) -> bool:
        """Whether a token is a time."""
        return self.first <= token < self.stop

    def barred(self, written: Sequence[int]) -> list[slice]:
        """Tokens that must not follow what was written for a window, as slices of the vocabulary.

        The first is a time, of the first second; times come in pairs, an end and the next start,
        but for the first and the last; they never decrease, and no part has no length.
        """
        if not written:
            return [
                slice(0, self.first),
                slice(min(self.first + _LATEST_START + 1, self.stop), self.stop),
            ]
        text = slice(0, min(self.ends))
        found: list[slice] = []
        last = self.is_time(written[-1])
        paired = len(written) < 2 or self.is_time(written[-2])
        if last:
            found.append(slice(self.first, self.stop) if paired else text)
        times = [token for token in written if self.is_time(token)]
        if times:
            opening = last and not paired  # the same time again begins the next part
            found.append(slice(self.first, times[-1] + (0 if opening else 1)))
        return found

    def segments(self, written: Sequence[int], seconds: float) -> tuple[list[Segment], float]:
        """The parts of a window that are written for sure, and where the next window begins.

        What follows the last pair of times is left to the next window, unless an end without a next
        start says that nothing more is heard; without pairs the whole window is one part.

        Args:
            written: a window's tokens.
            seconds: how long the window is.

        Returns:
            The parts in order, and seconds from the window's start, above 0.
        """
        tokens = [token for token in written if token not in self.ends]
        times = [self.is_time(token) for token in tokens]
        cuts = [i + 1 for i in range(len(tokens) - 1) if times[i] and times[i + 1]]
        closed = times[-2:] == [False, True]
        if not cuts:
            said = [token for token in tokens if self.is_time(token)]
            stop = self.seconds(said[-1]) if said and said[-1] != self.first else seconds
            return [self._segment(tokens, 0.0, min(stop, seconds))], seconds
        if closed:
            cuts.append(len(tokens))
        parts = [tokens[a:b] for a, b in zip([0, *cuts], cuts, strict=False)]
        found = [
            self._segment(part, self.seconds(part[0]), min(self.seconds(part[-1]), seconds))
            for part in parts
        ]
        advance = seconds if closed else min(self.seconds(parts[-1][-1]), seconds)
        return found, advance or seconds

    def seconds(self, token: int) -> float:
        """The time that a token stands for."""
        return (token - self.first) * STEP

    def _segment(self, tokens: Sequence[int], start: float, stop: float) -> Segment:
        text = tuple(token for token in tokens if not self.is_time(token))
        return Segment(min(start, stop), stop, text)
