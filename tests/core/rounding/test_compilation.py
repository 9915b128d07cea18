"""Compiling: in order, tuned on speech, judged on speech set aside, resumable."""

import dataclasses
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Made:
    """A small random model, its profile in a folder, speech, and a cache that holds them."""

    model: SpeechModel
    profile: Profile
    folder: Path
    tones: Path
    cache: Path

    @property
    def chosen(self) -> BitMap:
        """Three bits everywhere."""
        return bit_map(self.profile, ["3/8"] * len(self.profile.units))

    def compiled(
        self, recipe: CompileSettings = RECIPE, stages: list[tuple[str, int]] | None = None
    ) -> Compiled:
        """That map compiled; what is reported goes to `stages`."""

        def report(progress: Progress) -> None:
            if stages is not None:
                stages.append((progress.stage, progress.done))

        speech = load_manifest(self.tones)
        return compile_map(self.model, self.profile, self.chosen, speech, recipe, report)


@pytest.fixture(scope="module")
def made(random_whisper: Path, six_tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Made once, with all that it takes in a cache."""
    folder = tmp_path_factory.mktemp("compilation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENPTQ_CACHE", str(folder / "cache"))
        model = load_model(str(random_whisper))
        options = (*grid_options((3,), (8,)), *coded_options((6,)))
        settings = Settings(options, draws=1, rank=8)
        speech = load_manifest(six_tones, 2)
        profile = compute(model, speech, folder / "profile", settings).profile
        return Made(model, profile, folder / "profile", six_tones, folder / "cache")


@pytest.fixture(scope="module")
def found(made: Made) -> Compiled:
    """Three bits everywhere, compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENPTQ_CACHE", str(made.cache))
        return made.compiled()


def test_compiling_never_makes_speech_set_aside_worse(made: Made, found: Compiled) -> None:
    assert 0 < found.after <= found.rounded <= found.before
    module = made.model.module
    assert weights_digest(module) == made.model.digest, "the original must come back untouched"
    assert all(p.requires_grad is False or p.grad is None for p in module.parameters())


def test_tuning_helps_where_there_is_something_to_win(found: Compiled) -> None:
    assert found.after < 0.95 * found.rounded
    assert "model.decoder.layer_norm.bias" in found.weights


def test_codes_stay_on_the_grid(made: Made, found: Compiled) -> None:
    unit = next(u for u in made.profile.units if u.kind == "feed-forward")
    groups = found.weights[unit.parameter].view(unit.rows, -1, 8)
    for group in groups.flatten(0, 1):
        assert len(torch.unique(group)) <= 8


def test_a_second_run_takes_everything_from_the_cache(
    made: Made, found: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENPTQ_CACHE", str(made.cache))
    stages: list[tuple[str, int]] = []
    again = made.compiled(stages=stages)
    assert again.after == found.after
    assert again.digest == found.digest
    steps = [done for stage, done in stages if stage == "tuning"]
    assert len(steps) == 1, "only the closing report"
    for name, weight in found.weights.items():
        assert torch.equal(weight, again.weights[name])


def test_a_run_cut_off_goes_on_where_it_was(made: Made) -> None:
    speech = load_manifest(made.tones)

    class Cut(Exception):
        pass

    def cut(progress: Progress) -> None:
        if progress.stage == "tuning" and progress.done == 3:
            raise Cut

    with pytest.raises(Cut):
        compile_map(made.model, made.profile, made.chosen, speech, RECIPE, cut)
    stages: list[tuple[str, int]] = []
    resumed = made.compiled(stages=stages)
    assert min(done for stage, done in stages if stage == "tuning") == 3
    whole = made.compiled(dataclasses.replace(RECIPE, sequential=2))
    assert resumed.after <= resumed.before
    assert whole.digest != resumed.digest


def test_too_little_speech_is_named(made: Made) -> None:
    with pytest.raises(SpeechError, match="set aside"):
        made.compiled(dataclasses.replace(RECIPE, held_out=5))


def test_a_compiled_map_is_exported_as_compiled(
    made: Made, found: Compiled, tmp_path: Path
) -> None:
    model, profile, chosen = made.model, made.profile, made.chosen
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
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "map.json"
    write_bit_map(path, made.profile, made.chosen)
    arguments = ["--profile", str(made.folder), "--bitmap", str(path)]
    arguments += ["--compile", str(made.tones), "--out", str(tmp_path / "out")]
    assert main(["export", *arguments]) == 2
    assert "24 are set aside" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
