"""Profiles: computed, cached, and resumed after a kill."""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from genptq_core.allocation.problem import problem
from genptq_core.errors import ModelError
from genptq_core.loading import load_model
from genptq_core.models.divergence import head_states
from genptq_core.models.weights import parameter_count
from genptq_core.options import UNQUANTIZED, Option, coded_options, grid_options
from genptq_core.profile import (
    JSON_NAME,
    Profile,
    Settings,
    load_profile,
)
from genptq_core.profiling.anchors import anchor_maps
from genptq_core.profiling.compute import compute, importance_utterances
from genptq_core.progress import Progress
from genptq_core.speech.utterances import load_audio, load_manifest
from genptq_core.storage.locations import bundled_profiles
from tests.core import synthetic
from tests.forked import Say, killed_at

SETTINGS = Settings(grid_options((2, 4), (8,)), draws=2, rank=4)


def passes(utterances: int) -> int:
    """Backward passes of a profile: one per draw, and some for the importance of rows."""
    return utterances * SETTINGS.draws + importance_utterances(utterances)


@pytest.fixture(scope="module")
def bundled() -> Profile:
    return load_profile(bundled_profiles() / "whisper-tiny.en")


def test_a_repeated_run_makes_no_backward_pass(
    random_whisper: Path, tones: Path, tmp_path: Path
) -> None:
    model, speech = load_model(str(random_whisper)), load_manifest(tones)
    seen: list[Progress] = []
    first = compute(model, speech, tmp_path / "a", SETTINGS, seen.append)
    assert first.backward_passes == passes(6)
    assert {p.stage for p in seen} >= {"listening", "rounding", "gradients", "anchors"}
    second = compute(model, speech, tmp_path / "b", SETTINGS)
    assert second.backward_passes == 0
    assert second.cache_hits > 0
    assert second.profile.digest == first.profile.digest
    assert (tmp_path / "a" / JSON_NAME).read_bytes() == (tmp_path / "b" / JSON_NAME).read_bytes()


def test_the_cache_is_keyed_by_content(random_whisper: Path, tones: Path, tmp_path: Path) -> None:
    speech = load_manifest(tones, limit=2)
    compute(load_model(str(random_whisper)), speech, tmp_path / "a", SETTINGS)
    model = load_model(str(random_whisper))
    with torch.no_grad():
        next(model.module.parameters()).mul_(1.01)
    changed = type(model)(model.name, model.module, model._features, model._tokenizer)
    assert compute(changed, speech, tmp_path / "b", SETTINGS).backward_passes == passes(2)
    reseeded = dataclasses.replace(SETTINGS, seed=1)
    assert compute(model, speech, tmp_path / "c", reseeded).backward_passes == passes(2)


