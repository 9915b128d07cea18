"""What quantization does to long recordings: the words, and what of the audio is lost on the way.

A model that hears window by window decides itself where the next window begins. One that was
rounded too far may lose its place: a window loops, or says of audio with speech in it that it is
done. Both are counted, since a word error rate does not tell them from words misheard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models import SpeechModel
from ..models.divergence import divergences
from ..models.long_form import Window, long_form_of, states_of
from ..models.weights import replaced
from ..rounding.long_recordings import groups
from ..speech.long_audio import LongAudio, is_long
from ..speech.utterances import RATE, SpeechSet, Utterance
from .long_figures import LongHeard


@dataclass(frozen=True)
class Compared:
    """One long recording, heard with other weights and with full precision.

    Attributes:
        full, heard: what full precision and the quantized model wrote.
        loss: Kullback-Leibler divergence over full precision's windows, nats.
        tokens: decisions in these.
        figures: how it was heard.
    """

    full: str
    heard: str
    loss: float
    tokens: int
    figures: LongHeard


def check_lengths(model: SpeechModel, speech: SpeechSet) -> None:
    """Make sure, before hours of work, that a model hears recordings as long as a set's.

    Raises:
        ModelError: it takes no recordings of more than 30 s, and there is one.
        SpeechError: a recording cannot be opened.
    """
    if any(map(is_long, speech.utterances)):
        long_form_of(model)


def transcribe_long(model: SpeechModel, recording: Utterance) -> str:
    """What a model writes for a recording of any length, window by window.

    Raises:
        ModelError: it takes no long recordings.
        SpeechError: the recording cannot be used.
    """
    windows = [window for group in groups(model, recording, None) for window in group.windows]
    return _text(model, windows)


def compare_long(
    model: SpeechModel, weights: Mapping[str, Tensor], recording: Utterance, weights_key: str
) -> Compared:
    """A long recording, heard with other weights and with full precision.

    Each finds its own windows. The divergence is over those of full precision.

    Args:
        model: the model.
        weights: new content by parameter name.
        recording: of more than 30 s.
        weights_key: stands for these weights in the cache; "" if nothing of them is cached.

    Raises:
        ModelError, SpeechError: the model takes no long recordings, or not this one.
        GenPTQError: the cache cannot be written.
    """
    full: list[Window] = []
    for group in groups(model, recording, ["full precision"], states=True):
        full += group.windows
    key = [weights_key] if weights_key else None
    with replaced(model, weights):
        heard = [window for group in groups(model, recording, key) for window in group.windows]
    loss, tokens = _divergence(model, weights, recording)
    figures = LongHeard(
        seconds=max(full[-1].stop, heard[-1].stop) / RATE,
        windows=len(heard),
        full_windows=len(full),
        loops=sum(window.loops for window in heard),
        full_loops=sum(window.loops for window in full),
        covered=sum(window.covered for window in heard) / RATE,
        full_covered=sum(window.covered for window in full) / RATE,
    )
    return Compared(_text(model, full), _text(model, heard), loss, tokens, figures)


def _divergence(
    model: SpeechModel, weights: Mapping[str, Tensor], recording: Utterance
) -> tuple[float, int]:
    """Divergence over full precision's windows, nats, and the decisions in these."""
    form, audio = long_form_of(model), LongAudio(recording)
    loss, tokens = 0.0, 0
    for group in groups(model, recording, ["full precision"], states=True):
        for window, states in zip(group.windows, group.states, strict=True):
            samples = audio.read(window.start, window.stop - window.start)
            with torch.no_grad():
                with replaced(model, weights):
                    encoded = form.model.encode([samples])
                    changed = form.model.log_probs(states_of(form, encoded, window))
                loss += divergences([model.log_probs(states)], [changed])[0]
            tokens += len(states)
    return loss, tokens


def _text(model: SpeechModel, windows: Sequence[Window]) -> str:
    return long_form_of(model).text([token for window in windows for token in window.said])
