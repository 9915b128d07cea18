"""Anchors: a few configurations whose loss is measured, to check and correct the prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ProfileError
from ..models import Transcript
from ..models.asking import by_language
from ..models.divergence import CHUNK, divergence
from ..models.weights import replaced
from ..options import UNQUANTIZED, USUAL_GROUP, Option, divides
from ..profile import Anchor
from ..profile.values import said_anchored
from ..progress import Progress
from ..speech.utterances import load_audio
from ..storage.json_files import read_json, write_json
from ..units import Unit
from .workspace import SCHEMA, VERSION, Workspace

COARSE = 2
"""Widths up to this one are measured group by group; of entropy codes the narrowest and this."""

UNIFORM = 4
"""Widths up to this one are measured on all units at once."""

_SPARED = 5
"""Entropy codes measured on all units, from which on every second rate is enough.

Of the bundled profiles, the loss predicted of measured maps then spreads no more (standard
deviation of log(measured / predicted) 0.542 instead of 0.541, and 0.387 instead of 0.386)."""

Weights = Callable[[tuple[Option, ...]], Mapping[str, Tensor]]
"""Gives the parameters of a configuration, by name."""


def measure_anchors(
    workspace: Workspace, transcripts: Sequence[Transcript], weights: Weights, count: int
) -> tuple[Anchor, ...]:
    """Measure the loss of each possible anchor on calibration speech; resumes.

    An anchor is left out if one of its units cannot be stored with its option.

    Args:
        workspace: the profile being computed.
        transcripts: what the model wrote, one per utterance.
        weights: gives the parameters of a configuration.
        count: how many utterances, from the first on, to measure on.
    """
    path = workspace.folder / "anchors.json"
    wanted = anchor_maps(workspace.model.units, workspace.settings.options)
    said = said_anchored(count, len(workspace.speech))
    losses = _read_losses(path, said)
    workspace.hits += sum(options in losses for options in wanted)
    missing = [options for options in wanted if options not in losses]
    if missing:
        model = workspace.model
        used = workspace.speech.utterances[:count]
        audio = [load_audio(u) for u in used]
        on_cpu = next(iter(workspace.parameters.values())).device.type == "cpu"
        step = 1 if on_cpu else CHUNK  # a processor's cache holds one utterance
        parts = [
            (spoken, members[start : start + step])
            for spoken, members in by_language(model, used)
            for start in range(0, len(members), step)
        ]
        with torch.no_grad():
            original = [spoken.encode([audio[i] for i in members]) for spoken, members in parts]

            def log_probs(encode_again: bool) -> list[Tensor]:
                out: dict[int, Tensor] = {}
                for (spoken, members), before in zip(parts, original, strict=True):
                    encoded = spoken.encode([audio[i] for i in members]) if encode_again else before
                    states = spoken.head_inputs(encoded, [transcripts[i] for i in members])
                    out |= zip(members, map(spoken.log_probs, states), strict=True)
                return [out[i] for i in range(count)]

            reference = log_probs(encode_again=False)
            for options in missing:
                workspace.report(Progress("anchors", len(losses), len(wanted)))
                pairs = zip(model.units, options, strict=True)
                encoder_changed = any(u.part == "encoder" and o != UNQUANTIZED for u, o in pairs)
                changed = weights(options)
                # NaN stands for an option with which a unit cannot be stored.
                if not all(bool(torch.isfinite(tensor).all()) for tensor in changed.values()):
                    continue
                with replaced(model, changed):
                    losses[options] = divergence(reference, log_probs(encoder_changed))
                _write_losses(path, losses, said)
    workspace.report(Progress("anchors", len(wanted), len(wanted)))
    return tuple(Anchor(options, losses[options]) for options in wanted if options in losses)


def _read_losses(path: Path, said: int) -> dict[tuple[Option, ...], float]:
    """Losses measured so far, by the options of each unit.

    None if the file is damaged, or of other utterances than are said.
    """
    try:
        document = read_json(path, SCHEMA, VERSION, ProfileError, "")
        if document.get("utterances", 0) != said:
            return {}
        return {
            tuple(Option.parse(key) for key in record["options"]): float(record["loss"])
            for record in document["anchors"]
        }
    except (ProfileError, KeyError, TypeError, ValueError):
        return {}


def _write_losses(path: Path, losses: Mapping[tuple[Option, ...], float], said: int) -> None:
    records = [
        {"options": [option.key for option in options], "loss": loss}
        for options, loss in losses.items()
    ]
    write_json(path, SCHEMA, VERSION, {"utterances": said, "anchors": records})


def anchor_maps(units: Sequence[Unit], options: Sequence[Option]) -> list[tuple[Option, ...]]:
    """Maps to measure: each group of units alone at each coarse option, and uniform maps.

    Of integers in groups only one group size is measured, and stands for the others. A block type
    is measured on all units that can be stored as it, convolutions left out.
    """
    sizes = {option.group_size for option in options if option.form == "grid"}
    usual = USUAL_GROUP if USUAL_GROUP in sizes else max(sizes, default=0)
    blocks = [option for option in options if option.form == "block"]
    tried = [
        option
        for option in options
        if option.form == "coded" or (option.form == "grid" and option.group_size == usual)
    ]
    narrow = min((option for option in tried if option.form == "coded"), default=None)
    checked = [
        option
        for option in tried
        if option == narrow or option.bits == COARSE or option.form == "grid"
        if option.bits <= COARSE
    ]
    maps = [
        tuple(option if unit.group == group else UNQUANTIZED for unit in units)
        for group in dict.fromkeys(unit.group for unit in units)
        for option in checked
    ]
    uniform = [option for option in tried if option.bits <= UNIFORM]
    coded = [option for option in uniform if option.form == "coded"]
    if len(coded) >= _SPARED:
        spared = sorted(coded)[::-1][1::2]
        uniform = [option for option in uniform if option not in spared]
    maps += [tuple(option for _ in units) for option in uniform]
    return maps + [
        tuple(
            option if unit.kind != "convolution" and divides(option, unit.columns) else UNQUANTIZED
            for unit in units
        )
        for option in blocks
    ]
