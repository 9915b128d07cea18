"""What a bit map costs in words: speech decoded with the quantized model and with the original."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from ..bitmaps.bitmap import BitMap
from ..bitmaps.figures import figures_of
from ..models import SpeechModel
from ..models.asking import (
    asked_in_words,
    asked_of,
    by_language,
    decoding_in_words,
    in_language,
)
from ..models.divergence import CHUNK
from ..profile import Profile
from ..progress import Report, silent
from ..rounding.rounded import check_model, quantized_weights, rounding_key
from ..rounding.rounded_units import RoundedUnits
from ..speech.languages import normalizer_in
from ..speech.long_audio import is_long
from ..speech.normalizers import MULTILINGUAL
from ..speech.utterances import SpeechSet, load_audio
from ..speech.writing import normalizer_for
from .evaluation import Evaluation, Score
from .long_speech import check_lengths, transcribe_long
from .records import Measured

ROUNDING = "inputs of full precision"
"""How a profile rounds, as records say it."""

ROUNDED = RoundedUnits()
"""Units that this process rounded to measure maps."""


def measure(
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    speech: SpeechSet,
    *,
    label: str = "",
    report: Report = silent,
    normalizer: str = "",
    weights: Mapping[str, Tensor] | None = None,
    rounding: str = ROUNDING,
    stop: float | None = None,
) -> Measured:
    """WER of a bit map on a speech set, with a paired interval against full precision.

    What is in the cache is not computed again, so a measurement that was cut off continues.

    Args:
        model: the profile's model.
        profile: the profile; its rounding is used unless `weights` are given.
        chosen: the map.
        speech: the set, with reference texts.
        label: a name for tables.
        report: called with the progress.
        normalizer: text normalizer of both sides; if empty what fits the model and the rows'
            languages, or where that does not fit the texts, one that does.
        weights: the map's weights, if they are not rounded as the profile rounds; their results
            are not cached.
        rounding: how they were rounded.
        stop: an increase of WER, a fraction, at which to stop once it is decided; see `Evaluation`.

    Raises:
        SpeechError: a recording cannot be used, no utterance has a reference text, or the
            normalizer does not fit the texts.
        ModelError: the model is not the profile's.
        ConstraintError: `stop` is not an increase of WER.
    """
    check_model(model, profile)
    check_lengths(model, speech)
    normalizer = normalizer_of(model, speech, normalizer)
    evaluation = Evaluation(speech, normalizer, stop)
    if weights is None:
        rounded = cache(lambda: quantized_weights(model, profile, chosen.options, report, ROUNDED))
        evaluation.run(model, rounded, rounding_key(profile, chosen.options), report)
    else:
        evaluation.run(model, lambda: weights, "", report)
    return record_of(
        evaluation,
        model,
        profile,
        chosen,
        label=label,
        normalizer=normalizer,
        rounding=rounding,
    )


def normalizer_of(model: SpeechModel, speech: SpeechSet, wanted: str = "") -> str:
    """The text normalizer for a model on a speech set.

    Args:
        model: the model; its own normalizer is taken where it fits the texts.
        speech: the set.
        wanted: the one that was asked for; "" for none.

    Raises:
        SpeechError: there is no normalizer `wanted`, or it does not fit the texts.
    """
    texts = [utterance.text for utterance in speech.utterances]
    own = usual_normalizer(model, speech)
    return normalizer_for(texts, own, wanted, f"the texts of {speech.name}")


def usual_normalizer(model: SpeechModel, speech: SpeechSet) -> str:
    """The text normalizer that fits what is written for a speech set, by the languages of its rows.

    For rows of several languages that is one that keeps the marks of all of them.

    Raises:
        ModelError: the model does not know a language.
    """
    fitting = {
        normalizer_in(u.language, model.normalizer)
        if in_language(model, u.language) is model and not asked_of(model)[0]
        else in_language(model, u.language).normalizer
        for u in speech.utterances
    }
    return fitting.pop() if len(fitting) == 1 else MULTILINGUAL


def record_of(
    evaluation: Evaluation,
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    *,
    label: str,
    normalizer: str,
    rounding: str = ROUNDING,
) -> Measured:
    """The record of a finished evaluation of a map; arguments as in `measure`."""
    figures = figures_of(profile, chosen)
    scored, speech = evaluation.score(), evaluation.speech
    return Measured(
        label=label,
        map_digest=chosen.digest,
        options=chosen.options,
        bytes=figures.bytes,
        avg_bits=figures.avg_bits,
        reduction_vs_fp32=1 - figures.bytes / (4 * profile.source.parameters),
        wer=scored.wer,
        wer_full_precision=scored.wer_full_precision,
        wer_increase=scored.wer_increase,
        ci95=scored.ci95,
        loss=scored.loss,
        predicted_loss=figures.predicted_loss,
        speech=speech.name,
        speech_digest=speech.digest,
        utterances=len(speech),
        words=scored.words,
        normalizer=normalizer,
        method=f"{rounding}; {decoding_in_words(model, speech.utterances)}",
        profile_digest=profile.digest,
        seconds=round(evaluation.seconds, 1),
        when=datetime.date.today().isoformat(),
        looped=len(scored.runaways.loops),
        insertions_on_silence=scored.insertions_on_silence,
        transcripts=scored.transcripts,
        runaways=scored.runaways,
        long=scored.long,
        asked=asked_in_words(model, speech.utterances),
    )


def score(
    model: SpeechModel,
    weights: Mapping[str, Tensor],
    speech: SpeechSet,
    *,
    report: Report = silent,
    normalizer: str = "",
) -> Score:
    """WER of a model with other weights on a speech set, compared with full precision.

    Args:
        model: the model.
        weights: new content by parameter name.
        speech: the set.
        report: called with the progress.
        normalizer: text normalizer of both sides; if empty the model's own, or where that does not
            fit the texts, one that does.

    Raises:
        SpeechError: a recording cannot be used, no utterance has a reference text, or the
            normalizer does not fit the texts.
    """
    evaluation = Evaluation(speech, normalizer_of(model, speech, normalizer))
    evaluation.run(model, lambda: weights, "", report)
    return evaluation.score()


def transcribe_files(model: SpeechModel, speech: SpeechSet) -> list[str]:
    """Transcripts of recordings of any length, in the set's order.

    Raises:
        ModelError: the model takes no recordings of more than 30 s, and there is one.
        SpeechError: a recording cannot be used.
    """
    texts: list[str] = []
    for start in range(0, len(speech), CHUNK):
        part = speech.utterances[start : start + CHUNK]
        written: dict[int, str] = {}
        for spoken, members in by_language(model, part):
            short = [i for i in members if not is_long(part[i])]
            if short:
                with torch.no_grad():
                    encoded = spoken.encode([load_audio(part[i]) for i in short])
                    found = spoken.transcribe(encoded)
                written |= {i: one.text for i, one in zip(short, found, strict=True)}
            for i in members:
                if i not in written:
                    written[i] = transcribe_long(spoken, part[i])
        texts += [written[i] for i in range(len(part))]
    return texts
