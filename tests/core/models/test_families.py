"""Every family goes through profile, solve, measure, every target that takes it, and back."""

from __future__ import annotations

from pathlib import Path

import jiwer
import numpy as np
import pytest

from benchmarks.families import rank_correlation
from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.export.export import export
from genptq_core.export.unpack import unpack
from genptq_core.loading import load_model
from genptq_core.measurement.measure import measure, transcribe_files
from genptq_core.models import SpeechModel
from genptq_core.models.weights import parameter_count, replaced
from genptq_core.options import block_options, coded_options, grid_options
from genptq_core.profile import Profile, Settings
from genptq_core.profiling.compute import compute
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.speech.utterances import load_manifest
from genptq_core.targets import NATIVE, usable_targets
from genptq_core.units import readable
from tests.core.tiny_models import FAMILIES, MOONSHINE, TDT, WHISPER, random_model

OPTIONS = (*grid_options((4, 8), (16,)), *coded_options((4,)), *block_options(("q8_0",)))
SETTINGS = Settings(OPTIONS, draws=2, rank=8)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != WHISPER])  # see its shapes
def test_from_profile_to_every_target_and_back(family: str, tones: Path, tmp_path: Path) -> None:
    model = load_model(str(random_model(tmp_path / "model", family)))
    speech = load_manifest(tones, 2)
    profile = compute(model, speech, tmp_path / "p", SETTINGS).profile
    _check_units(model, profile)
    stored = {n: p.detach().half().float() for n, p in model.module.named_parameters()}
    for target in usable_targets(profile.menu, family):
        task = problem(profile, target=target)
        budget = int(1.15 * task.smallest)
        chosen = solve(task, budget)
        picked = bit_map(profile, chosen.options)
        found = export(profile, picked, target, tmp_path / target, model)
        assert found.bytes == chosen.bytes <= budget
        with replaced(model, stored | quantized_weights(model, profile, picked.options)):
            expected = transcribe_files(model, speech)
        back = load_model(str(found.folder))
        heard = transcribe_files(back, speech)
        # Another runtime rounds activations too, and labels of random weights nearly tie.
        assert jiwer.cer(expected, heard) < 0.15 if target == "gguf" else heard == expected
        if target == NATIVE:
            again = unpack(found.folder, "transformers", tmp_path / "transformers")
            heard = transcribe_files(load_model(str(again.folder)), speech)
            assert jiwer.cer(expected, heard) < 0.15  # so does float16 its weights
            record = measure(model, profile, picked, speech)
            assert record.bytes == chosen.bytes
    assert all(transcribe_files(model, speech))


def _check_units(model: SpeechModel, profile: Profile) -> None:
    """They are most of the model, named apart, and each of them matters."""
    units = profile.units
    assert sum(unit.weights for unit in units) > 0.6 * parameter_count(model.module)
    names = [readable(unit) for unit in units]
    assert len(set(names)) == len(names), sorted(names)
    squares = np.square(profile.projections[..., 0]).sum(axis=(0, 1))
    dead = [unit.name for unit, square in zip(units, squares, strict=True) if not square > 0]
    assert not dead


@pytest.mark.parametrize("family", [TDT, MOONSHINE])
def test_predicted_and_measured_losses_rank_alike(family: str, tones: Path, tmp_path: Path) -> None:
    model = load_model(str(random_model(tmp_path / "model", family)))
    settings = Settings(grid_options((3, 4, 6), (16,)), draws=12, rank=8)
    speech = load_manifest(tones, 3)
    profile = compute(model, speech, tmp_path / "p", settings).profile
    assert rank_correlation(model, profile, speech, 12) > 0.8
