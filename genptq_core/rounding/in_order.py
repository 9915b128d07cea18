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
class ReferenceSpeech:
    """Utterances with what the original makes of them.

    Attributes:
        audio: samples at 16 kHz.
        transcripts: what the original wrote.
        states: its inputs of the output projection, each (decisions, features).
    """

    audio: list[np.ndarray]
    transcripts: list[Transcript]
    states: list[Tensor]

    def __getitem__(self, which: slice) -> ReferenceSpeech:
        return ReferenceSpeech(self.audio[which], self.transcripts[which], self.states[which])

    def __len__(self) -> int:
        return len(self.audio)


def round_in_order(
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    speech: ReferenceSpeech,
    *,
    folder: Path,
    report: Report,
) -> tuple[tuple[Unit, Option, Stored], ...]:
    """Round block after block, each with the inputs that the rounded ones before it give.

    Args:
        model: the original.
        profile: its profile.
        chosen: the map.
        speech: utterances whose inputs are summed up.
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
        rounded = _load_block(path, units, option_of)
        if key[0] == "encoder":
            encoded.clear()
        if rounded is None:
            sums: dict[str, Tensor] = {}
            if any(option_of[unit].form != "half" for unit in units):
                with torch.no_grad(), replaced(model, weights):
                    _sum_inputs(model, speech, units, sums, encoded)
            rounded = {}
            for unit in units:
                _, importance = unit_statistics(profile, unit)
                weight, option = unit_weight(parameters[unit.parameter], unit), option_of[unit]
                stored = quantize(weight, sums.get(unit.inputs), importance, [option])[0]
                if stored is None:
                    raise ModelError(
                        f"{unit.name} cannot be stored at {option.label}.", "Choose a wider one."
                    )
                rounded[unit] = stored.cpu()
            _save_block(path, rounded, option_of)
        done |= rounded
        fresh = restored_weights(model, ((u, option_of[u], s) for u, s in rounded.items()))
        weights = overlaid(weights, fresh)
    report(Progress("compiling", len(blocks), len(blocks)))
    return tuple((unit, option_of[unit], done[unit]) for unit in profile.units)


def _save_block(
    path: Path, rounded: Mapping[Unit, Stored], option_of: Mapping[Unit, Option]
) -> None:
    tensors = {
        f"{unit.name}:{part}": tensor
        for unit, stored in rounded.items()
        for part, tensor in as_tensors(unit.name, option_of[unit], stored).items()
    }
    write_cached(path, tensors)


def _load_block(
    path: Path, units: Sequence[Unit], option_of: Mapping[Unit, Option]
) -> dict[Unit, Stored] | None:
    entry = read_cached(path)
    if entry is None:
        return None
    rounded: dict[Unit, Stored] = {}
    for unit in units:
        head = f"{unit.name}:"
        parts = {k.removeprefix(head): t for k, t in entry[0].items() if k.startswith(head)}
        rounded[unit] = from_tensors(parts, option_of[unit], unit.rows, unit.columns)
    return rounded


def _sum_inputs(
    model: SpeechModel,
    speech: ReferenceSpeech,
    units: Sequence[Unit],
    sums: dict[str, Tensor],
    encoded: list[Any],
) -> None:
    """Sum up the inputs of some units of one part of the model.

    Args:
        model: with what is rounded so far.
        speech: utterances.
        units: whose inputs.
        sums: where they go, by input name.
        encoded: what the encoder makes of each utterance, filled in for the decoder's units.
    """
    wanted = {unit.inputs for unit in units}
    if units[0].part == "encoder":
        for samples in speech.audio:
            with SecondMoments(model, sums, wanted, stop=True):
                model.encode([samples])
        return
    if not encoded:
        encoded += [model.encode([samples]) for samples in speech.audio]
    with SecondMoments(model, sums, wanted):
        # One by one, so that padding does not count as input.
        for state, transcript in zip(encoded, speech.transcripts, strict=True):
            model.log_probs(model.head_inputs(state, [transcript])[0])
