"""Transcripts of full precision and the inputs of its output layer, cached."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models import SpeechModel, Transcript
from ..models.device import device_key
from ..models.divergence import CHUNK
from ..progress import Progress, Report, silent
from ..speech.utterances import Utterance, load_audio
from ..storage.cache import read_cached, write_cached
from ..storage.digests import sha256_json
from ..storage.locations import baseline_file


def baseline(
    model: SpeechModel, utterances: Sequence[Utterance], report: Report = silent
) -> tuple[list[Transcript], list[Tensor]]:
    """Full precision transcripts and inputs of the output layer, cached by model and audio.

    Returns:
        One transcript and one tensor (tokens, features) per utterance.
    """
    content = [3, model.digest, model.text_digest, [u.digest for u in utterances]]
    key = sha256_json(content + device_key(model.module))
    path = baseline_file(key)
    total = len(utterances)
    entry = read_cached(path)
    if entry is not None:
        tensors, note = entry
        transcripts = [Transcript(text, tuple(tokens)) for text, tokens in note]
        return transcripts, [tensors[str(i)] for i in range(total)]
    transcripts = []
    states: list[Tensor] = []
    for start in range(0, total, CHUNK):
        report(Progress("full precision", start, total))
        audio = [load_audio(u) for u in utterances[start : start + CHUNK]]
        with torch.no_grad():
            encoded = model.encode(audio)
            fresh = model.transcribe(encoded)
            states += [s.clone().cpu() for s in model.head_inputs(encoded, fresh)]
        transcripts += fresh
    note = [[t.text, t.tokens] for t in transcripts]
    write_cached(path, {str(i): s for i, s in enumerate(states)}, note)
    return transcripts, states
