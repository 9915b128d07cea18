"""Measurement: decode speech with a quantized model, and say what it costs in words."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from .bitmap import BitMap
from .errors import ModelError
from .files import sha256_json
from .instruments import CHUNK
from .models import SpeechModel
from .models.made import held_or_made
from .options import Option
from .prediction import figures_of
from .profile import Profile
from .progress import Progress, Report, silent
from .quantizers import Sketch, Stored, quantize, restored
from .sensitivity import unit_weight
from .speech import SpeechSet, load_audio
from .store import Measured
from .trial import Score, Trial
from .units import Unit

ROUNDING = "inputs of full precision"


def quantized_weights(
    model: SpeechModel, profile: Profile, options: Sequence[Option], report: Report = silent
) -> Mapping[str, Tensor]:
    """Round a model's weights as a bit map says, with the profile's Hessian sketches.

    Returns:
        New content by parameter name, float32; parameters left wholly at 16 bit are absent,
        those that the architecture computes anew are there.

    Raises:
        ModelError: the model is not the profile's.
    """
    return restored_weights(model, stored_units(model, profile, options, report))


def restored_weights(
    model: SpeechModel, units: Iterable[tuple[Unit, Option, Stored]]
) -> Mapping[str, Tensor]:
    """Parameters as what is stored for their units reads, by name; see `quantized_weights`.

    Of a large model they are made from their codes as layers run.
    """
    parameters = dict(model.module.named_parameters())
    parts: dict[str, list[tuple[Unit, Stored]]] = {}
    for unit, option, stored in units:
        if option.form != "half":
            parts.setdefault(unit.parameter, []).append((unit, stored))
    makers = {name: partial(_restored, parameters[name], found) for name, found in parts.items()}
    return held_or_made(model.module, makers, model.derived)


def _restored(parameter: Tensor, units: Iterable[tuple[Unit, Stored]]) -> Tensor:
    weight = parameter.detach().clone()
    for unit, stored in units:
        part = weight[unit.start : unit.stop]
        part.copy_(restored(stored).view_as(part))
    return weight


def stored_units(
    model: SpeechModel, profile: Profile, options: Sequence[Option], report: Report = silent
) -> Iterator[tuple[Unit, Option, Stored]]:
    """Every unit with its option and what is stored for it, in the profile's order.

    Raises:
        ModelError: the model is not the profile's, or a unit cannot be stored so small.
    """
    check_model(model, profile)
    parameters = dict(model.module.named_parameters())
    for index, (unit, option) in enumerate(zip(profile.units, options, strict=True)):
        report(Progress("rounding", index, len(profile.units)))
        hessian, rows = None, None
        if option.form != "half":
            hessian, rows = unit_statistics(profile, unit)
        weight = unit_weight(parameters[unit.parameter], unit)
        stored = quantize(weight, hessian, rows, [option])[0]
        if stored is None:
            raise ModelError(
                f"{unit.name} cannot be stored at {option.label}.", "Choose a wider one."
            )
        yield unit, option, stored


def check_model(model: SpeechModel, profile: Profile) -> None:
    """Make sure that a profile is of this very model.

    Raises:
        ModelError: it is not.
    """
    if model.family != profile.source.family:
        raise ModelError(
            f"The profile is of {profile.source.model}, a {profile.source.family} model, and "
            f"{model.name} is a {model.family} model.",
            "Load the model that the profile was computed for.",
        )
    if model.digest != profile.source.model_digest:
        raise ModelError(
            f"The profile is of {profile.source.model} with other weights than {model.name}.",
            "Load the model that the profile was computed for.",
        )


def unit_statistics(profile: Profile, unit: Unit) -> tuple[Tensor | None, Tensor | None]:
    """A unit's Hessian (columns, columns) and the importance of its rows (rows,), if there."""
    parts, rows = profile.sketches.get(unit.inputs), profile.importance.get(unit.parameter)
    hessian = importance = None
    if parts is not None:
        hessian = Sketch(**{k: torch.from_numpy(np.array(v)) for k, v in parts.items()}).dense()
    if rows is not None:
        importance = torch.from_numpy(np.array(rows[unit.start : unit.stop])).float()
    return hessian, importance


