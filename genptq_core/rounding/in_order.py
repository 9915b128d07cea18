"""Rounding in the network's order, each block for the inputs that it will really get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bitmaps.bitmap import BitMap
from ..errors import ModelError
from ..models import SpeechModel, Transcript
from ..models.layered import overlaid
from ..models.weights import replaced, unit_weight
from ..options import Option
from ..profile import Profile
from ..profiling.hooks import SecondMoments
from ..progress import Progress, Report
from ..quantizers import Stored, quantize
from ..quantizers.tensors import as_tensors, from_tensors
from ..storage.cache import read_cached, write_cached
from ..units import Unit
from .rounded import restored_weights, unit_statistics


@dataclass(frozen=True)
class Part:
    """Utterances with what the original makes of them."""

    audio: list[np.ndarray]
    transcripts: list[Transcript]
    states: list[Tensor]

    def __getitem__(self, which: slice) -> Part:
        return Part(self.audio[which], self.transcripts[which], self.states[which])

    def __len__(self) -> int:
        return len(self.audio)


def round_in_order(
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    part: Part,
    folder: Path,
    report: Report,
) -> tuple[tuple[Unit, Option, Stored], ...]:
    """Round block after block, each with the inputs that the rounded ones before it give.

    Args:
        model: the original.
        profile: its profile.
        chosen: the map.
        part: utterances whose inputs are heard.
        folder: where rounded blocks are kept; those that are there are not rounded again.
        report: called with the progress.

    Returns:
        Every unit with its option and what is stored for it.

    Raises:
        ModelError: a unit cannot be stored with its option.
    """
    option_of = dict(zip(profile.units, chosen.options, strict=True))
    blocks: dict[tuple[str, int], list[Unit]] = {}
    for unit in profile.units:
        # The output projection comes last: its rows share their inputs.
        block = -1 if unit.kind == "convolution" else unit.block
        blocks.setdefault((unit.part, 0 if unit.part == "embedding" else block), []).append(unit)
    parameters = dict(model.module.named_parameters())
    done: dict[Unit, Stored] = {}
    weights: Mapping[str, Tensor] = dict(model.derived)
    encoded: list[Any] = []  # what a rounded encoder wrote is the same for all of the decoder
    for index, (key, units) in enumerate(blocks.items()):
        report(Progress("compiling", index, len(blocks)))
        path = folder / f"{key[0]}{key[1]}.safetensors"
        found = _load_block(path, units, option_of)
        if key[0] == "encoder":
            encoded.clear()
        if found is None:
            sums: dict[str, Tensor] = {}
            if any(option_of[unit].form != "half" for unit in units):
                with torch.no_grad(), replaced(model, weights):
                    _listen(model, part, units, sums, encoded)
            found = {}
            for unit in units:
                _, importance = unit_statistics(profile, unit)
                weight, option = unit_weight(parameters[unit.parameter], unit), option_of[unit]
                one = quantize(weight, sums.get(unit.inputs), importance, [option])[0]
                if one is None:
                    raise ModelError(
                        f"{unit.name} cannot be stored at {option.label}.", "Choose a wider one."
                    )
                found[unit] = one
            _save_block(path, found, option_of)
        done |= found
        fresh = restored_weights(model, ((u, option_of[u], s) for u, s in found.items()))
        weights = overlaid(weights, fresh)
    report(Progress("compiling", len(blocks), len(blocks)))
    return tuple((unit, option_of[unit], done[unit]) for unit in profile.units)


def _save_block(path: Path, found: Mapping[Unit, Stored], option_of: Mapping[Unit, Option]) -> None:
    tensors = {
        f"{unit.name}:{part}": tensor
        for unit, stored in found.items()
        for part, tensor in as_tensors(unit.name, option_of[unit], stored).items()
    }
    write_cached(path, tensors)


def _load_block(
    path: Path, units: Sequence[Unit], option_of: Mapping[Unit, Option]
) -> dict[Unit, Stored] | None:
    done = read_cached(path)
    if done is None:
        return None
    found: dict[Unit, Stored] = {}
    for unit in units:
        head = f"{unit.name}:"
        parts = {k.removeprefix(head): t for k, t in done[0].items() if k.startswith(head)}
        found[unit] = from_tensors(parts, option_of[unit], unit.rows, unit.columns)
    return found


def _listen(
    model: SpeechModel,
    part: Part,
    units: Sequence[Unit],
    sums: dict[str, Tensor],
    encoded: list[Any],
) -> None:
    """Sum up the inputs of some units of one part of the model.

    Args:
        model: with what is rounded so far.
        part: utterances.
        units: whose inputs.
        sums: where they go, by input name.
        encoded: what the encoder makes of each utterance, filled in where the decoder is heard.
    """
    wanted = {unit.inputs for unit in units}
    if units[0].part == "encoder":
        for samples in part.audio:
            with SecondMoments(model, sums, wanted, stop=True):
                model.encode([samples])
        return
    if not encoded:
        encoded += [model.encode([samples]) for samples in part.audio]
    with SecondMoments(model, sums, wanted):
        # One by one, so that padding does not count as input.
        for state, transcript in zip(encoded, part.transcripts, strict=True):
            model.log_probs(model.head_inputs(state, [transcript])[0])
