"""Measurement: decode speech with a quantized model, and say what it costs in words."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .bitmap import BitMap
from .entries import read_entry, write_entry
from .errors import ModelError, SpeechError
from .files import cache_folder, sha256_json
from .instruments import CHUNK, divergence
from .models import SpeechModel, Transcript, replaced
from .options import Option
from .prediction import figures_of
from .profile import Profile
from .progress import Progress, Report, silent
from .quantizers import Sketch, Stored, quantize, restored
from .sensitivity import unit_weight
from .speech import SpeechSet, load_audio
from .store import Measured
from .units import Unit
from .wer import count_errors, count_loops, normalize, paired_interval

BATCH = 24
"""Utterances decoded together."""

ROUNDING = "inputs of full precision"


def quantized_weights(
    model: SpeechModel, profile: Profile, options: Sequence[Option], report: Report = silent
) -> dict[str, Tensor]:
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
) -> dict[str, Tensor]:
    """Parameters as what is stored for their units reads, by name; see `quantized_weights`."""
    parameters = dict(model.module.named_parameters())
    weights = dict(model.derived)
    for unit, option, stored in units:
        if option.form == "half":
            continue
        if unit.parameter not in weights:
            weights[unit.parameter] = parameters[unit.parameter].detach().clone()
        part = weights[unit.parameter][unit.start : unit.stop]
        part.copy_(restored(stored).view_as(part))
    return weights


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


def baseline(
    model: SpeechModel, speech: SpeechSet, report: Report = silent
) -> tuple[list[Transcript], list[Tensor]]:
    """Full precision transcripts and head inputs, cached by content of weights and audio.

    Returns:
        One transcript and one tensor (tokens, features) an utterance.
    """
    key = sha256_json([2, model.digest, [u.digest for u in speech.utterances]])
    path = cache_folder() / "baselines" / f"{key[:32]}.safetensors"
    total = len(speech)
    done = read_entry(path)
    if done is not None:
        tensors, written = done
        found = [Transcript(text, tuple(tokens)) for text, tokens in written]
        return found, [tensors[str(i)] for i in range(total)]
    transcripts: list[Transcript] = []
    states: list[Tensor] = []
    for start in range(0, total, CHUNK):
        report(Progress("full precision", start, total))
        audio = [load_audio(u) for u in speech.utterances[start : start + CHUNK]]
        with torch.no_grad():
            encoded = model.encode(audio)
            fresh = model.transcribe(encoded)
            states += [s.clone() for s in model.head_inputs(encoded, fresh)]
        transcripts += fresh
    note = [[t.text, t.tokens] for t in transcripts]
    write_entry(path, {str(i): s for i, s in enumerate(states)}, note)
    return transcripts, states


@dataclass(frozen=True)
class Score:
    """How a model with other weights does on a speech set, beside full precision.

    Attributes:
        wer, wer_full_precision, wer_increase: word error rates and their difference, fractions.
        ci95: paired bootstrap interval of the increase.
        loss: Kullback-Leibler divergence to full precision, nats a token.
        words: words in the normalized references.
        looped: utterances on which it ran away; see `wer.count_loops`.
        transcripts: (audio digest, full precision text, quantized text) an utterance.
    """

    wer: float
    wer_full_precision: float
    wer_increase: float
    ci95: tuple[float, float]
    loss: float
    words: int
    looped: int
    transcripts: tuple[tuple[str, str, str], ...]


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
    normalizer = normalizer or model.normalizer
    references = [u.text for u in speech.utterances]
    if not any(normalize(text, normalizer) for text in references):
        raise SpeechError(
            f"{speech.name} has no reference texts to score against.",
            'Add "text" to its lines.',
        )
    full, reference_states = baseline(model, speech, report)
    heard: dict[int, Transcript] = {}
    total_loss, tokens = 0.0, 0
    # Alike in length, so that few rows of a batch wait for its longest.
    order = sorted(range(len(speech)), key=lambda i: len(full[i].tokens))
    for start in range(0, len(speech), BATCH):
        report(Progress("measuring", start, len(speech)))
        part = order[start : start + BATCH]
        audio = [load_audio(speech.utterances[i]) for i in part]
        with torch.no_grad():
            with replaced(model, weights):
                encoded = model.encode(audio)
                heard.update(zip(part, model.transcribe(encoded), strict=True))
                states = model.head_inputs(encoded, [full[i] for i in part])
                changed = [model.log_probs(s) for s in states]
            reference = [model.log_probs(reference_states[i]) for i in part]
        count = sum(len(r) for r in reference)
        total_loss += divergence(reference, changed) * count
        tokens += count
    report(Progress("measuring", len(speech), len(speech)))
    full_errors = count_errors(references, [t.text for t in full], normalizer)
    texts = [heard[i].text for i in range(len(speech))]
    errors = count_errors(references, texts, normalizer)
    return Score(
        wer=errors.wer,
        wer_full_precision=full_errors.wer,
        wer_increase=errors.wer - full_errors.wer,
        ci95=paired_interval(full_errors, errors),
        loss=total_loss / tokens,
        words=int(errors.words.sum()),
        looped=count_loops([t.text for t in full], texts),
        transcripts=tuple(
            (u.digest, a.text, text)
            for u, a, text in zip(speech.utterances, full, texts, strict=True)
        ),
    )


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
) -> Measured:
    """WER of a bit map on a speech set, with a paired interval against full precision.

    Args:
        model: the profile's model.
        profile: the profile, whose rounding is used.
        chosen: the map.
        speech: the set, with reference texts.
        label: a name for tables.
        report: called with the progress.
        normalizer: text normalizer of both sides; the model's own if empty.
        weights: the map's weights where they are not as the profile rounds them.
        rounding: how these were rounded.

    Raises:
        SpeechError: a recording cannot be used, or no reference text is there to score against.
        ModelError: the model is not the profile's.
    """
    started = time.perf_counter()
    size, average, loss = figures_of(profile, chosen)
    if weights is None:
        weights = quantized_weights(model, profile, chosen.options, report)
    normalizer = normalizer or model.normalizer
    found = score(model, weights, speech, report, normalizer)
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
        seconds=round(time.perf_counter() - started, 1),
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
