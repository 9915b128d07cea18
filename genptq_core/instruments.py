"""Instruments on a running model: input moments, gradients of chosen weights, divergence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .models import SpeechModel, Transcript

CHUNK = 8
"""Utterances run together where no gradient is needed."""


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
    """Mean Kullback-Leibler divergence of `changed` from `reference`, nats a decision.

    Args:
        reference: log-probabilities an utterance, each (decisions, outputs).
        changed: the same of the quantized model.
    """
    total = sum(float((p.exp() * (p - q)).sum()) for p, q in zip(reference, changed, strict=True))
    return total / sum(len(p) for p in reference)


class SecondMoments:
    """While active, add the second moment of every unit's inputs to `sums`, by input name."""

    def __init__(self, model: SpeechModel, sums: dict[str, Tensor]) -> None:
        modules = dict(model.module.named_modules())
        self._targets = [(name, modules[name]) for name in sorted({u.inputs for u in model.units})]
        self._sums = sums
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> None:
        for name, module in self._targets:
            self._handles.append(module.register_forward_pre_hook(self._hook(name)))

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            flat = inputs[0].detach().reshape(-1, inputs[0].shape[-1])
            product = flat.T @ flat
            self._sums[name] = self._sums[name] + product if name in self._sums else product

        return add


class GradientsOf:
    """While active, only these parameters ask for gradients."""

    def __init__(self, module: nn.Module, parameters: dict[str, nn.Parameter]) -> None:
        self._all = list(module.parameters())
        self._wanted = {id(p) for p in parameters.values()}

    def __enter__(self) -> None:
        self._before = [p.requires_grad for p in self._all]
        for parameter in self._all:
            parameter.requires_grad_(id(parameter) in self._wanted)

    def __exit__(self, *_: object) -> None:
        for parameter, before in zip(self._all, self._before, strict=True):
            parameter.requires_grad_(before)
