"""Compiling a bit map: each layer rounded for the inputs it will really get, then tuned.

First the layers are rounded in the network's order, each with the second moments of the inputs
that the already rounded ones before it produce. Then what stays at 16 bit anyway (norms, biases,
positions) is tuned without labels, so that the quantized model's token distribution on the
original's own transcripts comes close to the original's (knowledge distillation; Hinton et al.,
arXiv:1503.02531). The codes stay as they are, so a compiled model is not a byte larger.

Tuning is judged on utterances set aside: what does not help there is thrown away.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..bitmaps.bitmap import BitMap
from ..errors import SpeechError
from ..models import SpeechModel
from ..models.divergence import CHUNK, divergence
from ..models.layered import overlaid
from ..models.weights import replaced
from ..options import Option
from ..profile import Profile
from ..progress import Progress, Report, silent
from ..quantizers import Stored
from ..speech.utterances import SpeechSet, load_audio
from ..storage.cache import read_cached, write_cached
from ..storage.digests import sha256_json
from ..storage.locations import compiled_folder
from ..units import Unit
from .baseline import baseline
from .in_order import Part, round_in_order
from .rounded import check_model, restored_weights, stored_units

ROUNDING = "compiled: layer after layer, tuned"
"""How a compiled map is rounded."""

_VERSION = 2


@dataclass(frozen=True)
class CompileSettings:
    """How a map is compiled.

    Attributes:
        sequential: utterances whose inputs layers are rounded for; 0 keeps the profile's rounding.
        passes: passes over the tuning utterances; 0 for no tuning.
        rate: largest step of the tuning, relative to each tensor's own size.
        batch: utterances a step.
        held_out: utterances set aside, on which tuning is judged.
        checks: steps between two looks at those.
    """

    sequential: int = 64
    passes: int = 1
    rate: float = 2e-3
    batch: int = 4
    held_out: int = 24
    checks: int = 16


@dataclass(frozen=True)
class Compiled:
    """A compiled bit map.

    Attributes:
        stored: every unit with its option and what is stored for it.
        weights: new content of every parameter that differs from the original, by name; those
            beside the units, tuned, are exact in float16.
        before: loss on the utterances set aside with the profile's own rounding, nats a token.
        rounded: the same after rounding in order.
        after: the same after tuning.
        digest: of the map, the recipe and the speech it was compiled with.
    """

    stored: tuple[tuple[Unit, Option, Stored], ...]
    weights: Mapping[str, Tensor]
    before: float
    rounded: float
    after: float
    digest: str

    @property
    def tuned(self) -> dict[str, Tensor]:
        """Of the weights, those beside the units."""
        units = {unit.parameter for unit, _, _ in self.stored}
        return {name: self.weights[name] for name in self.weights if name not in units}


def compile_map(
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    speech: SpeechSet,
    recipe: CompileSettings | None = None,
    report: Report = silent,
) -> Compiled:
    """Compile a bit map on unlabelled speech; continues where an earlier call was cut off.

    Args:
        model: the original.
        profile: its profile.
        chosen: the map.
        speech: speech of the kind that the model is for; reference texts are not used.
        recipe: how.
        report: called with the progress of each stage.

    Raises:
        SpeechError: there is too little speech.
        ModelError: the model is not the profile's.
    """
    recipe = recipe or CompileSettings()
    check_model(model, profile)
    if len(speech) <= recipe.held_out + recipe.batch:
        raise SpeechError(
            f"{speech.name} has {len(speech)} utterances; {recipe.held_out} are set aside.",
            "Give more speech; it needs no transcripts.",
        )
    keys = [_VERSION, profile.digest, model.text_digest, chosen.digest, speech.digest]
    keys.append(dataclasses.asdict(recipe))
    digest = sha256_json(keys)
    folder = compiled_folder(digest)
    transcripts, states = baseline(model, speech.utterances, report)
    every = Part([load_audio(u) for u in speech.utterances], transcripts, states)
    learn, judge = every[: -recipe.held_out], every[-recipe.held_out :]
    stored = tuple(stored_units(model, profile, chosen.options, report))
    weights = restored_weights(model, stored)
    before = rounded = loss_of(model, weights, judge)
    if recipe.sequential:
        weights = {}  # never two changed copies of the model
        found = round_in_order(model, profile, chosen, learn[: recipe.sequential], folder, report)
        weights = restored_weights(model, found)
        rounded = loss_of(model, weights, judge)
        if rounded < before:
            stored = found
        else:
            weights = {}
            rounded, weights = before, restored_weights(model, stored)
    after = rounded
    if recipe.passes:
        tuned, after = _tune(model, weights, learn, judge, rounded, recipe, folder, report)
        weights = overlaid(weights, tuned)
    return Compiled(stored, weights, before, rounded, after, digest)


def loss_of(model: SpeechModel, weights: Mapping[str, Tensor], part: Part) -> float:
    """Mean divergence from the original on some utterances, nats a token."""
    total, tokens = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(part), CHUNK):
            chunk = part[start : start + CHUNK]
            reference = [model.log_probs(state) for state in chunk.states]
            with replaced(model, weights):
                states = model.head_inputs(model.encode(chunk.audio), chunk.transcripts)
                changed = [model.log_probs(state) for state in states]
            count = sum(len(r) for r in reference)
            total += count * divergence(reference, changed)
            tokens += count
    return total / tokens


def _tune(
    model: SpeechModel,
    weights: Mapping[str, Tensor],
    learn: Part,
    judge: Part,
    loss: float,
    recipe: CompileSettings,
    folder: Path,
    report: Report,
) -> tuple[dict[str, Tensor], float]:
    """Tune what stays at 16 bit; returns the best of it, and its loss on what was set aside."""
    covered = {unit.parameter for unit in model.units} | model.derived.keys()
    named = {n: p for n, p in model.module.named_parameters() if n not in covered}
    steps = recipe.passes * (len(learn) // recipe.batch)
    order = np.concatenate(
        [np.random.default_rng(seed).permutation(len(learn)) for seed in range(recipe.passes)]
    )
    free = {n: torch.nn.Parameter(p.detach().clone()) for n, p in named.items()}
    # Adam's steps are all of one size, so each tensor gets one that fits its own.
    sizes = [max(float(p.detach().square().mean().sqrt()), 1e-2) for p in free.values()]
    rates = [recipe.rate * size for size in sizes]
    groups = [{"params": [p], "lr": r} for p, r in zip(free.values(), rates, strict=True)]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    best, best_loss, first = {n: p.detach().clone() for n, p in free.items()}, loss, 0
    path = folder / "tuning.safetensors"
    done = read_cached(path)
    if done is not None:
        resumed = done[0]
        best = {n: resumed[f"best/{n}"] for n in free}
        best_loss, first = float(resumed["loss"]), int(resumed["step"])
        with torch.no_grad():
            for name, parameter in free.items():
                parameter.copy_(resumed[f"now/{name}"])
                if f"mean/{name}" in resumed:
                    optimizer.state[parameter] = {
                        "step": torch.tensor(float(first)),
                        "exp_avg": resumed[f"mean/{name}"].to(parameter.device),
                        "exp_avg_sq": resumed[f"square/{name}"].to(parameter.device),
                    }
    for step in range(first, steps):
        report(Progress("tuning", step, steps))
        members = order[step * recipe.batch : (step + 1) * recipe.batch]
        optimizer.zero_grad()
        with torch.no_grad():
            reference = [model.log_probs(learn.states[i]).exp() for i in members]
        with _Frozen(model), replaced(model, weights), _Tuned(model, free):
            tokens = sum(len(r) for r in reference)
            for target, index in zip(reference, members, strict=True):
                encoded = model.encode([learn.audio[index]])
                states = model.head_inputs(encoded, [learn.transcripts[index]])[0]
                (-(target * model.log_probs(states)).sum() / tokens).backward()
        torch.nn.utils.clip_grad_norm_(free.values(), 1.0)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * _share(step, steps)
        optimizer.step()
        if (step + 1) % recipe.checks == 0 or step + 1 == steps:
            now = {n: p.detach().half().float() for n, p in free.items()}
            found = loss_of(model, overlaid(weights, now), judge)
            if found < best_loss:
                best, best_loss = now, found
            _save_tuning(path, free, optimizer, best, best_loss, step + 1)
    report(Progress("tuning", steps, steps))
    return best, best_loss


def _share(step: int, steps: int) -> float:
    """Of the largest step: rising over the first tenth, then falling as a cosine."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _save_tuning(
    path: Path,
    free: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
    loss: float,
    step: int,
) -> None:
    tensors = {"loss": torch.tensor(loss, dtype=torch.float64), "step": torch.tensor(step)}
    for name, parameter in free.items():
        state = optimizer.state[parameter]
        tensors[f"now/{name}"] = parameter.detach().clone()
        tensors[f"best/{name}"] = best[name].clone()
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


class _Tuned:
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
