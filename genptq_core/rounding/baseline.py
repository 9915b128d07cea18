"""Transcripts of full precision and the inputs of its output layer, cached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..models import SpeechModel, Transcript
from ..models.asking import by_language, text_digests
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
    content: list[Any] = [3, model.digest, model.text_digest, [u.digest for u in utterances]]
    content += [asked] if (asked := text_digests(model, utterances)) else []
    key = sha256_json(content + device_key(model.module))
    path = baseline_file(key)
    total = len(utterances)
    entry = read_cached(path)
    if entry is not None:
        tensors, note = entry
        transcripts = [Transcript(text, tuple(tokens)) for text, tokens in note]
        return transcripts, [tensors[str(i)] for i in range(total)]
    written: dict[int, tuple[Transcript, Tensor]] = {}
    for spoken, members in by_language(model, utterances):
        for start in range(0, len(members), CHUNK):
            report(Progress("full precision", len(written), total))
            part = members[start : start + CHUNK]
            with torch.no_grad():
                encoded = spoken.encode([load_audio(utterances[i]) for i in part])
                fresh = spoken.transcribe(encoded)
                inputs = [s.clone().cpu() for s in spoken.head_inputs(encoded, fresh)]
            written |= dict(zip(part, zip(fresh, inputs, strict=True), strict=True))
    transcripts = [written[i][0] for i in range(total)]
    states = [written[i][1] for i in range(total)]
    note = [[t.text, t.tokens] for t in transcripts]
    write_cached(path, {str(i): s for i, s in enumerate(states)}, note)
    return transcripts, states
