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
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from . import profile as profiles
from .errors import ModelError, ProfileError
from .files import atomic, cache_folder, read_json, sha256_json, write_json
from .instruments import CHUNK, GradientsOf, SecondMoments, divergence, head_states
from .models import SpeechModel, Transcript, parameter_count, replaced
from .profile import Anchor, Profile, Settings, Source
from .progress import Progress, Report, silent
from .quantizers import Sketch, quantize_gptq, sketch
from .speech import SpeechSet, load_audio
from .units import UNQUANTIZED, Unit

ANCHOR_UTTERANCES = 12
"""Calibration utterances on which anchors are measured."""

COARSE = 3
"""Widths up to this one are checked against measured losses, group by group."""

_SCHEMA = "genptq-work"
_VERSION = 1


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
) -> Outcome:
    """Compute a profile, or take from the cache what is already there, and write it to `out`.

    Args:
        model: the model to profile.
        speech: the calibration set; reference texts are not used.
        out: folder for the profile.
        settings: widths, group size, draws, seed.
        report: called with the progress of each stage.

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
    audio_digests = [u.digest for u in speech.utterances]
    key = sha256_json(
        [_VERSION, model.digest, audio_digests, dataclasses.asdict(settings)]
        + [[unit.name, unit.inputs] for unit in model.units]
    )
    started = time.perf_counter()
    work = _Work(cache_folder() / "work" / key[:32], model, speech, settings, report)
    transcripts, sketches = work.observe()
    projections = work.project(transcripts, sketches)
    anchors = work.anchor(transcripts, sketches)
    lengths = np.array([len(t.tokens) for t in transcripts], dtype=np.int64)
    seconds = work.spent(time.perf_counter() - started)
    result = Profile(
        source=Source(
            model=model.name,
            family=model.family,
            model_digest=model.digest,
            parameters=parameter_count(model.module),
            calibration=speech.name,
            calibration_digest=speech.digest,
            utterances=len(speech),
            tokens=int(lengths.sum()),
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
            for name, s in sketches.items()
        },
        seconds=seconds,
        digest="",
    )
    work.finish()
    return Outcome(profiles.save(result, out), work.hits, work.backward_passes)


class _Work:
    """The stages of one profile, each resuming from its files."""

    def __init__(
        self,
        folder: Path,
        model: SpeechModel,
        speech: SpeechSet,
        settings: Settings,
        report: Report,
    ) -> None:
        self.folder = folder
        self.model = model
        self.speech = speech
        self.settings = settings
        self.report = report
        self.hits = 0
        self.backward_passes = 0
        self._errors: dict[str, Path] = {}
        self.parameters = {
            name: p
            for name, p in model.module.named_parameters()
            if name in {unit.parameter for unit in model.units}
        }

    # Stage 1: transcripts, and second moments of every unit's inputs on them.

    def observe(self) -> tuple[list[Transcript], dict[str, Sketch]]:
        path = self.folder / "observed.safetensors"
        total = len(self.speech)
        tensors, transcripts = self._observed(path)
        self.hits += len(transcripts)
        sketched = [name for name in tensors if name.startswith("factor/")]
        while len(transcripts) < total:
            self.report(Progress("listening", len(transcripts), total))
            batch = self.speech.utterances[len(transcripts) : len(transcripts) + CHUNK]
            audio = [load_audio(u) for u in batch]
            with torch.no_grad():
                with SecondMoments(self.model, tensors):
                    encoded = self.model.encode(audio)
                fresh = self.model.transcribe(encoded)
                with SecondMoments(self.model, tensors):
                    # One by one, so that padding does not count as input.
                    for index, transcript in enumerate(fresh):
                        states = self.model.head_inputs(encoded[index : index + 1], [transcript])
                        self.model.log_probs(states[0])
            transcripts += fresh
            self._save_observed(path, tensors, transcripts)
        if not sketched:
            names = sorted(tensors)
            compact: dict[str, Tensor] = {}
            for done, name in enumerate(names):
                self.report(Progress("sketching", done, len(names)))
                small = sketch(tensors[name], self.settings.rank)
                compact[f"factor/{name}"] = small.factor.contiguous()
                compact[f"scale/{name}"] = small.scale
                compact[f"diagonal/{name}"] = small.diagonal
            tensors = compact
            self._save_observed(path, tensors, transcripts)
        self.report(Progress("listening", total, total))
        names = [name.removeprefix("factor/") for name in tensors if name.startswith("factor/")]
        return transcripts, {
            n: Sketch(tensors[f"factor/{n}"], tensors[f"scale/{n}"], tensors[f"diagonal/{n}"])
            for n in names
        }

    def _observed(self, path: Path) -> tuple[dict[str, Tensor], list[Transcript]]:
        try:
            with safe_open(path, framework="pt") as handle:
                written = json.loads(handle.metadata()["transcripts"])
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            return tensors, [Transcript(text, tuple(tokens)) for text, tokens in written]
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return {}, []

    def _save_observed(
        self, path: Path, tensors: dict[str, Tensor], transcripts: Sequence[Transcript]
    ) -> None:
        written = json.dumps([[t.text, t.tokens] for t in transcripts])
        with atomic(path) as temporary:
            save_file(tensors, temporary, metadata={"transcripts": written})

    # Stage 2: rounding errors of every option, one file a parameter.

    def errors(self, sketches: dict[str, Sketch]) -> dict[str, Path]:
        if self._errors:
            return self._errors
        paths: dict[str, Path] = {}
        for index, (name, parameter) in enumerate(self.parameters.items()):
            path = self.folder / "errors" / f"{index}.safetensors"
            paths[name] = path
            if path.exists():
                self.hits += 1
                continue
            self.report(Progress("rounding", index, len(self.parameters)))
            inputs = next(u.inputs for u in self.model.units if u.parameter == name)
            hessian = sketches[inputs].dense()
            weight = parameter.detach()
            found = {
                str(bits): (
                    quantize_gptq(weight, hessian, bits, self.settings.group_size).dequantize()
                    - weight
                ).to(torch.float16)
                for bits in self.settings.bits
            }
            with atomic(path) as temporary:
                save_file(found, temporary)
        self.report(Progress("rounding", len(self.parameters), len(self.parameters)))
        self._errors = paths
        return paths

    # Stage 3: gradients along those errors, one file an utterance.

    def project(self, transcripts: Sequence[Transcript], sketches: dict[str, Sketch]) -> np.ndarray:
        rows: list[np.ndarray] = []
        total = len(self.speech)
        errors: dict[str, Path] = {}
        for index, (recording, transcript) in enumerate(
            zip(self.speech.utterances, transcripts, strict=True)
        ):
            path = self.folder / "projections" / f"{index}.safetensors"
            try:
                with safe_open(path, framework="np") as handle:
                    rows.append(handle.get_tensor("projections"))
                self.hits += 1
                continue
            except (OSError, SafetensorError):
                errors = self.errors(sketches)
            self.report(Progress("gradients", index, total))
            row = self._project_one(load_audio(recording), transcript, index, errors)
            with atomic(path) as temporary:
                save_file({"projections": torch.from_numpy(row)}, temporary)
            rows.append(row)
        self.report(Progress("gradients", total, total))
        return np.stack(rows)

    def _project_one(
        self, audio: np.ndarray, transcript: Transcript, index: int, errors: dict[str, Path]
    ) -> np.ndarray:
        draws = self.settings.draws
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + index)
        gradients: dict[str, list[Tensor]] = {name: [] for name in self.parameters}
        with GradientsOf(self.model.module, self.parameters):
            encoded = self.model.encode([audio])
            log_probs = self.model.log_probs(self.model.head_inputs(encoded, [transcript])[0])
            labels = torch.multinomial(
                log_probs.detach().exp(), draws, replacement=True, generator=generator
            )
            for draw in range(draws):
                loss = -log_probs.gather(1, labels[:, draw : draw + 1]).sum()
                found = torch.autograd.grad(
                    loss, list(self.parameters.values()), retain_graph=draw + 1 < draws
                )
                self.backward_passes += 1
                for name, gradient in zip(self.parameters, found, strict=True):
                    gradients[name].append(gradient)
        out = np.empty((draws, len(self.model.units), len(self.settings.bits)), dtype=np.float32)
        for name, path in errors.items():
            stacked = torch.stack(gradients.pop(name))
            units = [(i, u) for i, u in enumerate(self.model.units) if u.parameter == name]
            with safe_open(path, framework="pt") as handle:
                for column, bits in enumerate(self.settings.bits):
                    error = handle.get_tensor(str(bits))
                    for row, unit in units:
                        part = error[unit.start : unit.stop].float().reshape(-1)
                        slope = stacked[:, unit.start : unit.stop].reshape(draws, -1)
                        out[:, row, column] = (slope @ part).numpy()
        if not np.isfinite(out).all():
            bad = sorted({self.model.units[i].name for i in np.argwhere(~np.isfinite(out))[:, 1]})
            raise ModelError(
                f"The gradients of {', '.join(bad[:3])} are not finite on "
                f"{self.speech.utterances[index].audio}.",
                "Check the weights and the recording for NaN.",
            )
        return out

    # Stage 4: a few measured losses that check and correct the coarse end.

    def anchor(
        self, transcripts: Sequence[Transcript], sketches: dict[str, Sketch]
    ) -> tuple[Anchor, ...]:
        path = self.folder / "anchors.json"
        wanted = anchor_maps(self.model.units, self.settings.bits)
        known: dict[tuple[int, ...], float] = {}
        if path.exists():
            try:
                document = read_json(path, _SCHEMA, _VERSION, ProfileError, "")
                known = {tuple(a["bits"]): float(a["loss"]) for a in document["anchors"]}
            except (ProfileError, KeyError, TypeError, ValueError):
                known = {}
        self.hits += sum(bits in known for bits in wanted)
        todo = [bits for bits in wanted if bits not in known]
        if todo:
            errors = self.errors(sketches)
            count = min(ANCHOR_UTTERANCES, len(self.speech))
            audio = [load_audio(u) for u in self.speech.utterances[:count]]
            reference = head_states(self.model, audio, transcripts[:count])
            for bits in todo:
                self.report(Progress("anchors", len(known), len(wanted)))
                with replaced(self.model, self._weights(bits, errors)):
                    states = head_states(self.model, audio, transcripts[:count])
                    changed = [self.model.log_probs(s).detach() for s in states]
                known[bits] = divergence(
                    [self.model.log_probs(s).detach() for s in reference], changed
                )
                records = [{"bits": list(b), "loss": loss} for b, loss in known.items()]
                write_json(path, _SCHEMA, _VERSION, {"anchors": records})
        self.report(Progress("anchors", len(wanted), len(wanted)))
        return tuple(Anchor(bits, known[bits]) for bits in wanted)

    def _weights(self, bits: tuple[int, ...], errors: dict[str, Path]) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {}
        for unit, width in zip(self.model.units, bits, strict=True):
            if width == UNQUANTIZED:
                continue
            if unit.parameter not in weights:
                weights[unit.parameter] = self.parameters[unit.parameter].detach().clone()
            with safe_open(errors[unit.parameter], framework="pt") as handle:
                error = handle.get_slice(str(width))[unit.start : unit.stop]
            weights[unit.parameter][unit.start : unit.stop] += error.float()
        return weights

    def spent(self, seconds: float) -> float:
        """Add to, and return, the seconds that all runs of this profile took."""
        path = self.folder / "seconds.json"
        before = 0.0
        if path.exists():
            before = float(read_json(path, _SCHEMA, _VERSION, ProfileError, "")["seconds"])
        if self.backward_passes == 0 and before:
            return before
        write_json(path, _SCHEMA, _VERSION, {"seconds": before + seconds})
        return before + seconds

    def finish(self) -> None:
        """Drop the rounding errors: large, and not needed again."""
        shutil.rmtree(self.folder / "errors", ignore_errors=True)


def anchor_maps(units: Sequence[Unit], bits: Sequence[int]) -> list[tuple[int, ...]]:
    """The configurations to measure: each group alone at each coarse width, and uniform maps."""
    maps = [
        tuple(width if unit.group == group else UNQUANTIZED for unit in units)
        for group in dict.fromkeys(unit.group for unit in units)
        for width in bits
        if width <= COARSE
    ]
    return maps + [tuple(width for _ in units) for width in bits]
