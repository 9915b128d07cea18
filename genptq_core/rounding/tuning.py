"""Tuning what stays at 16 bit, so that the rounded model follows the original's distribution.

Norms, biases and positions are trained without labels towards the original's token distribution on
its own transcripts (knowledge distillation; Hinton et al., arXiv:1503.02531). What does not help on
utterances set aside is thrown away. The codes stay as they are, so nothing takes more bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models import SpeechModel
from ..models.divergence import CHUNK, divergence
from ..models.layered import overlaid
from ..models.weights import replaced
from ..progress import Progress, Report
from ..storage.cache import read_cached, write_cached
from .in_order import ReferenceSpeech


@dataclass(frozen=True)
class TuningSettings:
    """How tuning goes.

    Attributes:
        passes: passes over the tuning utterances.
        rate: largest step, relative to each tensor's own size.
        batch: utterances per step.
        checks: steps between two looks at the utterances set aside.
    """

    passes: int
    rate: float
    batch: int
    checks: int


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    Attributes:
        weights: the best content of what was tuned, by parameter name, exact in float16.
        loss: its divergence from the original on the utterances set aside, nats per token.
    """

    weights: Mapping[str, Tensor]
    loss: float


def loss_of(model: SpeechModel, weights: Mapping[str, Tensor], speech: ReferenceSpeech) -> float:
    """Mean divergence from the original on some utterances, nats per token."""
    total, tokens = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(speech), CHUNK):
            chunk = speech[start : start + CHUNK]
            reference = [model.log_probs(state) for state in chunk.states]
            with replaced(model, weights):
                states = model.head_inputs(model.encode(chunk.audio), chunk.transcripts)
                changed = [model.log_probs(state) for state in states]
            count = sum(len(r) for r in reference)
            total += count * divergence(reference, changed)
            tokens += count
    return total / tokens


def tune(
    model: SpeechModel,
    weights: Mapping[str, Tensor],
    *,
    learn: ReferenceSpeech,
    judge: ReferenceSpeech,
    loss: float,
    settings: TuningSettings,
    path: Path,
    report: Report,
) -> Tuned:
    """The best that tuning found for what stays at 16 bit; continues where it was cut off.

    Args:
        model: the original.
        weights: the rounded weights, by parameter name.
        learn: utterances to tune on.
        judge: utterances set aside, on which the result is judged.
        loss: divergence on these before tuning, nats per token.
        settings: how.
        path: file for what is done.
        report: called with the progress.
    """
    covered = {unit.parameter for unit in model.units} | model.derived.keys()
    named = {n: p for n, p in model.module.named_parameters() if n not in covered}
    steps = settings.passes * (len(learn) // settings.batch)
    order = np.concatenate(
        [np.random.default_rng(seed).permutation(len(learn)) for seed in range(settings.passes)]
    )
    free = {n: torch.nn.Parameter(p.detach().clone()) for n, p in named.items()}
    # Adam's steps are all of one size, so each tensor gets one that fits its own.
    sizes = [max(float(p.detach().square().mean().sqrt()), 1e-2) for p in free.values()]
    rates = [settings.rate * size for size in sizes]
    groups = [{"params": [p], "lr": r} for p, r in zip(free.values(), rates, strict=True)]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    best, first = Tuned({n: p.detach().clone() for n, p in free.items()}, loss), 0
    state = read_cached(path)
    if state is not None:
        best, first = _resume(state[0], free, optimizer)
    for step in range(first, steps):
        report(Progress("tuning", step, steps))
        members = order[step * settings.batch : (step + 1) * settings.batch]
        optimizer.zero_grad()
        with torch.no_grad():
            reference = [model.log_probs(learn.states[i]).exp() for i in members]
        with _Frozen(model), replaced(model, weights), _InPlace(model, free):
            tokens = sum(len(r) for r in reference)
            for target, index in zip(reference, members, strict=True):
                encoded = model.encode([learn.audio[index]])
                states = model.head_inputs(encoded, [learn.transcripts[index]])[0]
                (-(target * model.log_probs(states)).sum() / tokens).backward()
        torch.nn.utils.clip_grad_norm_(free.values(), 1.0)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _schedule(step, steps)
        optimizer.step()
        if (step + 1) % settings.checks == 0 or step + 1 == steps:
            now = {n: p.detach().half().float() for n, p in free.items()}
            reached = loss_of(model, overlaid(weights, now), judge)
            if reached < best.loss:
                best = Tuned(now, reached)
            _save(path, free, optimizer, best, step + 1)
    report(Progress("tuning", steps, steps))
    return best


def _schedule(step: int, steps: int) -> float:
    """The part of the largest step: rising over the first tenth, then falling as a cosine."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _resume(
    state: Mapping[str, Tensor],
    free: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> tuple[Tuned, int]:
    """The best so far and the next step, with parameters and optimizer as they were."""
    step = int(state["step"])
    with torch.no_grad():
        for name, parameter in free.items():
            parameter.copy_(state[f"now/{name}"])
            if f"mean/{name}" in state:
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": state[f"mean/{name}"].to(parameter.device),
                    "exp_avg_sq": state[f"square/{name}"].to(parameter.device),
                }
    return Tuned({n: state[f"best/{n}"] for n in free}, float(state["loss"])), step


def _save(
    path: Path,
    free: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    best: Tuned,
    step: int,
) -> None:
    tensors = {"loss": torch.tensor(best.loss, dtype=torch.float64), "step": torch.tensor(step)}
    for name, parameter in free.items():
        state = optimizer.state[parameter]
        tensors[f"now/{name}"] = parameter.detach().clone()
        tensors[f"best/{name}"] = best.weights[name].clone()
        if "exp_avg" in state:
            tensors[f"mean/{name}"] = state["exp_avg"].clone()
            tensors[f"square/{name}"] = state["exp_avg_sq"].clone()
    write_cached(path, tensors)


class _Frozen:
    """While active, no parameter of the module asks for gradients."""

    def __init__(self, model: SpeechModel) -> None:
        self._all = list(model.module.parameters())

    def __enter__(self) -> None:
        self._before = [p.requires_grad for p in self._all]
        for parameter in self._all:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter, before in zip(self._all, self._before, strict=True):
            parameter.requires_grad_(before)


class _InPlace:
    """While active, some parameters of the module are these ones, which take gradients."""

    def __init__(self, model: SpeechModel, free: dict[str, torch.nn.Parameter]) -> None:
        self._module = model.module
        self._free = free

    def __enter__(self) -> None:
        self._before = {name: self._module.get_parameter(name) for name in self._free}
        self._put(self._free)

    def __exit__(self, *_: object) -> None:
        self._put(self._before)

    def _put(self, parameters: dict[str, torch.nn.Parameter]) -> None:
        for name, parameter in parameters.items():
            owner, _, leaf = name.rpartition(".")
            setattr(self._module.get_submodule(owner), leaf, parameter)
