"""How long recordings were heard: windows, loops and the audio that was covered. Without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field, Strict, with_config

_Count = Annotated[int, Strict()]
_Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class LongHeard:
    """How one long recording was heard by the quantized model, and by full precision.

    Attributes:
        seconds: its length.
        windows, full_windows: windows in which it was heard.
        loops, full_loops: of these, those that never ended or repeat themselves.
        covered, full_covered: seconds for which something was written.
    """

    seconds: float
    windows: int
    full_windows: int
    loops: int
    full_loops: int
    covered: float
    full_covered: float


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class LongSpeech:
    """How the long recordings of a measurement were heard.

    Attributes:
        recordings: recordings of more than 30 s.
        seconds: their length, together.
        windows, full_windows: windows in which the quantized model and full precision heard them.
        loops, full_loops: of these, those that never ended or repeat themselves.
        covered, full_covered: fraction of the audio for which something was written.
    """

    recordings: _Count
    seconds: _Number
    windows: _Count
    full_windows: _Count
    loops: _Count
    full_loops: _Count
    covered: _Number
    full_covered: _Number


def summary(heard: Sequence[LongHeard]) -> LongSpeech | None:
    """The figures of several recordings together; None without any."""
    seconds = sum(one.seconds for one in heard)
    if not seconds:
        return None
    return LongSpeech(
        recordings=len(heard),
        seconds=round(seconds, 2),
        windows=sum(one.windows for one in heard),
        full_windows=sum(one.full_windows for one in heard),
        loops=sum(one.loops for one in heard),
        full_loops=sum(one.full_loops for one in heard),
        covered=sum(one.covered for one in heard) / seconds,
        full_covered=sum(one.full_covered for one in heard) / seconds,
    )
