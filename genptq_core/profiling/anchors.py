"""Anchors: a few configurations whose loss is measured, to check and correct the prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import ProfileError
from ..models import Transcript
from ..models.divergence import divergence
from ..models.weights import replaced
from ..options import UNQUANTIZED, USUAL_GROUP, Option
from ..profile import Anchor, anchored
from ..progress import Progress
from ..speech.utterances import load_audio
from ..storage.json_files import read_json, write_json
from ..units import Unit
from .workspace import SCHEMA, VERSION, Workspace

COARSE = 2
"""Widths up to this one are checked against measured losses, group by group; of entropy codes
the narrowest and this one."""

UNIFORM = 4
"""Widths up to this one are checked everywhere at once."""

Weights = Callable[[tuple[Option, ...]], Mapping[str, Tensor]]


def measure_anchors(
    work: Workspace, transcripts: Sequence[Transcript], weights: Weights
) -> tuple[Anchor, ...]:
    """Measure the loss of each anchor that can be had on calibration speech; resumes.

    Args:
        work: the profile in the making.
        transcripts: what the model wrote, one an utterance.
        weights: gives the parameters of a configuration.
    """
    path = work.folder / "anchors.json"
    wanted = anchor_maps(work.model.units, work.settings.options)
    known: dict[tuple[Option, ...], float] = {}
    if path.exists():
        try:
            document = read_json(path, SCHEMA, VERSION, ProfileError, "")
            known = {
                tuple(Option.parse(key) for key in a["options"]): float(a["loss"])
                for a in document["anchors"]
            }
        except (ProfileError, KeyError, TypeError, ValueError):
            known = {}
    work.hits += sum(options in known for options in wanted)
    todo = [options for options in wanted if options not in known]
    if todo:
        count = anchored(len(work.speech))
        audio = [load_audio(u) for u in work.speech.utterances[:count]]
        model, written = work.model, transcripts[:count]
        with torch.no_grad():
            encoded = [model.encode([samples]) for samples in audio]

            def decide(again: bool) -> list[Tensor]:
                out = []
                for samples, before, transcript in zip(audio, encoded, written, strict=True):
                    state = model.encode([samples]) if again else before
                    out.append(model.log_probs(model.head_inputs(state, [transcript])[0]))
                return out

            reference = decide(again=False)
            for options in todo:
                work.report(Progress("anchors", len(known), len(wanted)))
                # What the encoder wrote stays as it is where no unit of it is changed.
                pairs = zip(model.units, options, strict=True)
                again = any(u.part == "encoder" and o != UNQUANTIZED for u, o in pairs)
                changed = weights(options)
                # Where an option cannot be had for a unit, no such configuration is there.
                if not all(bool(torch.isfinite(tensor).all()) for tensor in changed.values()):
                    continue
                with replaced(model, changed):
                    known[options] = divergence(reference, decide(again))
                records = [
                    {"options": [o.key for o in found], "loss": loss}
                    for found, loss in known.items()
                ]
                write_json(path, SCHEMA, VERSION, {"anchors": records})
    work.report(Progress("anchors", len(wanted), len(wanted)))
    return tuple(Anchor(options, known[options]) for options in wanted if options in known)


def anchor_maps(units: Sequence[Unit], options: Sequence[Option]) -> list[tuple[Option, ...]]:
    """What to measure: each group of units alone at each coarse option, and uniform maps.

    Of integers in groups only one group size is measured; it speaks for the others.
    """
    sizes = {option.group_size for option in options if option.form == "grid"}
    usual = USUAL_GROUP if USUAL_GROUP in sizes else max(sizes, default=0)
    tried = [option for option in options if option.form == "coded" or option.group_size == usual]
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
    return maps + [tuple(option for _ in units) for option in tried if option.bits <= UNIFORM]
