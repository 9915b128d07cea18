"""CTC recognizers: their transcripts, their units, and the way from profile to measurement."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForCTC

from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import ModelError
from genptq_core.loading import load_model
from genptq_core.measurement.measure import measure
from genptq_core.models import SpeechModel
from genptq_core.models.acoustic import fold_norms
from genptq_core.models.ctc import Ctc, assembled
from genptq_core.models.weights import parameter_count
from genptq_core.options import Option, coded_options, grid_options
from genptq_core.profile import Profile, Settings
from genptq_core.profiling.compute import compute
from genptq_core.profiling.hooks import SecondMoments
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.speech.utterances import load_manifest
from tests.core.tiny_models import (
    ARCHITECTURES,
    CONFORMER,
    PARAKEET,
    VOCABULARY,
    random_ctc,
)

SETTINGS = Settings(grid_options((2, 4, 8), (16,)) + coded_options((3,)), draws=2, rank=8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("ctc")
    return {name: random_ctc(root / name, name) for name in ARCHITECTURES}


@pytest.fixture(params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(16_000 * seconds))).astype(np.float32)


def test_the_library_s_own_logits_and_text(folder: Path) -> None:
    """With norms folded or not, and with the library's own mask."""
    model = load_model(str(folder))
    original = AutoModelForCTC.from_pretrained(folder).eval()
    batch = AutoFeatureExtractor.from_pretrained(folder)(
        [noise(1.3)], sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        expected = original(**batch).logits[0].log_softmax(dim=-1)
        encoded = model.encode([noise(1.3)])
        (transcript,) = model.transcribe(encoded)
        found = model.log_probs(model.head_inputs(encoded, [transcript])[0])
    torch.testing.assert_close(found, expected[: len(found)], atol=2e-5, rtol=1e-4)
    path = expected[: len(found)].argmax(dim=-1).tolist()
    assert list(transcript.tokens) == path
    letters = "".join(VOCABULARY[i] for i, _ in itertools.groupby(path) if i > 1)
    assert transcript.text == letters.replace("|", " ").strip()
    assert transcript.text


def test_a_letter_comes_twice_only_with_a_blank_between(folder: Path) -> None:
    model = load_model(str(folder))
    assert isinstance(model, Ctc)
    start, twice = [VOCABULARY.index(letter) for letter in "thr"], VOCABULARY.index("e")
    assert model.text([*start, twice, 0, twice, twice, 0]) == "three"
    assert model.text([*start, twice, twice, 0]) == "thre"


def test_company_in_a_batch_changes_nothing(folder: Path) -> None:
    model = load_model(str(folder))
    clips = [noise(0.4, 1), noise(1.5, 2), noise(0.01, 3), np.zeros(4000, dtype=np.float32)]
    with torch.no_grad():
        together = model.transcribe(model.encode(clips))
        alone = [model.transcribe(model.encode([clip]))[0] for clip in clips]
    assert together == alone
    assert all(t.tokens for t in together)


def test_units_are_all_matrices_and_share_inputs_that_are_the_same(folder: Path) -> None:
    model = load_model(str(folder))
    names = dict(model.module.named_modules())
    for unit in model.units:
        weight = model.module.get_parameter(unit.parameter)
        assert (unit.rows, unit.columns) == (len(weight), weight[0].numel())
        assert unit.inputs in names
    by_inputs: dict[str, list[str]] = {}
    for unit in model.units:
        by_inputs.setdefault(unit.inputs, []).append(unit.name)
    shared = sorted(len(members) for members in by_inputs.values() if len(members) > 1)
    # Queries, keys and values of each block; where positions are projected, they are shared.
    assert shared == ([2, 3, 3] if model.family in (PARAKEET, CONFORMER) else [3, 3])
    assert {u.kind for u in model.units if u.part == "decoder"} == {"output"}
    assert [u.name for u in model.units if u.part == "decoder"] == [model.head]
    covered = sum(unit.weights for unit in model.units)
    assert covered > 0.75 * parameter_count(model.module)


def test_rotated_inputs_are_not_shared(tmp_path: Path) -> None:
    """With rotary positions, values get other inputs than queries and keys."""
    model = load_model(
        str(random_ctc(tmp_path / "m", CONFORMER, position_embeddings_type="rotary"))
    )
    inputs = {u.name.split(".")[-2]: u.inputs for u in model.units if ".layers.0.self" in u.name}
    assert inputs["linear_q"] == inputs["linear_k"] != inputs["linear_v"]


def test_moments_are_of_what_multiplies_the_weight(folder: Path) -> None:
    """A unit's output is its weight times the rows that the moments are summed over."""
    model = load_model(str(folder))
    outputs: dict[str, torch.Tensor] = {}
    for name, module in model.module.named_modules():
        module.register_forward_hook(lambda m, i, o, n=name: outputs.__setitem__(n, o))
    sums: dict[str, torch.Tensor] = {}
    with torch.no_grad(), SecondMoments(model, sums):
        model.log_probs(model.encode([noise(1)]).states[0])
    for unit in model.units:
        layer = model.module.get_submodule(unit.parameter.removesuffix(".weight"))
        output = outputs[unit.parameter.removesuffix(".weight")]
        if layer.bias is not None:
            last = output.shape[-1] == unit.rows and not isinstance(layer, torch.nn.Conv2d)
            last = last and type(layer) is not torch.nn.Conv1d
            bias = layer.bias if last else layer.bias.view(-1, *[1] * (output.ndim - 2))
            output = output - bias
        weight = layer.weight.flatten(1)
        energy = torch.einsum("rc,cd,rd->", weight, sums[unit.inputs], weight)
        assert output.detach().square().sum().item() == pytest.approx(energy.item(), rel=1e-3), (
            unit.name
        )


def test_from_profile_to_measurement(folders: dict[str, Path], tones: Path, tmp_path: Path) -> None:
    model, speech = load_model(str(folders[PARAKEET])), load_manifest(tones)
    profile = compute(model, speech, tmp_path / "p", SETTINGS).profile
    frames = [len(t.tokens) for t in model.transcribe(model.encode([noise(1)] * 1))]
    assert profile.lengths.tolist() == frames * 6  # all tones last a second
    task = problem(profile)
    smallest = int(task.cost.min(axis=1).sum()) + task.fixed
    chosen = solve(task, int(1.3 * smallest))
    record = measure(model, profile, bit_map(profile, chosen.options), speech)
    assert record.bytes == chosen.bytes <= 1.3 * smallest
    assert record.normalizer == "basic"
    assert "frame" in record.method
    half = measure(model, profile, bit_map(profile, [16] * len(profile.units)), speech)
    assert half.loss == pytest.approx(0, abs=1e-6)
    overhead = profile.source.overhead["native"]
    assert half.bytes == 2 * parameter_count(model.module) + overhead
    assert half.wer == half.wer_full_precision


def test_prediction_tracks_measured_divergence(
    folders: dict[str, Path], tones: Path, tmp_path: Path
) -> None:
    """Frame-wise label draws predict the frame-wise divergence, wide or narrow."""
    model, speech = load_model(str(folders[PARAKEET])), load_manifest(tones)
    settings = Settings(grid_options((3, 4, 6, 8), (16,)), draws=24, rank=8)
    profile = compute(model, speech, tmp_path / "p", settings).profile
    rng = np.random.default_rng(0)
    measured, predicted = [], []
    for _ in range(6):
        widths = rng.choice([3, 4, 6, 8], size=len(profile.units))
        chosen = bit_map(profile, [Option.parse(f"{width}/16") for width in widths])
        record = measure(model, profile, chosen, speech)
        measured.append(record.loss)
        predicted.append(record.predicted_loss)
    ratio = np.array(measured) / np.array(predicted)
    assert ratio.min() > 0.5 and ratio.max() < 2
    assert np.corrcoef(np.log(measured), np.log(predicted))[0, 1] > 0.7


def test_folding_norms_twice_changes_nothing(folders: dict[str, Path]) -> None:
    module = AutoModelForCTC.from_pretrained(folders[PARAKEET]).eval()
    fold_norms(module)
    once = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fold_norms(module)
    assert all(torch.equal(once[n], t) for n, t in module.state_dict().items())


def test_the_digest_tells_what_norms_have_seen(folders: dict[str, Path], tmp_path: Path) -> None:
    same = random_ctc(tmp_path / "same", PARAKEET)
    assert load_model(str(same)).digest == load_model(str(folders[PARAKEET])).digest
    stored = load_file(same / "model.safetensors")
    name = next(n for n in stored if n.endswith("running_mean"))
    module = AutoModelForCTC.from_pretrained(same)
    module.state_dict()[name].add_(0.1)
    module.save_pretrained(same)
    assert load_model(str(same)).digest != load_model(str(folders[PARAKEET])).digest


def test_assembled_from_settings_and_parameters(folder: Path, tmp_path: Path) -> None:
    model = load_model(str(folder))
    model.save_settings(tmp_path)
    parameters = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    again = assembled(tmp_path, "again", parameters)
    assert (again.digest, again.units) == (model.digest, model.units)
    with torch.no_grad():
        texts = [m.transcribe(m.encode([noise(1)])) for m in (model, again)]
    assert texts[0] == texts[1]
    parameters.pop(model.head)
    with pytest.raises(ModelError, match="lacks"):
        assembled(tmp_path, "again", parameters)


def test_a_wrong_pairing_is_named(
    folders: dict[str, Path], tiny_en: SpeechModel, tones: Path, tmp_path: Path
) -> None:
    conformer = load_model(str(folders[PARAKEET]))
    profile: Profile = compute(conformer, load_manifest(tones, 2), tmp_path / "p", SETTINGS).profile
    with pytest.raises(ModelError, match=r"parakeet_ctc model, and whisper-tiny.en is a whisper"):
        quantized_weights(tiny_en, profile, [Option.parse("4/16")] * len(profile.units))
    other = load_model(str(random_ctc(tmp_path / "other", PARAKEET, seed=1)))
    with pytest.raises(ModelError, match="other weights"):
        quantized_weights(other, profile, [Option.parse("4/16")] * len(profile.units))


def test_another_family_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        ModelError, match=r"'bert' model; supported are whisper, parakeet_ctc"
    ) as it:
        load_model(str(tmp_path))
    assert "no speech recognizer" in str(it.value)
    for kind, said in (
        ("sew", "SEWForCTC is a CTC model; the nearest family that is supported is wav2vec2"),
        ("qwen3_asr", "Qwen3ASRForConditionalGeneration is .* supported is whisper"),
        ("nemotron_asr_streaming", "ForRNNT is a transducer; .* is parakeet_rnnt"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        with pytest.raises(ModelError, match=said):
            load_model(str(tmp_path))


def test_damaged_weights_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for path in folders[PARAKEET].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(tmp_path))
