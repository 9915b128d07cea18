"""Compiling a bit map: each layer rounded for the inputs it will really get, then tuned.

First the layers are rounded in the network's order, each with the second moments of the inputs
that the already rounded ones before it produce (`in_order`). Then what stays at 16 bit anyway is
tuned (`tuning`). A compiled model is not a byte larger.

Both are judged on utterances set aside: what does not help there is thrown away.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..bitmaps.bitmap import BitMap
from ..errors import SpeechError
from ..models import SpeechModel
from ..models.asking import by_language
from ..models.layered import overlaid
from ..options import Option
from ..profile import Profile
from ..progress import Report, silent
from ..quantizers import Stored
from ..speech.utterances import SpeechSet, load_audio
from ..speech.windows import in_windows
from ..storage.digests import sha256_json
from ..storage.locations import compiled_folder
from ..units import Unit
from .baseline import baseline
from .in_order import ReferenceSpeech, round_in_order
from .rounded import check_model, restored_weights, stored_units
from .tuning import TuningSettings, loss_of, tune

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
        batch: utterances per step.
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
            outside the units, tuned, are exact in float16.
        before: loss on the utterances set aside with the profile's own rounding, nats per token.
        rounded: the same after rounding in order.
        after: the same after tuning.
        digest: of the map, the settings and the speech that it was compiled with.
    """

    stored: tuple[tuple[Unit, Option, Stored], ...]
    weights: Mapping[str, Tensor]
    before: float
    rounded: float
    after: float
    digest: str

    @property
    def tuned(self) -> dict[str, Tensor]:
        """Of the weights, those outside the units."""
        units = {unit.parameter for unit, _, _ in self.stored}
        return {name: self.weights[name] for name in self.weights if name not in units}


def compile_map(
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    speech: SpeechSet,
    settings: CompileSettings | None = None,
    report: Report = silent,
) -> Compiled:
    """Compile a bit map on unlabelled speech; continues where an earlier call was cut off.

    Args:
        model: the original.
        profile: its profile.
        chosen: the map.
        speech: speech of the kind that the model is for; reference texts are not used.
            Recordings of more than 30 s are cut at pauses.
        settings: how.
        report: called with the progress of each stage.

    Raises:
        SpeechError: there is too little speech, or it is of several languages.
        ModelError: the model is not the profile's.
    """
    settings = settings or CompileSettings()
    speech = in_windows(speech)
    check_model(model, profile)
    spoken = by_language(model, speech.utterances)
    if len(spoken) > 1:
        raise SpeechError(
            f"{speech.name} has rows of several languages, and a map is compiled on one.",
            "Give the rows of one language, or name one with --language.",
        )
    model = spoken[0][0]
    if len(speech) <= settings.held_out + settings.batch:
        raise SpeechError(
            f"{speech.name} has {len(speech)} utterances; {settings.held_out} are set aside.",
            "Give more speech; it needs no transcripts.",
        )
    keys = [_VERSION, profile.digest, model.text_digest, chosen.digest, speech.digest]
    keys.append(dataclasses.asdict(settings))
    digest = sha256_json(keys)
    folder = compiled_folder(digest)
    transcripts, states = baseline(model, speech.utterances, report)
    reference = ReferenceSpeech([load_audio(u) for u in speech.utterances], transcripts, states)
    learn, judge = reference[: -settings.held_out], reference[-settings.held_out :]
    stored = tuple(stored_units(model, profile, chosen.options, report))
    weights = restored_weights(model, stored)
    before = rounded = loss_of(model, weights, judge)
    if settings.sequential:
        weights = {}  # never two changed copies of the model
        ordered = round_in_order(
            model,
            profile,
            chosen,
            learn[: settings.sequential],
            folder=folder,
            report=report,
        )
        weights = restored_weights(model, ordered)
        rounded = loss_of(model, weights, judge)
        if rounded < before:
            stored = ordered
        else:
            weights = {}
            rounded, weights = before, restored_weights(model, stored)
    after = rounded
    if settings.passes:
        tuned = tune(
            model,
            weights,
            learn=learn,
            judge=judge,
            loss=rounded,
            settings=TuningSettings(
                passes=settings.passes,
                rate=settings.rate,
                batch=settings.batch,
                checks=settings.checks,
            ),
            path=folder / "tuning.safetensors",
            report=report,
        )
        weights, after = overlaid(weights, tuned.weights), tuned.loss
    return Compiled(
        stored=stored,
        weights=weights,
        before=before,
        rounded=rounded,
        after=after,
        digest=digest,
    )
