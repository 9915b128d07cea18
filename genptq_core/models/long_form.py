"""Recordings that a model cannot take at once, heard window by window; memory does not grow.

A Whisper says itself where its next window begins (Radford et al., "Robust Speech Recognition via
Large-Scale Weak Supervision", 2022, section 4.5): windows of 30 s are decoded with times, without
the text before them, and the next one begins at the last time of which the model is sure. A CTC
model hears windows that overlap, and its frames are joined in the middle of what two share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ..errors import ModelError
from ..speech.long_audio import LongAudio
from ..speech.utterances import LONGEST, RATE, Utterance
from . import Transcript
from .decoding import FALLBACK, compression

VERSION = 1
"""Raised when windows or their decoding change, so that cached results are not used."""

_SHORTEST = RATE // 10  # samples of a rest that is heard: no word is shorter


@dataclass(frozen=True)
class Window:
    """What was written for a part of a recording.

    Attributes:
        start, stop: the part, in samples.
        next: where the next window begins, in samples.
        transcript: all that was decided.
        said: the tokens that count for the text.
        kept: of the decisions on the transcript, those that count for the divergence.
        covered: samples of the parts for which something was written.
        loops: whether it ran away: it never ended, or repeats itself.
    """

    start: int
    stop: int
    next: int
    transcript: Transcript
    said: tuple[int, ...]
    kept: tuple[int, ...]
    covered: int
    loops: bool


class LongForm(Protocol):
    """How a model hears long recordings."""

    model: Any
    """What encodes and decodes a window, as a `SpeechModel` does an utterance."""
    size: int
    """Samples of a window."""

    def window(self, start: int, stop: int, transcript: Transcript, last: bool) -> Window:
        """A window's result; `last` is whether the recording ends with it."""
        ...

    def text(self, said: Sequence[int]) -> str:
        """The text of what all windows say."""
        ...


def long_form_of(model: Any) -> LongForm:
    """How a model hears recordings of more than 30 s.

    Raises:
        ModelError: it cannot.
    """
    own = getattr(type(model), "long_form", None)
    if own is None:
        raise ModelError(
            f"{model.name} ({model.family}) takes recordings of up to {LONGEST:.0f} s; only "
            "Whispers and CTC models hear longer ones, window by window.",
            "Cut the recordings at pauses.",
        )
    return cast(LongForm, own(model))


def heard(form: LongForm, recording: Utterance, start: int = 0) -> Iterator[tuple[Window, Any]]:
    """Decode a recording window by window.

    Args:
        form: how the model hears it.
        recording: of any length.
        start: the first sample that is heard.

    Yields:
        Each window, and what the encoder made of it.

    Raises:
        SpeechError: the recording cannot be used.
    """
    audio = LongAudio(recording)
    while start == 0 or audio.reaches(start + _SHORTEST):
        samples = audio.read(start, form.size)
        with torch.no_grad():
            encoded = form.model.encode([samples])
            (written,) = form.model.transcribe(encoded)
        stop = start + len(samples)
        window = form.window(start, stop, written, not audio.reaches(stop + _SHORTEST))
        yield window, encoded
        start = window.next


def states_of(form: LongForm, encoded: Any, window: Window) -> Tensor:
    """Inputs of the output layer at a window's decisions, (decisions, features)."""
    states: Tensor = form.model.head_inputs(encoded, [window.transcript])[0]
    return states[list(window.kept)]


def repeats_itself(text: str) -> bool:
    """Whether a window's text compresses as no speech does; see `Decoding`."""
    return compression(text) > FALLBACK.most_compression
