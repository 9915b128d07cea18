"""Inner products of gradients with rounding errors, for a few utterances at a time.

A gradient of a whole model is as large as the model. If several fit in memory, the rounding errors
are read once for all of them. If not even one fits, each parameter's gradient is multiplied by its
rounding errors within the backward pass and dropped, so that only one is in memory at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..models import Transcript
from ..models.asking import in_language
from ..models.device import bf16_products
from ..models.weights import unit_weight
from ..options import divides
from ..progress import Progress
from ..speech.utterances import load_audio
from ..storage.cache import read_cached, write_cached
from .footprint import HELD_CODES
from .hooks import GradientsOf, Take
from .unit_errors import UnitErrors, content_of
from .workspace import Workspace


def backward(
    workspace: Workspace, transcript: Transcript, index: int, draws: int, take: Take
) -> None:
    """Run backward passes of one utterance's loss on drawn labels.

    In bf16 a gradient is wrong by about half a percent; the forward pass is in float32, for there
    it would be more than one (`python -m benchmarks.precision`).

    Args:
        workspace: the profile being computed.
        transcript: what the model wrote.
        index: of the utterance.
        draws: how many times labels are drawn, each with a pass.
        take: called with a parameter's name and gradient as soon as a pass has it.
    """
    generator = torch.Generator().manual_seed(workspace.settings.seed * 1_000_003 + index)
    recording = workspace.speech.utterances[index]
    model, audio = in_language(workspace.model, recording.language), load_audio(recording)
    with GradientsOf(model.module, workspace.parameters, take):
        log_probs = model.log_probs(model.head_inputs(model.encode([audio]), [transcript])[0])
        labels = torch.multinomial(
            log_probs.detach().exp().cpu(), draws, replacement=True, generator=generator
        ).to(log_probs.device)
        for draw in range(draws):
            loss = -log_probs.gather(1, labels[:, draw : draw + 1]).sum()
            with bf16_products() if workspace.bf16 else contextlib.nullcontext():
                loss.backward(retain_graph=draw + 1 < draws)
            workspace.backward_passes += 1


def groups_of(total: int, together: int) -> list[range]:
    """Indices of the utterances whose gradients are taken together, for a set of `total`."""
    step = max(1, together)
    return [range(start, min(start + step, total)) for start in range(0, total, step)]


def groups_left(workspace: Workspace, groups: Sequence[range]) -> list[range]:
    """Groups whose gradients are not all in the cache."""
    return [members for members in groups if _cached(workspace, members) is None]


ShareGradients = Callable[
    [Workspace, Sequence[Transcript], Sequence[Path], Sequence[range], bool], None
]
"""Called before the gradients are taken, with the arguments of `project`: it may have some of them
taken by other processes."""


def project_all(
    workspace: Workspace,
    transcripts: Sequence[Transcript],
    errors: Callable[[], Sequence[Path]],
    together: int,
    share: ShareGradients | None,
) -> np.ndarray:
    """`project` for every utterance, the gradients of so many held together; 0 for none."""
    groups, held = groups_of(len(workspace.speech), together), together > 0
    if share and groups_left(workspace, groups):
        share(workspace, transcripts, errors(), groups, held)
    return project(workspace, transcripts, errors, groups, held)


def project(
    workspace: Workspace,
    transcripts: Sequence[Transcript],
    errors: Callable[[], Sequence[Path]],
    groups: Sequence[range],
    held: bool,
) -> np.ndarray:
    """Inner products of gradients with rounding errors, one file per utterance; resumes.

    Args:
        workspace: the profile being computed.
        transcripts: what the model wrote, one per utterance of the set.
        errors: gives the files of rounding errors, one per unit; only called if a group is missing.
        groups: indices of the utterances in each group.
        held: whether a group's gradients are held together, or one parameter's at a time.

    Returns:
        Shape (utterances, draws, units, options), float32.

    Raises:
        ModelError: a gradient is not finite.
    """
    rows: list[np.ndarray] = []
    total = len(workspace.speech)
    read: dict[int, dict[str, Tensor]] = {}
    for members in groups:
        cached = _cached(workspace, members)
        if cached is not None:
            rows.append(cached)
            workspace.hits += len(cached)
            continue
        projections = _project_group(
            workspace, transcripts, members, paths=errors(), held=held, read=read
        )
        _check_finite(workspace, projections, members)
        for index, one in zip(members, torch.from_numpy(projections).split(1), strict=True):
            write_cached(_path(workspace, index), {"projections": one.contiguous()})
        rows.append(projections)
    workspace.report(Progress("gradients", total, total))
    return np.concatenate(rows)


def _path(workspace: Workspace, index: int) -> Path:
    return workspace.folder / "projections" / f"{index}-{index + 1}.safetensors"


def _cached(workspace: Workspace, members: Sequence[int]) -> np.ndarray | None:
    """What is in the cache of a group, if all of it is."""
    found: list[np.ndarray] = []
    for index in members:
        entry = read_cached(_path(workspace, index))
        if entry is None:
            return None
        found.append(entry[0]["projections"].numpy())
    return np.concatenate(found)


def _project_group(
    workspace: Workspace,
    transcripts: Sequence[Transcript],
    members: Sequence[int],
    *,
    paths: Sequence[Path],
    held: bool,
    read: dict[int, dict[str, Tensor]],
) -> np.ndarray:
    """Inner products of one group: shape (members, draws, units, options).

    What was read of the files stays in `read`, by unit, if all of them fit.
    """
    device = next(iter(workspace.parameters.values())).device
    room = HELD_CODES.get(device.type, 0)
    if not read and sum(path.stat().st_size for path in paths) <= room:
        read.update((row, content_of(path, device)) for row, path in enumerate(paths))
    draws = workspace.settings.draws
    count = len(members) * draws
    out = np.zeros((count, len(paths), len(workspace.settings.options)), dtype=np.float32)
    slopes: dict[str, list[Tensor]] = {}
    passed: dict[str, int] = {}

    def hold(name: str, slope: Tensor) -> None:
        slopes.setdefault(name, []).append(slope)

    def multiply(name: str, slope: Tensor) -> None:
        row = passed[name] = passed.get(name, -1) + 1
        _inner_products(workspace, name, [slope], paths, read, out=out[row : row + 1])

    for index in members:
        workspace.report(Progress("gradients", index, len(workspace.speech)))
        backward(workspace, transcripts[index], index, draws, hold if held else multiply)
    for name in list(slopes):
        _inner_products(workspace, name, slopes.pop(name), paths, read, out=out)
    return out.reshape((len(members), draws, *out.shape[1:]))


def _inner_products(
    workspace: Workspace,
    name: str,
    slopes: Sequence[Tensor],
    paths: Sequence[Path],
    read: Mapping[int, Mapping[str, Tensor]],
    *,
    out: np.ndarray,
) -> None:
    """<gradient, rounding error> of one parameter's units, into (gradients, units, options)."""
    for row, unit in workspace.rows_of[name]:
        weight = unit_weight(workspace.parameters[name], unit)
        errors = UnitErrors(paths[row], weight, read.get(row))
        part = [slope[unit.start : unit.stop].flatten(1).float() for slope in slopes]
        out[:, row] = errors.products(part, workspace.settings.options).numpy()


def _check_finite(workspace: Workspace, projections: np.ndarray, members: Sequence[int]) -> None:
    # An impossible option is NaN by itself; a gradient that is not finite spoils every option.
    wrong = ~np.isfinite(projections).any(axis=(1, 3))  # (utterances, units)
    options = workspace.settings.options
    wrong &= [any(divides(o, unit.columns) for o in options) for unit in workspace.model.units]
    if wrong.any():
        utterance, unit = np.argwhere(wrong)[0]
        recording = workspace.speech.utterances[members[int(utterance)]].audio
        raise ModelError(
            f"The gradients of {workspace.model.units[unit].name} are not finite on {recording}.",
            "Check the weights and the recording for NaN.",
        )