def test_projections_are_inner_products_with_the_true_error(
    random_whisper: Path, tones: Path, tmp_path: Path
) -> None:
    """The sum over a draw of v equals the change of loss along the errors, to first order."""
    model, speech = load_model(str(random_whisper)), load_manifest(tones, limit=1)
    profile = compute(model, speech, tmp_path / "a", SETTINGS).profile
    from genptq_core.rounding.rounded import quantized_weights

    unit, width = 3, 0
    options = [UNQUANTIZED] * len(profile.units)
    options[unit] = SETTINGS.options[width]
    weights = quantized_weights(model, profile, options)
    parameter = dict(model.module.named_parameters())[profile.units[unit].parameter]
    original = parameter.data
    error = weights[profile.units[unit].parameter] - original
    audio = [load_audio(speech.utterances[0])]
    with torch.no_grad():
        transcript = model.transcribe(model.encode(audio))[0]

    def losses(step: float) -> torch.Tensor:
        parameter.data = (original.double() + step * error.double()).float()
        log_probs = model.log_probs(head_states(model, audio, [transcript])[0]).detach()
        parameter.data = original
        generator = torch.Generator().manual_seed(0)
        reference = model.log_probs(head_states(model, audio, [transcript])[0]).detach()
        labels = torch.multinomial(reference.exp(), 2, replacement=True, generator=generator)
        return torch.stack(
            [-log_probs.double().gather(1, labels[:, i : i + 1]).sum() for i in (0, 1)]
        )

    slope = (losses(0.5) - losses(-0.5)).numpy()
    np.testing.assert_allclose(profile.projections[0, :, unit, width], slope, rtol=0.05, atol=2e-3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_and_run_again_does_only_what_is_missing(
    random_whisper: Path,
    tones: Path,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed among the gradients, then among the anchors, then left to end."""
    model, speech, out = load_model(str(random_whisper)), load_manifest(tones), tmp_path / "out"

    def work(say: Say) -> None:
        compute(model, speech, out, SETTINGS, lambda at: say(f"{at.stage} {at.done}"))

    killed_at("gradients 5", work)
    assert not (out / JSON_NAME).exists()
    second = killed_at("anchors 2", work)
    assert not (out / JSON_NAME).exists()
    fresh = [line for line in second if line.startswith("gradients")]
    assert fresh == ["gradients 4", "gradients 5", "gradients 6"], "the first four were there"
    resumed = compute(model, speech, out, SETTINGS)
    assert resumed.backward_passes == 0
    monkeypatch.setenv("GENPTQ_CACHE", str(cache / "undisturbed"))
    undisturbed = compute(model, speech, tmp_path / "again", SETTINGS)
    assert undisturbed.backward_passes == passes(6)
    assert synthetic.same(resumed.profile, undisturbed.profile)


def test_a_damaged_cache_entry_is_computed_again(
    random_whisper: Path, tones: Path, tmp_path: Path, cache: Path
) -> None:
    model, speech = load_model(str(random_whisper)), load_manifest(tones, limit=2)
    first = compute(model, speech, tmp_path / "a", SETTINGS)
    for path in cache.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    second = compute(model, speech, tmp_path / "b", SETTINGS)
    assert second.backward_passes == first.backward_passes
    assert synthetic.same(first.profile, second.profile)


def test_weights_that_are_no_numbers_are_named(
    random_whisper: Path, tones: Path, tmp_path: Path
) -> None:
    model = load_model(str(random_whisper))
    with torch.no_grad():
        model.module.get_parameter("model.decoder.layers.0.fc1.weight")[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"layers\.0\.fc1\.weight of .* holds NaN"):
        compute(model, load_manifest(tones, limit=1), tmp_path / "a", SETTINGS)


def test_bundled_profile_is_of_the_embedded_model(bundled: Profile, tiny_en) -> None:  # type: ignore[no-untyped-def]
    assert bundled.source.model_digest == tiny_en.digest
    assert bundled.source.parameters == parameter_count(tiny_en.module)
    # A profile may have fewer units than the model now: convolutions were not units at first.
    assert set(bundled.units) <= set(tiny_en.units)
    covered = {u.parameter for u in bundled.units}
    assert {u.parameter for u in tiny_en.units if u.kind != "convolution"} <= covered
    ways = bundled.settings.options
    assert set(grid_options((2, 3, 4, 5, 6, 8), (64,))) <= set(ways)
    assert {a.options for a in bundled.anchors} >= set(anchor_maps(bundled.units, ways))
    folder = bundled_profiles() / "whisper-tiny.en"
    assert sum(f.stat().st_size for f in folder.iterdir() if "sqlite" not in f.name) < 10_000_000


def test_one_group_size_is_measured_for_all() -> None:
    units = synthetic.units(8)
    groups = len({unit.group for unit in units})
    for sizes, usual in (((32, 64, 128), 64), ((32, 128), 128), ((8,), 8)):
        ways = grid_options((2, 4, 8), sizes) + coded_options((1.5, 1.75, 2, 4))
        maps = anchor_maps(units, ways)
        assert len(set(maps)) == len(maps) and all(len(m) == len(units) for m in maps)
        used = {option for wanted in maps for option in wanted} - {UNQUANTIZED}
        assert {option.group_size for option in used} == {0, usual}
        alone = [m for m in maps if UNQUANTIZED in m]
        assert len(alone) == groups * 3
        assert {o for m in alone for o in m} == {
            UNQUANTIZED,
            Option(2, usual),
            *map(Option, (1.5, 2)),
        }


def test_every_option_is_profiled_and_reproduced(
    random_whisper: Path, tones: Path, tmp_path: Path
) -> None:
    ways = grid_options((2, 4), (16, 8)) + coded_options((2, 3.5))
    model, speech = load_model(str(random_whisper)), load_manifest(tones, limit=2)
    computed = compute(model, speech, tmp_path / "a", dataclasses.replace(SETTINGS, options=ways))
    profile = load_profile(tmp_path / "a")
    assert profile.settings.options == ways
    assert profile.projections.shape == (2, 2, len(model.units), len(ways))
    alone = {o for a in profile.anchors for o in a.options if UNQUANTIZED in a.options}
    assert alone == {UNQUANTIZED, Option(2, 16), Option(2)}
    uniform = [a.options[0] for a in profile.anchors if len(set(a.options)) == 1]
    # Not every unit of such a small model can be written in 2 bits per weight.
    assert [option.key for option in uniform] == ["2/16", "4/16", "3.5"]
    assert computed.profile.digest == profile.digest
    assert set(profile.importance) == {unit.parameter for unit in model.units}
    # Small weights cannot be written in few bytes; the solver does not offer such an option.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for target in ("native", "integer"):
            task = problem(profile, target=target)
            lost = ~np.isfinite(profile.projections).all(axis=(0, 1))
            columns = [profile.menu.index(option) for option in task.menu[:-1]]
            np.testing.assert_array_equal(task.allowed[:, :-1], ~lost[:, columns])
