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
from .instruments import GradientsOf
from .models import SpeechModel, Transcript, parameter_count
from .models.made import held_or_made
from .observation import Observed, observe
from .options import UNQUANTIZED, Option
from .profile import Profile, Settings, Source
from .progress import Progress, Report, silent
from .quantizers import quantize, restored
from .speech import SpeechSet, load_audio
from .units import Unit
from .work import VERSION, Work

LISTENED_ROWS = 16
"""Calibration utterances that tell what each row of a weight matters."""

_TOGETHER = 4  # utterances whose gradients meet the rounding errors in one go

Share = Callable[[Work, Sequence[Transcript], Sequence[Path]], None]
"""Called with the files of rounding errors before the gradients: others may take some."""


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
        share: has the gradients taken by others; see `sharing`.

    Raises:
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
    )
    folder = cache_folder() / "work" / key[:32]
    # A second process on the same profile waits, and then finds everything done.
    with locked(folder):
        return _compute(Work(folder, model, speech, listening, settings, report), out, share)


def _compute(work: Work, out: Path, share: Share | None) -> Outcome:
    started = time.perf_counter()
    model, speech, listening, settings = work.model, work.speech, work.listening, work.settings
    observed = observe(work)
    importance = _importance(work, observed)
    errors = _Errors(work, observed, importance)
    if share and groups_left(work):
        share(work, observed.transcripts, errors.paths)
    projections = project(work, observed.transcripts, lambda: errors.paths, _groups(work))
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
    total = min(LISTENED_ROWS, len(work.speech))
    energy: dict[str, Tensor] = {}
    for index in range(total):
        work.report(Progress("rows", index, total))
        for name, slopes in _gradients(work, observed.transcripts[index], index, 1).items():
            rows = slopes[0].flatten(1).square().sum(dim=1).cpu()
            energy[name] = energy[name] + rows if name in energy else rows
    if len(observed.outputs) == len(energy.get(work.model.head, ())):
        energy[work.model.head] = observed.outputs
    found = {}
    for name, rows in energy.items():
        mean = float(rows.mean())
        scaled = rows / mean if mean > 0 else torch.ones_like(rows)
        found[name] = scaled.clamp(max=6e4).half().contiguous()
    write_entry(path, found)
    return found


def _gradients(work: Work, transcript: Transcript, index: int, draws: int) -> dict[str, Tensor]:
    """Gradients of one utterance's loss on drawn labels: (draws, *shape) by parameter name."""
    generator = torch.Generator().manual_seed(work.settings.seed * 1_000_003 + index)
    found: dict[str, list[Tensor]] = {name: [] for name in work.parameters}
    model = work.model
    audio = load_audio(work.speech.utterances[index])
    with GradientsOf(model.module, work.parameters):
        log_probs = model.log_probs(model.head_inputs(model.encode([audio]), [transcript])[0])
        labels = torch.multinomial(
            log_probs.detach().exp().cpu(), draws, replacement=True, generator=generator
        ).to(log_probs.device)
        for draw in range(draws):
            loss = -log_probs.gather(1, labels[:, draw : draw + 1]).sum()
            slopes = torch.autograd.grad(
                loss, list(work.parameters.values()), retain_graph=draw + 1 < draws
            )
            work.backward_passes += 1
            for name, slope in zip(work.parameters, slopes, strict=True):
                found[name].append(slope)
    return {name: torch.stack(slopes) for name, slopes in found.items()}


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


def _groups(work: Work) -> list[Sequence[int]]:
    """Utterances whose gradients are taken in one go, by their places in the set."""
    total = len(work.speech)
    return [range(i, min(i + _TOGETHER, total)) for i in range(0, total, _TOGETHER)]


def _group_path(work: Work, members: Sequence[int]) -> Path:
    return work.folder / "projections" / f"{members[0]}.safetensors"


def groups_left(work: Work) -> list[Sequence[int]]:
    """Groups of utterances whose gradients are to be taken yet."""
    return [members for members in _groups(work) if read_entry(_group_path(work, members)) is None]


def project(
    work: Work,
    transcripts: Sequence[Transcript],
    errors: Callable[[], Sequence[Path]],
    groups: Sequence[Sequence[int]],
) -> np.ndarray:
    """Gradients along the rounding errors, one file a group of utterances; resumes.

    Args:
        work: the profile in the making.
        transcripts: what the model wrote, one an utterance of the set.
        errors: gives the files of rounding errors; called only where there is work to do.
        groups: places in the set of the utterances to do.

    Returns:
        Shape (utterances, draws, units, options), float32.
    """
    rows: list[np.ndarray] = []
    total = len(work.speech)
    for members in groups:
        path = _group_path(work, members)
        done = read_entry(path)
        if done is not None:
            rows.append(done[0]["projections"].numpy())
            work.hits += len(rows[-1])
            continue
        paths = errors()
        slopes: dict[str, list[Tensor]] = {}
        for index in members:
            work.report(Progress("gradients", index, total))
            fresh = _gradients(work, transcripts[index], index, work.settings.draws)
            for name, slope in fresh.items():
                slopes.setdefault(name, []).append(slope)
        found = _inner_products(work, {n: torch.cat(s) for n, s in slopes.items()}, paths)
        found = found.reshape(len(members), work.settings.draws, *found.shape[1:])
        _check(work, found, members)
        write_entry(path, {"projections": torch.from_numpy(found)})
        rows.append(found)
    work.report(Progress("gradients", total, total))
    return np.concatenate(rows)


def _inner_products(work: Work, slopes: dict[str, Tensor], paths: Sequence[Path]) -> np.ndarray:
    """<gradient, rounding error>: shape (gradients, units, options)."""
    options = work.settings.options
    count = len(next(iter(slopes.values())))
    out = np.empty((count, len(paths), len(options)), dtype=np.float32)
    for row, (unit, path) in enumerate(zip(work.model.units, paths, strict=True)):
        part = slopes[unit.parameter][:, unit.start : unit.stop].reshape(count, -1)
        with safe_open(path, framework="pt") as handle:
            for column, option in enumerate(options):
                error = handle.get_tensor(option.key).view(-1).to(part.device).float()
                out[:, row, column] = (part @ error).cpu().numpy()
    return out


def _check(work: Work, found: np.ndarray, members: Sequence[int]) -> None:
    wrong = ~np.isfinite(found).all(axis=(1, 3))  # (utterances, units)
    # An option that cannot be had is NaN everywhere; a bad gradient spoils every option.
    wrong &= ~np.isfinite(found).any(axis=(1, 3))
    if wrong.any():
        utterance, unit = np.argwhere(wrong)[0]
        recording = work.speech.utterances[members[int(utterance)]].audio
        raise ModelError(
            f"The gradients of {work.model.units[unit].name} are not finite on {recording}.",
            "Check the weights and the recording for NaN.",
        )
