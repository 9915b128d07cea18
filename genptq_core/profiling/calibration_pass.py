"""One pass over calibration speech: transcripts, sketches of inputs, and output statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..models import Transcript
from ..models.asking import by_language
from ..models.divergence import CHUNK
from ..progress import Progress
from ..quantizers import Sketch, sketch, sketch_of_products
from ..speech.utterances import load_audio
from ..storage.cache import read_cached, write_cached
from .hooks import SecondMoments
from .workspace import Workspace


@dataclass(frozen=True)
class CalibrationPass:
    """Results of one pass over calibration speech.

    Attributes:
        transcripts: what the model wrote, one per utterance of the calibration set.
        sketches: Hessian sketches by input name.
        outputs: sum over decisions of p (1 - p) for each output, shape (outputs,): the Fisher
            information of its logit.
    """

    transcripts: list[Transcript]
    sketches: dict[str, Sketch]
    outputs: Tensor


def run_calibration_pass(workspace: Workspace) -> CalibrationPass:
    """Transcribe all speech and sketch the inputs of every unit; resumes."""
    path = workspace.folder / "observed.safetensors"
    more = workspace.listening.utterances if workspace.listening else ()
    every = (*workspace.speech.utterances, *more)
    total = len(every)
    tensors, transcripts = _load(path)
    workspace.hits += len(transcripts)
    decoder = {unit.inputs for unit in workspace.model.units if unit.part != "encoder"}
    sketched = [name for name in tensors if name.startswith("factor/")]
    while len(transcripts) < total:
        workspace.report(Progress("listening", len(transcripts), total))
        batch = every[len(transcripts) : len(transcripts) + CHUNK]
        audio = [load_audio(u) for u in batch]
        with torch.no_grad():
            # Encoders have a thousand positions per utterance: the calibration set is enough.
            listened = decoder if len(transcripts) >= len(workspace.speech) else None
            rank = workspace.settings.rank
            written: dict[int, Transcript] = {}
            for model, members in by_language(workspace.model, batch):
                with SecondMoments(model, tensors, listened, rank, bf16=workspace.bf16):
                    encoded = model.encode([audio[i] for i in members])
                fresh = model.transcribe(encoded)
                with SecondMoments(model, tensors, listened, rank, bf16=workspace.bf16):
                    # One by one, so that padding does not count as input.
                    for index, transcript in enumerate(fresh):
                        states = model.head_inputs(encoded[index : index + 1], [transcript])
                        chances = model.log_probs(states[0]).exp()
                        spread = (chances * (1 - chances)).sum(dim=0).cpu()
                        tensors["outputs"] = tensors.get("outputs", torch.zeros(1)) + spread
                written |= dict(zip(members, fresh, strict=True))
        transcripts += [written[i] for i in range(len(batch))]
        _save(path, tensors, transcripts)
    if not sketched:
        names = sorted(tensors.keys() - {"outputs"})
        compact = {"outputs": tensors["outputs"]}
        for done, name in enumerate(names):
            workspace.report(Progress("sketching", done, len(names)))
            summed = tensors.pop(name)  # a large model's take gigabytes
            whole = summed.shape[0] == summed.shape[1]
            small = (sketch if whole else sketch_of_products)(summed, workspace.settings.rank)
            compact[f"factor/{name}"] = small.factor.contiguous()
            compact[f"scale/{name}"] = small.scale
            compact[f"diagonal/{name}"] = small.diagonal
        tensors = compact
        _save(path, tensors, transcripts)
    workspace.report(Progress("listening", total, total))
    names = [name.removeprefix("factor/") for name in tensors if name.startswith("factor/")]
    sketches = {
        n: Sketch(tensors[f"factor/{n}"], tensors[f"scale/{n}"], tensors[f"diagonal/{n}"])
        for n in names
    }
    return CalibrationPass(transcripts[: len(workspace.speech)], sketches, tensors["outputs"])


def _load(path: Path) -> tuple[dict[str, Tensor], list[Transcript]]:
    tensors, written = read_cached(path) or ({}, [])
    return tensors, [Transcript(text, tuple(tokens)) for text, tokens in written]


def _save(path: Path, tensors: dict[str, Tensor], transcripts: Sequence[Transcript]) -> None:
    write_cached(path, tensors, [[t.text, t.tokens] for t in transcripts])