def score(
    model: SpeechModel,
    weights: Mapping[str, Tensor],
    speech: SpeechSet,
    report: Report = silent,
    normalizer: str = "",
) -> Score:
    """Decode a speech set with other weights, and compare with full precision.

    Args:
        model: the model.
        weights: new content by parameter name.
        speech: the set.
        report: called with the progress.
        normalizer: text normalizer of both sides; the model's own if empty.

    Raises:
        SpeechError: a recording cannot be used, or no reference text is there to score against.
    """
    trial = Trial(speech, normalizer or model.normalizer)
    trial.run(model, lambda: weights, "", report)
    return trial.score()


def measure(
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    speech: SpeechSet,
    label: str = "",
    report: Report = silent,
    normalizer: str = "",
    weights: Mapping[str, Tensor] | None = None,
    rounding: str = ROUNDING,
    stop: float | None = None,
) -> Measured:
    """WER of a bit map on a speech set, with a paired interval against full precision.

    What is in the cache is not computed again, so a measurement that was cut off goes on.

    Args:
        model: the profile's model.
        profile: the profile, whose rounding is used.
        chosen: the map.
        speech: the set, with reference texts.
        label: a name for tables.
        report: called with the progress.
        normalizer: text normalizer of both sides; the model's own if empty.
        weights: the map's weights where they are not as the profile rounds them; nothing of them
            is cached.
        rounding: how these were rounded.
        stop: an increase of WER, a fraction, at which to stop once it is decided; see `Trial`.

    Raises:
        SpeechError: a recording cannot be used, or no reference text is there to score against.
        ModelError: the model is not the profile's.
        ConstraintError: `stop` is no increase of WER.
    """
    check_model(model, profile)
    normalizer = normalizer or model.normalizer
    trial = Trial(speech, normalizer, stop)
    if weights is None:
        rounded = cache(lambda: quantized_weights(model, profile, chosen.options, report))
        trial.run(model, rounded, rounding_key(profile, chosen.options), report)
    else:
        trial.run(model, lambda: weights, "", report)
    return record_of(trial, model, profile, chosen, label, normalizer, rounding)


def rounding_key(profile: Profile, options: Sequence[Option]) -> str:
    """Stands for a map's weights as the profile rounds them."""
    return sha256_json([profile.digest, [option.key for option in options]])


def record_of(
    trial: Trial,
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    label: str,
    normalizer: str,
    rounding: str = ROUNDING,
) -> Measured:
    """What is kept of a finished trial of a map."""
    size, average, loss = figures_of(profile, chosen)
    found, speech = trial.score(), trial.speech
    return Measured(
        label=label,
        map_digest=chosen.digest,
        options=chosen.options,
        bytes=size,
        avg_bits=average,
        reduction_vs_fp32=1 - size / (4 * profile.source.parameters),
        wer=found.wer,
        wer_full_precision=found.wer_full_precision,
        wer_increase=found.wer_increase,
        ci95=found.ci95,
        loss=found.loss,
        predicted_loss=loss,
        speech=speech.name,
        speech_digest=speech.digest,
        utterances=len(speech),
        words=found.words,
        normalizer=normalizer,
        method=f"{rounding}; {model.decoding}",
        profile_digest=profile.digest,
        seconds=round(trial.seconds, 1),
        when=datetime.date.today().isoformat(),
        looped=found.looped,
        transcripts=found.transcripts,
    )


def transcribe_files(model: SpeechModel, speech: SpeechSet) -> list[str]:
    """Transcripts of recordings, in order."""
    texts: list[str] = []
    for start in range(0, len(speech), CHUNK):
        audio = [load_audio(u) for u in speech.utterances[start : start + CHUNK]]
        with torch.no_grad():
            texts += [t.text for t in model.transcribe(model.encode(audio))]
    return texts
