"""Sensitivities: what every width of every unit costs, from gradients and real rounding errors.

For utterance u, labels y drawn from the model's own distribution p on its own transcript, and the
error D[l,o] = Q_o(W_l) - W_l of unit l at width o, one backward pass gives

    v[u,l,o] = < dL_u/dW_l , D[l,o] >,     L_u = - sum_t log p(y_t).

Since E[g g^T] over such labels is the Fisher information, the divergence of any configuration
from full precision is, to second order,

    KL(z) = 1/2 * sum_u (sum_l v[u,l,o_l])^2 / sum_u T_u      nats a token

(projected Fisher: Amari's Fisher information, taken only along the errors that can occur; cross
terms between units are in it). Stages are cached by content in a work folder, so a run that was
cut off continues where it stopped.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import profile as profiles
from ..errors import ModelError
from ..models import SpeechModel, Transcript
from ..models.device import device_key
from ..models.weights import parameter_count
from ..profile import Profile, Settings, Source
from ..progress import Progress, Report, silent
from ..speech.utterances import SpeechSet
from ..storage.cache import read_cached, write_cached
from ..storage.digests import sha256_json
from ..storage.files import locked
from ..storage.locations import workspace_folder
from .anchors import measure_anchors
from .calibration_pass import CalibrationPass, run_calibration_pass
from .footprint import plan_memory
from .gradients import backward, groups_left, groups_of, project
from .rounding_errors import RoundingErrors
from .workspace import VERSION, Workspace

IMPORTANCE_UTTERANCES = 16
"""Calibration utterances that tell what each row of a weight matters."""


_LISTENED_SHARE = 4  # of a smaller set, one utterance in so many: each costs a backward pass


ShareGradients = Callable[
    [Workspace, Sequence[Transcript], Sequence[Path], Sequence[range], bool], None
]
"""Called before the gradients with what `gradients.project` is: others may take some."""


@dataclass(frozen=True)
class ComputedProfile:
    """A computed profile, and how much of the work was found done.

    Attributes:
        profile: the profile.
        cache_hits: steps taken from the cache.
        backward_passes: backward passes made.
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
    listening: SpeechSet | None = None,
    max_memory: int | None = None,
    share: ShareGradients | None = None,
) -> ComputedProfile:
    """Compute a profile, or take from the cache what is already there, and write it to `out`.

    Args:
        model: the model to profile.
        speech: the calibration set; reference texts are not used.
        out: folder for the profile.
        settings: options, draws, seed.
        report: called with the progress of each stage.
        listening: more speech, transcribed only for the statistics of inputs: forward passes are
            cheap, and rounding overfits the inputs that it was made for.
        max_memory: most bytes of memory that may be used; fewer gradients are held at once then.
        share: has the gradients taken by others; see `profiling.shared_gradients`.

    Raises:
        FootprintError: the work would take more memory than that, or more disk than there is.
        ModelError: a weight or a gradient is not finite.
        SpeechError: a recording cannot be used.
        GenPTQError: the work folder or `out` cannot be written.
    """
    settings = settings or Settings()
    for name in sorted({unit.parameter for unit in model.units}):
        if not bool(torch.isfinite(model.module.get_parameter(name)).all()):
            raise ModelError(
                f"{name} of {model.name} holds NaN or infinite weights.", "Get the model again."
            )
    audio_digests = [[u.digest for u in s.utterances] for s in (speech, listening) if s]
    key = sha256_json(
        [VERSION, model.digest, audio_digests, dataclasses.asdict(settings)]
        + [[unit.name, unit.inputs] for unit in model.units]
        + device_key(model.module)
    )
    folder = workspace_folder(key)
    together, _ = plan_memory(model, speech, settings, folder, max_memory)
    # A second process on the same profile waits, and then finds everything done.
    with locked(folder):
        work = Workspace(folder, model, speech, listening, settings, report)
        return _compute(work, out, together, share)


def _compute(
    work: Workspace, out: Path, together: int, share: ShareGradients | None
) -> ComputedProfile:
    started = time.perf_counter()
    model, speech, listening, settings = work.model, work.speech, work.listening, work.settings
    observed = run_calibration_pass(work)
    importance = _importance(work, observed)
    errors = RoundingErrors(work, observed, importance)
    groups, held = groups_of(len(speech), together), together > 0
    if share and groups_left(work, groups):
        share(work, observed.transcripts, errors.paths, groups, held)
    projections = project(work, observed.transcripts, lambda: errors.paths, groups, held)
    anchors = measure_anchors(work, observed.transcripts, errors.weights)
    lengths = np.array([len(t.tokens) for t in observed.transcripts], dtype=np.int64)
    seconds = work.spent(time.perf_counter() - started)
    result = Profile(
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
        ),
        settings=settings,
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
            for name, s in observed.sketches.items()
        },
        importance={name: values.numpy() for name, values in importance.items()},
        seconds=seconds,
        digest="",
    )
    work.finish()
    return ComputedProfile(profiles.save(result, out), work.hits, work.backward_passes)


def importance_utterances(utterances: int) -> int:
    """Utterances, of so many, that tell what rows matter."""
    return max(1, min(IMPORTANCE_UTTERANCES, utterances // _LISTENED_SHARE))


def _importance(work: Workspace, observed: CalibrationPass) -> dict[str, Tensor]:
    """What the loss minds each row of each weight: float16, mean 1, by parameter name.

    Of the output projection, what its logits' Fisher information is; of the others, the energy
    of the row's gradients on a few utterances.
    """
    path = work.folder / "importance.safetensors"
    done = read_cached(path)
    if done is not None:
        work.hits += 1
        return done[0]
    total = importance_utterances(len(work.speech))
    energy: dict[str, Tensor] = {}

    def add(name: str, slope: Tensor) -> None:
        rows = slope.flatten(1).square().sum(dim=1).cpu()
        energy[name] = energy[name] + rows if name in energy else rows

    for index in range(total):
        work.report(Progress("rows", index, total))
        backward(work, observed.transcripts[index], index, 1, add)
    if len(observed.outputs) == len(energy.get(work.model.head, ())):
        energy[work.model.head] = observed.outputs
    found = {}
    for name, rows in energy.items():
        mean = float(rows.mean())
        scaled = rows / mean if mean > 0 else torch.ones_like(rows)
        found[name] = scaled.clamp(max=6e4).half().contiguous()
    write_cached(path, found)
    return found
