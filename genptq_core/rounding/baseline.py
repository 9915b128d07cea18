"""What full precision makes of recordings, cached."""

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
    """Full precision transcripts and head inputs, cached by content of weights and audio.

    Returns:
        One transcript and one tensor (tokens, features) an utterance.
    """
    content = [2, model.digest, [u.digest for u in utterances]]
    key = sha256_json(content + device_key(model.module))
    path = baseline_file(key)
    total = len(utterances)
    done = read_cached(path)
    if done is not None:
        tensors, written = done
        found = [Transcript(text, tuple(tokens)) for text, tokens in written]
        return found, [tensors[str(i)] for i in range(total)]
    transcripts: list[Transcript] = []
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
