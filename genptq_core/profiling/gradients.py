"""Gradients along rounding errors: held for a few utterances together, or met one at a time.

A gradient of a whole model is as large as the model. Where several fit in memory, the rounding
errors are read once for all of them; where none does, each parameter's gradient meets its errors
within the backward pass and is dropped, so that no more than one is there at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import ModelError
from ..models import Transcript
from ..progress import Progress
from ..speech.utterances import load_audio
from ..storage.cache import read_cached, write_cached
from .hooks import GradientsOf, Take
from .workspace import Workspace


def backward(work: Workspace, transcript: Transcript, index: int, draws: int, take: Take) -> None:
    """Backward passes of one utterance's loss on drawn labels.

    Args:
        work: the profile in the making.
        transcript: what the model wrote.
        index: of the utterance.
        draws: labels drawn, and so passes.
        take: called with a parameter's name and gradient, draw after draw, while a pass runs.
    """
    generator = torch.Generator().manual_seed(work.settings.seed * 1_000_003 + index)
    model = work.model
    audio = load_audio(work.speech.utterances[index])
    with GradientsOf(model.module, work.parameters, take):
        log_probs = model.log_probs(model.head_inputs(model.encode([audio]), [transcript])[0])
        labels = torch.multinomial(
            log_probs.detach().exp().cpu(), draws, replacement=True, generator=generator
        ).to(log_probs.device)
        for draw in range(draws):
            loss = -log_probs.gather(1, labels[:, draw : draw + 1]).sum()
            loss.backward(retain_graph=draw + 1 < draws)
            work.backward_passes += 1


def groups_of(total: int, together: int) -> list[range]:
    """Utterances whose gradients are taken in one go, by their places in a set of so many."""
    step = max(1, together)
    return [range(start, min(start + step, total)) for start in range(0, total, step)]


def groups_left(work: Workspace, groups: Sequence[range]) -> list[range]:
    """Groups whose gradients are to be taken yet."""
    return [members for members in groups if read_cached(_path(work, members)) is None]


def project(
    work: Workspace,
    transcripts: Sequence[Transcript],
    errors: Callable[[], Sequence[Path]],
    groups: Sequence[range],
    held: bool,
) -> np.ndarray:
    """Gradients along the rounding errors, one file a group of utterances; resumes.

    Args:
        work: the profile in the making.
        transcripts: what the model wrote, one an utterance of the set.
        errors: gives the files of rounding errors, one a unit; called if anything is left to do.
        groups: places in the set of the utterances to do.
        held: whether a group's gradients are held at once, or one parameter's at a time.

    Returns:
        Shape (utterances, draws, units, options), float32.

    Raises:
        ModelError: a gradient is not finite.
    """
    rows: list[np.ndarray] = []
    total = len(work.speech)
    for members in groups:
        path = _path(work, members)
        done = read_cached(path)
        if done is not None:
            rows.append(done[0]["projections"].numpy())
            work.hits += len(rows[-1])
            continue
        found = _along(work, transcripts, members, errors(), held)
        _check(work, found, members)
        write_cached(path, {"projections": torch.from_numpy(found)})
        rows.append(found)
    work.report(Progress("gradients", total, total))
    return np.concatenate(rows)


def _path(work: Workspace, members: range) -> Path:
    return work.folder / "projections" / f"{members.start}-{members.stop}.safetensors"


def _along(
    work: Workspace,
    transcripts: Sequence[Transcript],
    members: Sequence[int],
    paths: Sequence[Path],
    held: bool,
) -> np.ndarray:
    """Inner products of a few utterances: shape (members, draws, units, options)."""
    draws = work.settings.draws
    count = len(members) * draws
    out = np.zeros((count, len(paths), len(work.settings.options)), dtype=np.float32)
    slopes: dict[str, list[Tensor]] = {}
    passed: dict[str, int] = {}

    def keep(name: str, slope: Tensor) -> None:
        slopes.setdefault(name, []).append(slope)

    def meet(name: str, slope: Tensor) -> None:
        row = passed[name] = passed.get(name, -1) + 1
        _inner_products(work, name, slope[None], paths, out[row : row + 1])

    for index in members:
        work.report(Progress("gradients", index, len(work.speech)))
        backward(work, transcripts[index], index, draws, keep if held else meet)
    for name in list(slopes):
        _inner_products(work, name, torch.stack(slopes.pop(name)), paths, out)
    return out.reshape(len(members), draws, *out.shape[1:])


def _inner_products(
    work: Workspace, name: str, slopes: Tensor, paths: Sequence[Path], out: np.ndarray
) -> None:
    """<gradient, rounding error> of one parameter's units, into (gradients, units, options)."""
    for row, unit in work.rows_of[name]:
        part = slopes[:, unit.start : unit.stop].reshape(len(slopes), -1)
        with safe_open(paths[row], framework="pt") as handle:
            for column, option in enumerate(work.settings.options):
                error = handle.get_tensor(option.key).view(-1).to(part.device).float()
                out[:, row, column] = (part @ error).cpu().numpy()


def _check(work: Workspace, found: np.ndarray, members: Sequence[int]) -> None:
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
