"""Measurement: decode speech with a quantized model, and say what it costs in words."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Sequence

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .allocation import choices_of, problem
from .bitmap import BitMap
from .errors import ModelError, SpeechError
from .files import atomic, cache_folder, sha256_json
from .instruments import CHUNK, divergence
from .models import SpeechModel, Transcript, replaced
from .profile import Profile
from .progress import Progress, Report, silent
from .quantizers import Sketch, quantize_gptq
from .speech import SpeechSet, load_audio
from .store import Measured
from .units import UNQUANTIZED
from .wer import NORMALIZER, count_errors, count_loops, normalize, paired_interval

METHOD = "gptq, inputs of full precision; greedy, at most 224 tokens"


def quantized_weights(
    model: SpeechModel, profile: Profile, bits: Sequence[int], report: Report = silent
) -> dict[str, Tensor]:
    """Round a model's weights as a bit map says, with the profile's Hessian sketches.

    Returns:
        New content by parameter name, float32; parameters left wholly at 16 bit are absent.

    Raises:
        ModelError: the model is not the profile's.
    """
    if model.digest != profile.source.model_digest:
        raise ModelError(
            f"The profile is of {profile.source.model} with other weights than {model.name}.",
            "Load the model that the profile was computed for.",
        )
    parameters = dict(model.module.named_parameters())
    weights: dict[str, Tensor] = {}
    for index, (unit, width) in enumerate(zip(profile.units, bits, strict=True)):
        report(Progress("rounding", index, len(profile.units)))
        if width == UNQUANTIZED:
            continue
        original = parameters[unit.parameter].detach()
        weights.setdefault(unit.parameter, original.clone())
        parts = profile.sketches[unit.inputs]
        hessian = Sketch(**{k: torch.from_numpy(np.array(v)) for k, v in parts.items()}).dense()
        rows = original[unit.start : unit.stop]
        rounded = quantize_gptq(rows, hessian, width, profile.settings.group_size)
        weights[unit.parameter][unit.start : unit.stop] = rounded.dequantize()
    return weights


def baseline(
    model: SpeechModel, speech: SpeechSet, report: Report = silent
) -> tuple[list[Transcript], list[Tensor]]:
    """Full precision transcripts and head inputs, cached by content of weights and audio.

    Returns:
        One transcript and one tensor (tokens, features) an utterance.
    """
    key = sha256_json([1, model.digest, [u.digest for u in speech.utterances]])
    path = cache_folder() / "baselines" / f"{key[:32]}.safetensors"
    total = len(speech)
    try:
        with safe_open(path, framework="pt") as handle:
            written = json.loads(handle.metadata()["transcripts"])
            states = [handle.get_tensor(str(i)) for i in range(total)]
        return [Transcript(text, tuple(tokens)) for text, tokens in written], states
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        pass  # absent or damaged: made again below
    transcripts: list[Transcript] = []
    states = []
    for start in range(0, total, CHUNK):
        report(Progress("full precision", start, total))
        audio = [load_audio(u) for u in speech.utterances[start : start + CHUNK]]
        with torch.no_grad():
            encoded = model.encode(audio)
            fresh = model.transcribe(encoded)
            states += [s.clone() for s in model.head_inputs(encoded, fresh)]
        transcripts += fresh
    text = json.dumps([[t.text, t.tokens] for t in transcripts])
    with atomic(path) as temporary:
        save_file(
            {str(i): s for i, s in enumerate(states)}, temporary, metadata={"transcripts": text}
        )
    return transcripts, states


def measure(
    model: SpeechModel,
    profile: Profile,
    chosen: BitMap,
    speech: SpeechSet,
    label: str = "",
    report: Report = silent,
) -> Measured:
    """WER of a bit map on a speech set, with a paired interval against full precision.

    Raises:
        SpeechError: a recording cannot be used, or no reference text is there to score against.
        ModelError: the model is not the profile's.
    """
    started = time.perf_counter()
    references = [u.text for u in speech.utterances]
    if not any(normalize(text) for text in references):
        raise SpeechError(
            f"{speech.name} has no reference texts to score against.",
            'Add "text" to its lines.',
        )
    full, reference_states = baseline(model, speech, report)
    weights = quantized_weights(model, profile, chosen.bits, report)
    heard: list[Transcript] = []
    total_loss, tokens = 0.0, 0
    for start in range(0, len(speech), CHUNK):
        report(Progress("measuring", start, len(speech)))
        part = slice(start, start + CHUNK)
        audio = [load_audio(u) for u in speech.utterances[part]]
        with torch.no_grad():
            with replaced(model, weights):
                encoded = model.encode(audio)
                heard += model.transcribe(encoded)
                states = model.head_inputs(encoded, full[part])
                changed = [model.log_probs(s) for s in states]
            reference = [model.log_probs(s) for s in reference_states[part]]
        count = sum(len(r) for r in reference)
        total_loss += divergence(reference, changed) * count
        tokens += count
    report(Progress("measuring", len(speech), len(speech)))
    full_errors = count_errors(references, [t.text for t in full])
    errors = count_errors(references, [t.text for t in heard])
    task = problem(profile)
    choice = choices_of(task, chosen.bits)
    size = int(task.bytes(choice))
    return Measured(
        label=label,
        map_digest=chosen.digest,
        bits=chosen.bits,
        bytes=size,
        avg_bits=float(task.average_bits(choice)),
        reduction_vs_fp32=task.reduction(size),
        wer=errors.wer,
        wer_full_precision=full_errors.wer,
        wer_increase=errors.wer - full_errors.wer,
        ci95=paired_interval(full_errors, errors),
        loss=total_loss / tokens,
        predicted_loss=float(task.loss(choice)),
        speech=speech.name,
        speech_digest=speech.digest,
        utterances=len(speech),
        words=int(errors.words.sum()),
        normalizer=NORMALIZER,
        method=METHOD,
        profile_digest=profile.digest,
        seconds=round(time.perf_counter() - started, 1),
        when=datetime.date.today().isoformat(),
        looped=count_loops([t.text for t in full], [t.text for t in heard]),
        transcripts=tuple(
            (u.digest, a.text, b.text)
            for u, a, b in zip(speech.utterances, full, heard, strict=True)
        ),
    )


def transcribe_files(model: SpeechModel, speech: SpeechSet) -> list[str]:
    """Transcripts of recordings, in order."""
    texts: list[str] = []
    for start in range(0, len(speech), CHUNK):
        audio = [load_audio(u) for u in speech.utterances[start : start + CHUNK]]
        with torch.no_grad():
            texts += [t.text for t in model.transcribe(model.encode(audio))]
    return texts
