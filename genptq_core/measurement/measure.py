"""Measurement: decode speech with a quantized model, and say what it costs in words."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from ..bitmaps.bitmap import BitMap
from ..bitmaps.figures import figures_of
from ..models import SpeechModel
from ..models.divergence import CHUNK
from ..profile import Profile
from ..progress import Report, silent
from ..rounding.rounded import check_model, quantized_weights, rounding_key
from ..speech.utterances import SpeechSet, load_audio
from .evaluation import Evaluation, Score
from .records import Measured

ROUNDING = "inputs of full precision"


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
    trial = Evaluation(speech, normalizer or model.normalizer)
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
        stop: an increase of WER, a fraction, at which to stop once it is decided; see `Evaluation`.

    Raises:
        SpeechError: a recording cannot be used, or no reference text is there to score against.
        ModelError: the model is not the profile's.
        ConstraintError: `stop` is no increase of WER.
    """
    check_model(model, profile)
    normalizer = normalizer or model.normalizer
    trial = Evaluation(speech, normalizer, stop)
    if weights is None:
        rounded = cache(lambda: quantized_weights(model, profile, chosen.options, report))
        trial.run(model, rounded, rounding_key(profile, chosen.options), report)
    else:
        trial.run(model, lambda: weights, "", report)
    return record_of(trial, model, profile, chosen, label, normalizer, rounding)


def record_of(
    trial: Evaluation,
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    label: str,
    normalizer: str,
    rounding: str = ROUNDING,
) -> Measured:
    """What is kept of a finished trial of a map."""
    figures = figures_of(profile, chosen)
    found, speech = trial.score(), trial.speech
    return Measured(
        label=label,
        map_digest=chosen.digest,
        options=chosen.options,
        bytes=figures.bytes,
        avg_bits=figures.avg_bits,
        reduction_vs_fp32=1 - figures.bytes / (4 * profile.source.parameters),
        wer=found.wer,
        wer_full_precision=found.wer_full_precision,
        wer_increase=found.wer_increase,
        ci95=found.ci95,
        loss=found.loss,
        predicted_loss=figures.predicted_loss,
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
