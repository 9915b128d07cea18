"""Long recordings as a model hears them, a few minutes at a time, each of them cached.

An hour is decoded in a few dozen files of the cache, so that one that was cut off goes on where it
was, and what is in memory does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models import SpeechModel, Transcript
from ..models.device import device_key
from ..models.long_form import VERSION, Window, heard, long_form_of, states_of
from ..speech.utterances import Utterance
from ..storage.cache import read_cached, write_cached
from ..storage.digests import sha256_json
from ..storage.locations import baseline_file

GROUP = 16
"""Windows of a file: up to eight minutes."""


@dataclass(frozen=True)
class Group:
    """Some windows of a recording, one after another.

    Attributes:
        windows: what was written.
        states: inputs of the output layer at each window's decisions, (decisions, features); none
            if they were not asked for.
        ends: whether the recording ends with them.
    """

    windows: tuple[Window, ...]
    states: tuple[Tensor, ...]
    ends: bool


def groups(
    model: SpeechModel, recording: Utterance, key: Sequence[Any] | None, states: bool = False
) -> Iterator[Group]:
    """A recording as a model hears it with the weights that it has now.

    Args:
        model: the model.
        recording: of any length.
        key: what stands for its weights in the cache, besides the model; None for no cache.
        states: whether inputs of the output layer are kept.

    Raises:
        ModelError: the model takes no long recordings.
        SpeechError: the recording cannot be used.
        GenPTQError: the cache cannot be written.
    """
    number, start = 0, 0
    content: list[Any] = []
    if key is not None:  # exports to other runtimes have no digest
        content += [VERSION, "long", model.digest, model.text_digest, recording.digest, states]
        content += [*key, *device_key(model.module)]
    while key is not None:
        known = _read(sha256_json([*content, number]))
        if known is None:
            break
        yield known
        number, start = number + 1, known.windows[-1].next
        if known.ends:
            return
    for group in _heard(model, recording, start, states):
        if key is not None:
            _write(sha256_json([*content, number]), group)
        yield group
        number += 1


def _heard(model: SpeechModel, recording: Utterance, start: int, states: bool) -> Iterator[Group]:
    form = long_form_of(model)
    windows: list[Window] = []
    kept: list[Tensor] = []
    for window, encoded in heard(form, recording, start):
        if len(windows) == GROUP:
            yield Group(tuple(windows), tuple(kept), ends=False)
            windows, kept = [], []
        windows.append(window)
        if states:
            with torch.no_grad():
                kept.append(states_of(form, encoded, window).clone().cpu())
    yield Group(tuple(windows), tuple(kept), ends=True)


def _read(key: str) -> Group | None:
    entry = read_cached(baseline_file(key))
    if entry is None:
        return None
    tensors, note = entry
    windows = [
        Window(
            start=start,
            stop=stop,
            next=following,
            transcript=Transcript(text, tuple(tokens)),
            said=tuple(said),
            kept=tuple(kept),
            covered=covered,
            loops=loops,
        )
        for start, stop, following, text, tokens, said, kept, covered, loops in note["windows"]
    ]
    states = tuple(tensors[str(index)] for index in range(len(tensors)))
    return Group(tuple(windows), states, bool(note["ends"]))


def _write(key: str, group: Group) -> None:
    rows = [
        [
            *(w.start, w.stop, w.next, w.transcript.text, w.transcript.tokens, w.said),
            *(w.kept, w.covered, w.loops),
        ]
        for w in group.windows
    ]
    tensors = {str(index): state for index, state in enumerate(group.states)}
    write_cached(baseline_file(key), tensors, {"windows": rows, "ends": group.ends})
