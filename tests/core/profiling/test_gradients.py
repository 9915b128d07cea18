"""Inner products with rounding errors: the same as by the formula, with gradients held or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from genptq_core.loading import load_model
from genptq_core.models import SpeechModel, Transcript
from genptq_core.models.weights import unit_weight
from genptq_core.options import grid_options
from genptq_core.profile import Settings
from genptq_core.profiling.gradients import backward, groups_of, project
from genptq_core.profiling.workspace import Workspace
from genptq_core.progress import silent
from genptq_core.speech.utterances import load_audio, load_manifest
from tests.core.tiny_models import CONFORMER, random_ctc

SETTINGS = Settings(grid_options((2, 4), (8,)), draws=2, rank=4)


@pytest.fixture(params=["whisper", "conformer"])
def model(request: pytest.FixtureRequest, random_whisper: Path, tmp_path: Path) -> SpeechModel:
    """A Whisper, whose embedding is tied and split in units, and a Conformer."""
    if request.param == "whisper":
        return load_model(str(random_whisper))
    return load_model(str(random_ctc(tmp_path / "ctc", CONFORMER)))


def prepared(model: SpeechModel, tones: Path, folder: Path) -> tuple[Workspace, list[Transcript]]:
    speech = load_manifest(tones, 3)
    with torch.no_grad():
        audio = [load_audio(utterance) for utterance in speech.utterances]
        transcripts = model.transcribe(model.encode(audio))
    workspace = Workspace(
        folder=folder,
        model=model,
        speech=speech,
        listening=None,
        settings=SETTINGS,
        report=silent,
    )
    return workspace, transcripts


def errors(workspace: Workspace) -> list[Path]:
    """Made-up rounding errors, one file per unit."""
    torch.manual_seed(0)
    paths = []
    for row, unit in enumerate(workspace.model.units):
        weight = unit_weight(workspace.parameters[unit.parameter], unit)
        path = workspace.folder / f"{row}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        made = {f"{o.key}:error": torch.randn_like(weight).half() for o in SETTINGS.options}
        save_file(made, path)
        paths.append(path)
    return paths


def plainly(workspace: Workspace, transcripts: list[Transcript], paths: list[Path]) -> np.ndarray:
    """Every gradient of the model, then every inner product."""
    out = np.zeros((3, 2, len(paths), 2))
    model, parameters = workspace.model, workspace.parameters
    for index, transcript in enumerate(transcripts):
        generator = torch.Generator().manual_seed(index)
        audio = load_audio(workspace.speech.utterances[index])
        log_probs = model.log_probs(model.head_inputs(model.encode([audio]), [transcript])[0])
        chances = log_probs.detach().exp()
        labels = torch.multinomial(chances, 2, replacement=True, generator=generator)
        for draw in range(2):
            loss = -log_probs.gather(1, labels[:, draw : draw + 1]).sum()
            slopes = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
            slope_of = dict(zip(parameters, slopes, strict=True))
            for row, unit in enumerate(model.units):
                part = slope_of[unit.parameter][unit.start : unit.stop].flatten(1).double()
                for column, option in enumerate(SETTINGS.options):
                    error = load_file(paths[row])[f"{option.key}:error"].double()
                    out[index, draw, row, column] = float((part * error).sum())
    return out


@pytest.mark.parametrize("together", [0, 1, 2])
def test_projections_are_the_plain_formulas(
    model: SpeechModel, tones: Path, tmp_path: Path, together: int
) -> None:
    workspace, transcripts = prepared(model, tones, tmp_path / "workspace")
    paths = errors(workspace)
    groups = groups_of(len(transcripts), together)
    projections = project(workspace, transcripts, lambda: paths, groups, held=together > 0)
    wanted = plainly(workspace, transcripts, paths)
    assert projections.shape == wanted.shape
    assert np.abs(projections - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert np.abs(wanted).max() > 0


def test_no_gradient_is_left_after_a_backward_pass(
    model: SpeechModel, tones: Path, tmp_path: Path
) -> None:
    """Each is passed on once per draw, and no parameter keeps it."""
    workspace, transcripts = prepared(model, tones, tmp_path / "workspace")
    alive: list[int] = []
    seen: list[str] = []

    def take(name: str, slope: torch.Tensor) -> None:
        seen.append(name)
        alive.append(sum(p.grad is not None for p in workspace.parameters.values()))

    backward(workspace, transcripts[0], 0, 2, take)
    assert sorted(seen) == sorted([*workspace.parameters, *workspace.parameters])
    assert max(alive) == 0
    assert all(p.grad is None and p.requires_grad for p in model.module.parameters())


def test_products_in_bf16_are_near_float32s_and_end_with_the_pass(
    random_whisper: Path, tones: Path, tmp_path: Path
) -> None:
    """A processor without them multiplies float32, and then both are the same."""
    workspace, transcripts = prepared(load_model(str(random_whisper)), tones, tmp_path)
    found: dict[bool, dict[str, torch.Tensor]] = {False: {}, True: {}}
    for workspace.bf16, slopes in found.items():
        backward(workspace, transcripts[0], 0, 1, slopes.__setitem__)
        assert torch.get_float32_matmul_precision() == "highest"
    assert found[True].keys() == found[False].keys() == workspace.parameters.keys()
    for name, slope in found[False].items():
        assert float((found[True][name] - slope).norm()) < 0.05 * float(slope.norm()), name
