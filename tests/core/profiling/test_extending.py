"""Extended profiles: what was there stays to the bit, what is new is as if computed at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from genptq_core.cli.main import main
from genptq_core.errors import ConstraintError, ProfileError
from genptq_core.measurement.store import load_measured, save_measured
from genptq_core.models import SpeechModel
from genptq_core.options import UNQUANTIZED, block_options, divides, grid_options
from genptq_core.profile import Settings, load_profile
from genptq_core.profile.values import BLOCK_QUANTIZER
from genptq_core.profiling.compute import compute
from genptq_core.profiling.extending import extend
from genptq_core.speech.utterances import load_manifest
from tests.core import synthetic
from tests.core.block_whisper import widened

GRIDS = grid_options((4,), (32,))
BLOCKS = block_options(["q4_0", "q5_k"])
SETTINGS = Settings(GRIDS, draws=1, rank=4)


@pytest.fixture(scope="module")
def model(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return widened(random_whisper, tmp_path_factory.mktemp("models") / "block-whisper")


def test_new_columns_are_as_if_computed_at_once(
    model: SpeechModel, tones: Path, tmp_path: Path
) -> None:
    speech = load_manifest(tones, limit=2)
    old = compute(model, speech, tmp_path / "old", SETTINGS).profile
    both = dataclasses.replace(SETTINGS, options=GRIDS + BLOCKS)
    at_once = compute(model, speech, tmp_path / "both", both).profile
    computed = extend(old, model, speech, tmp_path / "new", GRIDS + BLOCKS)
    new = load_profile(tmp_path / "new")
    assert computed.backward_passes == 2
    assert new.digest == computed.profile.digest != old.digest
    assert new.settings.options == GRIDS + BLOCKS
    assert new.settings.quantizer == old.settings.quantizer + BLOCK_QUANTIZER
    np.testing.assert_array_equal(new.projections[..., : len(GRIDS)], old.projections)
    largest = np.nanmax(abs(at_once.projections))  # sums of other options are in another order
    np.testing.assert_allclose(new.projections, at_once.projections, atol=1e-5 * largest)
    for unit, scores in zip(new.units, new.projections.transpose(2, 3, 0, 1), strict=True):
        held = [divides(option, unit.columns) for option in new.settings.options]
        assert np.isfinite(scores).all(axis=(1, 2)).tolist() == held
    assert new.anchors[: len(old.anchors)] == old.anchors
    added = new.anchors[len(old.anchors) :]
    assert [set(anchor.options) - {UNQUANTIZED} for anchor in added] == [{o} for o in BLOCKS]
    assert dataclasses.replace(new.source) == old.source
    for name, parts in old.sketches.items():
        assert all(np.array_equal(new.sketches[name][k], v) for k, v in parts.items())
    again = extend(old, model, speech, tmp_path / "again", BLOCKS)
    assert again.profile.digest == new.digest and again.backward_passes == 0


def test_other_speech_and_known_options_are_refused(
    model: SpeechModel, tones: Path, tmp_path: Path
) -> None:
    speech = load_manifest(tones, limit=1)
    old = compute(model, speech, tmp_path / "old", SETTINGS).profile
    with pytest.raises(ConstraintError, match="has all of these"):
        extend(old, model, speech, tmp_path / "new", GRIDS)
    with pytest.raises(ProfileError, match="calibrated on"):
        extend(old, model, load_manifest(tones, limit=2), tmp_path / "new", BLOCKS)
    assert not (tmp_path / "new").exists()


def test_the_command_keeps_what_was_measured(
    model: SpeechModel, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech = load_manifest(tones, limit=1)
    old = compute(model, speech, tmp_path / "old", SETTINGS).profile
    record = synthetic.measured(old, ["4/32"] * len(old.units))
    save_measured(tmp_path / "old", old.digest, record)
    command = ["profile", "--model", model.name, "--speech", str(tones), "--limit", "1"]
    command += ["--extend", str(tmp_path / "old"), "--types", "q4_0", "--out"]
    assert main([*command, str(tmp_path / "new")]) == 0
    new = load_profile(tmp_path / "new")
    assert new.settings.options[-1].key == "q4_0"
    kept = load_measured(tmp_path / "new", new.digest)
    assert kept == [dataclasses.replace(record, profile_digest=new.digest)]
    assert main([*command, str(tmp_path / "new"), "--listen", str(tones)]) != 0
    assert "--extend keeps" in capsys.readouterr().err
