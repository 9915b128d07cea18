"""Weights computed layer by layer: the same results as held weights, with few in memory."""

import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor

from genptq_core import Settings, bit_map, compute, load_manifest, load_model
from genptq_core.models import SpeechModel, layered
from genptq_core.models.divergence import head_states
from genptq_core.models.layered import LayeredWeights, overlaid
from genptq_core.models.weights import replaced, weights_digest
from genptq_core.options import grid_options
from genptq_core.rounding.compilation import CompileSettings, compile_map
from genptq_core.speech.utterances import load_audio
from tests.core import tiny_models

SETTINGS = Settings(grid_options((2, 4), (8,)), draws=1, rank=8)
RECIPE = CompileSettings(sequential=2, passes=1, rate=2e-2, batch=2, held_out=2, checks=1)


@pytest.fixture(params=["whisper", *tiny_models.ARCHITECTURES])
def model(request: pytest.FixtureRequest, random_whisper: Path, tmp_path: Path) -> SpeechModel:
    """A small random model of each kind."""
    if request.param == "whisper":
        return load_model(str(random_whisper))
    return load_model(str(tiny_models.random_ctc(tmp_path / "ctc", request.param)))


def _changed(model: SpeechModel) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    parameters = dict(model.module.named_parameters())
    return {
        name: parameters[name].detach()
        + 0.02 * torch.randn(parameters[name].shape, generator=generator)
        for name in sorted({unit.parameter for unit in model.units})
    }


def test_every_layer_of_every_family_gets_the_weights_made_for_it(
    model: SpeechModel, tones: Path
) -> None:
    audio = [load_audio(u) for u in load_manifest(tones, 2).utterances]
    weights = _changed(model)
    with torch.no_grad():
        transcripts = model.transcribe(model.encode(audio))
    before = weights_digest(model.module)
    plain = head_states(model, audio, transcripts)
    with replaced(model, weights):
        held = [model.log_probs(s).detach() for s in head_states(model, audio, transcripts)]
    asked: set[str] = set()

    def make(name: str) -> Tensor:
        asked.add(name)
        return weights[name].clone()

    with replaced(model, LayeredWeights({name: lambda name=name: make(name) for name in weights})):
        computed = [model.log_probs(s).detach() for s in head_states(model, audio, transcripts)]
    assert asked == set(weights)
    for wanted, result in zip(held, computed, strict=True):
        assert torch.equal(wanted, result)
    assert weights_digest(model.module) == before
    for wanted, result in zip(plain, head_states(model, audio, transcripts), strict=True):
        assert torch.equal(wanted, result)


def test_a_backward_pass_makes_weights_again_and_keeps_none(
    model: SpeechModel, tones: Path
) -> None:
    audio = [load_audio(load_manifest(tones, 1).utterances[0])]
    weights = _changed(model)
    with torch.no_grad():
        transcripts = model.transcribe(model.encode(audio))
    units = set(weights)
    for name, parameter in model.module.named_parameters():
        parameter.requires_grad_(name not in units)

    def slopes() -> dict[str, Tensor]:
        states = model.head_inputs(model.encode(audio), transcripts)[0]
        model.log_probs(states)[:, 0].sum().backward()
        gradients = {n: p.grad for n, p in model.module.named_parameters() if p.grad is not None}
        model.module.zero_grad()
        return gradients

    with replaced(model, weights):
        held = slopes()
    there: list[weakref.ref[Tensor]] = []
    most = 0

    def make(name: str) -> Tensor:
        nonlocal most
        fresh = weights[name].clone()
        there.append(weakref.ref(fresh.untyped_storage()))
        most = max(most, sum(one() is not None for one in there))
        return fresh

    with replaced(model, LayeredWeights({name: lambda name=name: make(name) for name in weights})):
        layered_slopes = slopes()
    assert held.keys() == layered_slopes.keys() and held
    for name, slope in held.items():
        assert torch.allclose(layered_slopes[name], slope, rtol=1e-5, atol=1e-6), name
    assert len(there) > len(weights), "forward and backward"
    assert most <= 3


def test_a_layer_that_fails_gets_its_own_weights_back(random_whisper: Path, tones: Path) -> None:
    model = load_model(str(random_whisper))
    audio = [load_audio(load_manifest(tones, 1).utterances[0])]
    own = {name: id(p) for name, p in model.module.named_parameters(remove_duplicate=False)}
    name = "model.encoder.layers.0.fc1.weight"
    wrong = LayeredWeights({name: lambda: torch.zeros(3, 3)})
    with pytest.raises(RuntimeError), replaced(model, wrong):
        model.encode(audio)
    assert own == {n: id(p) for n, p in model.module.named_parameters(remove_duplicate=False)}


def test_overlaid_weights_make_nothing() -> None:
    def never() -> Tensor:
        raise AssertionError

    one, two = torch.zeros(1), torch.ones(1)
    below = LayeredWeights({"a": never, "b": never}, {"c": one})
    both = overlaid(below, {"b": two})
    assert isinstance(both, LayeredWeights) and set(both) == {"a", "b", "c"} and len(both) == 3
    assert both["b"] is two and both["c"] is one
    again = overlaid({"c": two, "d": two}, below)
    assert again["c"] is one and again["d"] is two
    assert overlaid({"a": one}, {"a": two}) == {"a": two}


def test_profile_and_compiled_map_are_the_same_either_way(
    random_whisper: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, speech = load_model(str(random_whisper)), load_manifest(tones)
    results = []
    for limit, name in ((layered.HELD, "held"), (0, "made")):
        monkeypatch.setattr(layered, "HELD", limit)
        monkeypatch.setenv("GENPTQ_CACHE", str(tmp_path / name / "cache"))
        profile = compute(model, speech, tmp_path / name / "profile", SETTINGS).profile
        chosen = bit_map(profile, ["2/8"] * len(profile.units))
        results.append((profile, compile_map(model, profile, chosen, speech, RECIPE)))
    (held, compiled), (streamed, again) = results
    assert isinstance(again.weights, LayeredWeights) and not isinstance(
        compiled.weights, LayeredWeights
    )
    assert [a.loss for a in held.anchors] == [a.loss for a in streamed.anchors]
    losses = [(c.before, c.rounded, c.after) for c in (compiled, again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert compiled.weights.keys() == again.weights.keys()
    for name, weight in compiled.weights.items():
        assert torch.allclose(weight, again.weights[name], atol=1e-4), name
