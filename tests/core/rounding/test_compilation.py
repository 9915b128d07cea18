"""Compiling: in order, tuned on speech, judged on speech set aside, resumable."""

import dataclasses
from pathlib import Path

import pytest
import torch

from genptq_core import (
    BitMap,
    Profile,
    Progress,
    Settings,
    SpeechError,
    bit_map,
    compute,
    load_manifest,
    load_model,
)
from genptq_core.bitmaps.file import write_bit_map
from genptq_core.cli.main import main
from genptq_core.export.export import export
from genptq_core.formats.reading import load_export
from genptq_core.models import SpeechModel
from genptq_core.models.weights import weights_digest
from genptq_core.options import coded_options, grid_options
from genptq_core.rounding.compilation import Compiled, CompileSettings, compile_map

RECIPE = CompileSettings(sequential=3, passes=3, rate=2e-2, batch=2, held_out=2, checks=1)


@pytest.fixture
def made(random_whisper: Path, tones: Path, tmp_path: Path) -> tuple[SpeechModel, Profile, Path]:
    """A small random model, its profile, and speech."""
    model = load_model(str(random_whisper))
    options = (*grid_options((3,), (8,)), *coded_options((6,)))
    settings = Settings(options, draws=1, rank=8)
    speech = load_manifest(tones, 2)
    profile = compute(model, speech, tmp_path / "profile", settings).profile
    return model, profile, tones


def _compile(
    made: tuple[SpeechModel, Profile, Path],
    recipe: CompileSettings = RECIPE,
    stages: list | None = None,
) -> tuple[Compiled, BitMap]:
    model, profile, tones = made
    chosen = bit_map(profile, ["3/8"] * len(profile.units))

    def report(progress: Progress) -> None:
        if stages is not None:
            stages.append((progress.stage, progress.done))

    found = compile_map(model, profile, chosen, load_manifest(tones), recipe, report)
    return found, chosen


def test_compiling_never_makes_speech_set_aside_worse(
    made: tuple[SpeechModel, Profile, Path],
) -> None:
    model, _, _ = made
    before = weights_digest(model.module)
    found, _ = _compile(made)
    assert 0 < found.after <= found.rounded <= found.before
    assert weights_digest(model.module) == before, "the original must come back untouched"
    assert all(p.requires_grad is False or p.grad is None for p in model.module.parameters())


def test_tuning_helps_where_there_is_something_to_win(
    made: tuple[SpeechModel, Profile, Path],
) -> None:
    found, _ = _compile(made)
    assert found.after < 0.95 * found.rounded
    assert "model.decoder.layer_norm.bias" in found.weights


def test_codes_stay_on_the_grid(made: tuple[SpeechModel, Profile, Path]) -> None:
    _, profile, _ = made
    found, _ = _compile(made)
    unit = next(u for u in profile.units if u.kind == "feed-forward")
    groups = found.weights[unit.parameter].view(unit.rows, -1, 8)
    for group in groups.flatten(0, 1):
        assert len(torch.unique(group)) <= 8


def test_a_second_run_takes_everything_from_the_cache(
    made: tuple[SpeechModel, Profile, Path],
) -> None:
    first, _ = _compile(made)
    stages: list[tuple[str, int]] = []
    again, _ = _compile(made, stages=stages)
    assert again.after == first.after
    assert again.digest == first.digest
    steps = [done for stage, done in stages if stage == "tuning"]
    assert len(steps) == 1, "only the closing report"
    for name, weight in first.weights.items():
        assert torch.equal(weight, again.weights[name])


def test_a_run_cut_off_goes_on_where_it_was(made: tuple[SpeechModel, Profile, Path]) -> None:
    model, profile, tones = made
    chosen = bit_map(profile, ["3/8"] * len(profile.units))
    speech = load_manifest(tones)

    class Cut(Exception):
        pass

    def cut(progress: Progress) -> None:
        if progress.stage == "tuning" and progress.done == 3:
            raise Cut

    with pytest.raises(Cut):
        compile_map(model, profile, chosen, speech, RECIPE, cut)
    stages: list[tuple[str, int]] = []
    resumed, _ = _compile(made, stages=stages)
    assert min(done for stage, done in stages if stage == "tuning") == 3
    whole, _ = _compile(made, dataclasses.replace(RECIPE, sequential=2))
    assert resumed.after <= resumed.before
    assert whole.digest != resumed.digest


def test_too_little_speech_is_named(made: tuple[SpeechModel, Profile, Path]) -> None:
    with pytest.raises(SpeechError, match="set aside"):
        _compile(made, dataclasses.replace(RECIPE, held_out=5))


def test_a_compiled_map_is_exported_as_compiled(
    made: tuple[SpeechModel, Profile, Path], tmp_path: Path
) -> None:
    model, profile, _ = made
    found, chosen = _compile(made)
    out = export(profile, chosen, None, tmp_path / "out", model, compiled=found)
    plain = export(profile, chosen, None, tmp_path / "plain", model)
    assert out.as_promised and out.bytes == plain.bytes, "not a byte larger"
    back = dict(load_export(out.folder).module.named_parameters())
    for name, weight in found.weights.items():
        exact = name not in found.tuned or name in model.derived
        assert torch.equal(back[name], weight if exact else weight.half().float()), name
    name = "model.decoder.layer_norm.bias"
    assert not torch.equal(back[name], model.module.get_parameter(name))


def test_too_little_speech_to_compile_is_one_line(
    made: tuple[SpeechModel, Profile, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, profile, tones = made
    path = tmp_path / "map.json"
    write_bit_map(path, profile, bit_map(profile, ["3/8"] * len(profile.units)))
    arguments = ["--profile", str(tmp_path / "profile"), "--bitmap", str(path)]
    arguments += ["--compile", str(tones), "--out", str(tmp_path / "out")]
    assert main(["export", *arguments]) == 2
    assert "24 are set aside" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
