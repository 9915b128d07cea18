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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from . import profile as profiles
from .anchors import measure_anchors
from .entries import read_entry, write_entry
from .errors import ModelError
from .files import cache_folder, locked, sha256_json
from .footprint import planned
from .gradients import backward, groups_left, groups_of, project
from .models import SpeechModel, Transcript, keyed_by, parameter_count
from .models.made import held_or_made
from .observation import Observed, observe
from .options import UNQUANTIZED, Option
from .profile import Profile, Settings, Source
from .progress import Progress, Report, silent
from .quantizers import quantize, restored
from .speech import SpeechSet
from .units import Unit
from .work import VERSION, Work

LISTENED_ROWS = 16
"""Calibration utterances that tell what each row of a weight matters."""

_LISTENED_SHARE = 4  # of a smaller set, one utterance in so many: each costs a backward pass

Share = Callable[[Work, Sequence[Transcript], Sequence[Path], Sequence[range], bool], None]
"""Called before the gradients with what `gradients.project` is: others may take some."""


@dataclass(frozen=True)
class Outcome:
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
    share: Share | None = None,
) -> Outcome:
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
        share: has the gradients taken by others; see `sharing`.

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
        + keyed_by(model.module)
    )
    folder = cache_folder() / "work" / key[:32]
    together, _ = planned(model, speech, settings, folder, max_memory)
    # A second process on the same profile waits, and then finds everything done.
    with locked(folder):
        work = Work(folder, model, speech, listening, settings, report)
        return _compute(work, out, together, share)


def _compute(work: Work, out: Path, together: int, share: Share | None) -> Outcome:
    started = time.perf_counter()
    model, speech, listening, settings = work.model, work.speech, work.listening, work.settings
    observed = observe(work)
    importance = _importance(work, observed)
    errors = _Errors(work, observed, importance)
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
    return Outcome(profiles.save(result, out), work.hits, work.backward_passes)


def listened_rows(utterances: int) -> int:
    """Utterances, of so many, that tell what rows matter."""
    return max(1, min(LISTENED_ROWS, utterances // _LISTENED_SHARE))


def _importance(work: Work, observed: Observed) -> dict[str, Tensor]:
    """What the loss minds each row of each weight: float16, mean 1, by parameter name.

    Of the output projection, what its logits' Fisher information is; of the others, the energy
    of the row's gradients on a few utterances.
    """
    path = work.folder / "importance.safetensors"
    done = read_entry(path)
    if done is not None:
        work.hits += 1
        return done[0]
    total = listened_rows(len(work.speech))
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
    write_entry(path, found)
    return found


class _Errors:
    """Rounding errors of every option of every unit, one file a unit, made when first needed."""

    def __init__(self, work: Work, observed: Observed, importance: dict[str, Tensor]) -> None:
        self._work = work
        self._observed = observed
        self._importance = importance
        self._paths: list[Path] = []

    @property
    def paths(self) -> list[Path]:
        """The files, one a unit, in the profile's order."""
        if not self._paths:
            self._paths = self._make()
        return self._paths

    def _make(self) -> list[Path]:
        work = self._work
        paths: list[Path] = []
        for index, unit in enumerate(work.model.units):
            path = work.folder / "errors" / f"{index}.safetensors"
            paths.append(path)
            if read_entry(path) is not None:  # read later a tensor at a time, unchecked
                work.hits += 1
                continue
            work.report(Progress("rounding", index, len(work.model.units)))
            weight = unit_weight(work.parameters[unit.parameter], unit)
            hessian = self._observed.sketches.get(unit.inputs)
            rows = self._importance[unit.parameter][unit.start : unit.stop].float()
            options = work.settings.options
            moments = None if hessian is None else hessian.dense()
            stored = quantize(weight, moments, rows, options)
            found = {
                # An option that cannot be had is NaN, which the solver leaves out by name.
                option.key: torch.full_like(weight, torch.nan).half()
                if one is None
                else (restored(one) - weight).half()
                for option, one in zip(options, stored, strict=True)
            }
            write_entry(path, found)
        work.report(Progress("rounding", len(paths), len(paths)))
        return paths

    def weights(self, options: tuple[Option, ...]) -> Mapping[str, Tensor]:
        """Parameters of a configuration, by name; those left as they are stay out."""
        parts: dict[str, list[tuple[Unit, Option, Path]]] = {}
        for unit, option, path in zip(self._work.model.units, options, self.paths, strict=True):
            if option != UNQUANTIZED:
                parts.setdefault(unit.parameter, []).append((unit, option, path))
        parameters = self._work.parameters
        makers = {name: partial(_shifted, parameters[name], found) for name, found in parts.items()}
        return held_or_made(self._work.model.module, makers)


def _shifted(parameter: Tensor, parts: Sequence[tuple[Unit, Option, Path]]) -> Tensor:
    weight = parameter.detach().clone()
    for unit, option, path in parts:
        with safe_open(path, framework="pt") as handle:
            error = handle.get_tensor(option.key).to(weight.device, weight.dtype)
        part = weight[unit.start : unit.stop]
        part += error.view_as(part)
    return weight


def unit_weight(parameter: Tensor, unit: Unit) -> Tensor:
    """A unit's weights: shape (rows, columns), float32."""
    return parameter.detach()[unit.start : unit.stop].flatten(1).float().cpu()
