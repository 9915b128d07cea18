"""Windows of a long recording as a Whisper hears them: decoded with times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from ..errors import ModelError
from ..speech.utterances import LONGEST, RATE
from . import Transcript
from .long_form import Window, repeats_itself
from .timestamps import Timestamps
from .whisper_settings import TIMESTAMPS

SIZE = int(LONGEST * RATE)
"""Samples of a window: what a Whisper takes at once."""


class Asked(Protocol):
    """What a Whisper is asked for; see `WhisperSettings`."""

    @property
    def prompt(self) -> tuple[int, ...]: ...
    @property
    def ends(self) -> tuple[int, ...]: ...
    @property
    def never(self) -> tuple[int, ...]: ...


_Settings = TypeVar("_Settings", bound=Any)


def timestamps_of(asked: Asked, vocabulary: int, name: str) -> Timestamps:
    """The tokens for times: they follow the token that asks for none, the prompt's last.

    Raises:
        ModelError: there are none.
    """
    first = asked.prompt[-1] + 1
    stop = min(first + TIMESTAMPS, vocabulary)
    if stop - first < 2:
        raise ModelError(
            f"{name} has no tokens for times, by which long recordings are cut into windows.",
            f"Cut the recordings at pauses, into parts of up to {LONGEST:.0f} s.",
        )
    return Timestamps(first, stop, tuple(asked.ends))


def with_times(asked: _Settings, times: Timestamps) -> _Settings:
    """The same with times asked for, in place of none."""
    never = tuple(token for token in asked.never if not times.is_time(token))
    timed: _Settings = replace(asked, prompt=asked.prompt[:-1], never=(*never, asked.prompt[-1]))
    return timed


class TimedWindows:
    """How a Whisper hears long recordings; see `LongForm`.

    Args:
        model: the Whisper, with times asked for.
        times: its tokens for times.
        tokenizer: its tokenizer.
    """

    size = SIZE

    def __init__(self, model: Any, times: Timestamps, tokenizer: Any) -> None:
        self.model = model
        self._times = times
        self._tokenizer = tokenizer

    def window(self, start: int, stop: int, transcript: Transcript, last: bool) -> Window:
        """The parts that are written for sure; the next window begins after them.

        Decisions on times count for no divergence: a profile predicts that of words.
        """
        tokens, length = transcript.tokens, stop - start
        parts, advance = self._times.segments(tokens, length / RATE)
        covered = sum(part.stop - part.start for part in parts if part.tokens)
        ended = any(token in self._times.ends for token in tokens)
        return Window(
            start=start,
            stop=stop,
            next=min(start + max(round(advance * RATE), 1), stop),
            transcript=transcript,
            said=tuple(token for part in parts for token in part.tokens),
            kept=tuple(i for i, t in enumerate(tokens) if not self._times.is_time(t)),
            covered=min(round(covered * RATE), length),
            loops=not ended or repeats_itself(transcript.text),
        )

    def text(self, said: Sequence[int]) -> str:
        """The text of what all windows say."""
        return str(self._tokenizer.decode(list(said), skip_special_tokens=True)).strip()
