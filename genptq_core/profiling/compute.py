"""Sensitivities: what every option of every unit costs, from gradients and rounding errors.

For utterance u, labels y drawn from the model's distribution p on its own transcript, and the
rounding error D[l,o] = Q_o(W_l) - W_l of unit l at option o, one backward pass gives

    v[u,l,o] = < dL_u/dW_l , D[l,o] >,     L_u = - sum_t log p(y_t).

Since E[g g^T] over such labels is the Fisher information, the divergence of any configuration
from full precision is, to second order,

    KL(z) = 1/2 * sum_u (sum_l v[u,l,o_l])^2 / sum_u T_u      nats per token

(projected Fisher: Amari's Fisher information, taken only along the errors that can occur; cross
terms between units are in it). Stages are cached by content in a workspace folder, so a run that
was cut off continues where it stopped.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import profile as profiles
from ..errors import ModelError
from ..formats.registry import overheads
from ..models import SpeechModel
from ..models.asking import asked_of, text_digests
from ..models.device import device_key, multiplies_bf16
from ..models.weights import parameter_count
from ..profile import Profile, Settings, Source, anchored
from ..profile.values import said_anchored
from ..progress import Progress, Report, silent
from ..speech.utterances import SpeechSet
from ..speech.windows import in_windows
from ..storage.cache import read_cached, write_cached
from ..storage.digests import sha256_json
from ..storage.locations import workspace_folder
from .anchors import measure_anchors
from .calibration_pass import CalibrationPass, run_calibration_pass
from .gradients import ShareGradients, backward, project_all
from .rounding_errors import RoundingErrors
from .workspace import VERSION, Workspace, opened

IMPORTANCE_UTTERANCES = 16
"""Calibration utterances whose gradients tell how much each row of a weight matters."""

_IMPORTANCE_DIVISOR = 4  # of a smaller set, one utterance in four: each costs a backward pass


@dataclass(frozen=True)
class ComputedProfile:
    """A computed profile, and how much of it came from the cache.

    Attributes:
        profile: the profile.
        cache_hits: how many steps came from the cache.
        backward_passes: how many backward passes were run.
    """

    profile: Profile
    cache_hits: int
    backward_passes: int


def compute(
    model: SpeechModel,
    speech: SpeechSet,
    out: Path,
    settings: Settings | None = None,
    report: Report = silent,
    *,
    listening: SpeechSet | None = None,
    max_memory: int | None = None,
    share: ShareGradients | None = None,
    float32: bool = False,
) -> ComputedProfile:
    """Compute a profile, as far as it is not in the cache, and write it to `out`.

    Args:
        model: the model to profile.
        speech: the calibration set; reference texts are not used. Recordings of more than 30 s are
            cut at pauses.
        out: folder for the profile.
        settings: options, draws, seed.
        report: called with the progress of each stage.
        listening: more speech, transcribed only for the statistics of inputs: forward passes are
            cheap, and rounding overfits the inputs that it is fitted to.
        max_memory: most bytes of memory that may be used; with less, fewer gradients are held.
        share: has gradients taken by other processes; see `profiling.shared_gradients`.
        float32: gradients in float32 also where the processor multiplies bf16 much faster.

    Raises:
        FootprintError: the computation needs more memory than that, or more disk than is free.
        ModelError: a weight or a gradient is not finite.
        SpeechError: a recording cannot be used.
        GenPTQError: the workspace folder or `out` cannot be written.
    """
    settings = settings or Settings()
    speech = in_windows(speech)
    listening = in_windows(listening) if listening else None
    for name in sorted({unit.parameter for unit in model.units}):
        if not bool(torch.isfinite(model.module.get_parameter(name)).all()):
            raise ModelError(
                f"{name} of {model.name} holds NaN or infinite weights.", "Get the model again."
            )
    audio_digests = [[u.digest for u in s.utterances] for s in (speech, listening) if s]
    bf16 = multiplies_bf16(model.module) and not float32
    key = sha256_json(
        [VERSION, model.digest, model.text_digest, audio_digests, settings_key(settings)]
        + [[unit.name, unit.inputs] for unit in model.units]
        + device_key(model.module)
        + text_digests(model, [u for s in (speech, listening) if s for u in s.utterances])
        + bf16 * ["bf16"]
    )
    workspace = Workspace(
        folder=workspace_folder(key),
        model=model,
        speech=speech,
        listening=listening,
        settings=settings,
        report=report,
        bf16=bf16,
    )
    with opened(workspace, max_memory) as together:
        return _compute(workspace, out, together, share)


def _compute(
    workspace: Workspace, out: Path, together: int, share: ShareGradients | None
) -> ComputedProfile:
    started = time.perf_counter()
    model, speech, listening = workspace.model, workspace.speech, workspace.listening
    calibration = run_calibration_pass(workspace)
    transcripts = calibration.transcripts
    importance = _importance(workspace, calibration)
    errors = RoundingErrors(workspace, calibration.sketches, importance)
    projections = project_all(workspace, transcripts, lambda: errors.paths, together, share)
    count = anchored(len(speech))
    anchors = measure_anchors(workspace, transcripts, errors.weights, count)
    lengths = np.array([len(t.tokens) for t in transcripts], dtype=np.int64)
    seconds = workspace.spent(time.perf_counter() - started)
    profile = Profile(
        source=Source(
            model=model.name,
            family=model.family,
            model_digest=model.digest,
            parameters=parameter_count(model.module),
            derived=sum(tensor.numel() for tensor in model.derived.values()),
            calibration=speech.name,
            calibration_digest=speech.digest,
            utterances=len(speech),
            tokens=int(lengths.sum()),
            listened=len(speech) + (len(listening) if listening else 0),
            listening_digest=listening.digest if listening else "",
            overhead=overheads(model),
            language=asked_of(model)[0],
            task=asked_of(model)[1],
            anchored=said_anchored(count, len(speech)),
        ),
        settings=workspace.settings,
        units=model.units,
        projections=projections,
        lengths=lengths,
        anchors=anchors,
        sketches={
            name: {
                "factor": s.factor.numpy(),
                "scale": s.scale.numpy(),
                "diagonal": s.diagonal.numpy(),
            }
            for name, s in calibration.sketches.items()
        },
        importance={name: values.numpy() for name, values in importance.items()},
        seconds=seconds,
        digest="",
    )
    workspace.finish()
    return ComputedProfile(profiles.save(profile, out), workspace.hits, workspace.backward_passes)


def settings_key(settings: Settings) -> dict[str, Any]:
    """Settings as keys of the cache are made of: as before there were block types."""
    options = [dataclasses.asdict(option) for option in settings.options]
    for option in options:
        if not option["block"]:
            del option["block"]
    return {**dataclasses.asdict(settings), "options": options}


def importance_utterances(utterances: int) -> int:
    """How many of a set's utterances tell how much rows matter."""
    return max(1, min(IMPORTANCE_UTTERANCES, utterances // _IMPORTANCE_DIVISOR))


def _importance(workspace: Workspace, calibration: CalibrationPass) -> dict[str, Tensor]:
    """How much the loss depends on each row of each weight: float16, mean 1, by parameter name.

    For the output projection it is the Fisher information of its logits; for other weights the sum
    of squares of the row's gradients on a few utterances.
    """
    path = workspace.folder / "importance.safetensors"
    cached = read_cached(path)
    if cached is not None:
        workspace.hits += 1
        return cached[0]
    total = importance_utterances(len(workspace.speech))
    energy: dict[str, Tensor] = {}

    def add(name: str, slope: Tensor) -> None:
        rows = slope.flatten(1).square().sum(dim=1).cpu()
        energy[name] = energy[name] + rows if name in energy else rows

    for index in range(total):
        workspace.report(Progress("rows", index, total))
        backward(workspace, calibration.transcripts[index], index, 1, add)
    if len(calibration.outputs) == len(energy.get(workspace.model.head, ())):
        energy[workspace.model.head] = calibration.outputs
    importance = {}
    for name, rows in energy.items():
        mean = float(rows.mean())
        scaled = rows / mean if mean > 0 else torch.ones_like(rows)
        importance[name] = scaled.clamp(max=6e4).half().contiguous()
    write_cached(path, importance)
    return importance
