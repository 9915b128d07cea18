"""Divergence of a changed model from full precision, on full precision's own transcripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from . import SpeechModel, Transcript

CHUNK = 8
"""Utterances that are run together if no gradient is needed."""


def head_states(
    model: SpeechModel, audio: Sequence[np.ndarray], transcripts: Sequence[Transcript]
) -> list[Tensor]:
    """Head inputs of many utterances, in chunks, without gradients."""
    states: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(audio), CHUNK):
            encoded = model.encode(audio[start : start + CHUNK])
            states += model.head_inputs(encoded, transcripts[start : start + CHUNK])
    return states


def divergence(reference: Sequence[Tensor], changed: Sequence[Tensor]) -> float:
    """Mean Kullback-Leibler divergence of `changed` from `reference`, nats per decision.

    Args:
        reference: log-probabilities of each utterance, shape (decisions, outputs).
        changed: the same of the quantized model.
    """
    return sum(divergences(reference, changed)) / sum(len(p) for p in reference)


def divergences(reference: Iterable[Tensor], changed: Iterable[Tensor]) -> list[float]:
    """Kullback-Leibler divergence of each utterance, summed over its decisions, nats."""
    return [float((p.exp() * (p - q)).sum()) for p, q in zip(reference, changed, strict=True)]
