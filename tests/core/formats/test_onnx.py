"""ONNX exports: they run in ONNX Runtime, and give the measured map's transcripts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch

from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.errors import ConstraintError, ModelError
from genptq_core.export.export import ExportResult, export
from genptq_core.formats.onnx_runtime import OnnxWhisper
from genptq_core.formats.plain_settings import folder_bytes
from genptq_core.formats.registry import overheads
from genptq_core.loading import load_model
from genptq_core.measurement.measure import transcribe_files
from genptq_core.models import SpeechModel
from genptq_core.models.asking import asked_of, with_language
from genptq_core.models.weights import replaced
from genptq_core.profile import Profile
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.speech.utterances import RATE, load_audio, load_manifest, speech_set, utterance
from genptq_core.targets import TARGETS
from tests.core import synthetic


@pytest.fixture(scope="module")
def model(random_whisper: Path) -> SpeechModel:
    return load_model(str(random_whisper))


@pytest.fixture(scope="module")
def profile(model: SpeechModel) -> Profile:
    made = synthetic.profile_of(model, bits=(2, 3, 4, 8), group_size=16)
    source = dataclasses.replace(made.source, overhead=overheads(model))
    return dataclasses.replace(made, source=source)


@pytest.fixture(scope="module")
def chosen(profile: Profile) -> BitMap:
    """Every width that the target holds, also in blocks of the embedding."""
    target = TARGETS["onnx"]
    wanted = [bit_map(profile, [w] * len(profile.units)).options[0] for w in (2, 4, 8, 16)]
    options = [wanted[i % 4] for i in range(len(profile.units))]
    held = [
        o if target.holds(u, o) else wanted[3] for u, o in zip(profile.units, options, strict=True)
    ]
    return bit_map(profile, held)


@pytest.fixture(scope="module")
def exported(
    profile: Profile,
    chosen: BitMap,
    model: SpeechModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> ExportResult:
    return export(profile, chosen, "onnx", tmp_path_factory.mktemp("exports") / "onnx", model)


@pytest.fixture(scope="module")
def weights(profile: Profile, chosen: BitMap, model: SpeechModel) -> dict[str, torch.Tensor]:
    """The weights that the export should have."""
    parameters = {n: p.detach().half().float() for n, p in model.module.named_parameters()}
    rounded = quantized_weights(model, profile, chosen.options)
    parameters |= {n: rounded[n] for n in rounded if n not in model.derived}
    for unit, option in zip(profile.units, chosen.options, strict=True):
        part = parameters[unit.parameter][unit.start : unit.stop]
        if option.form == "half":
            part.copy_(part.half().float())
    return parameters


def test_it_weighs_what_was_promised(exported: ExportResult, profile: Profile) -> None:
    assert exported.bytes == exported.predicted_bytes
    assert exported.bytes == folder_bytes(exported.folder)
    total = 0
    for name in ("encoder.onnx", "decoder.onnx"):
        graph = onnx.load(exported.folder / name)
        onnx.checker.check_model(graph)
        stored = [t for t in graph.graph.initializer if not t.name.startswith("constant.")]
        total += sum(len(t.raw_data) for t in stored)
        bits = {a.i for n in graph.graph.node for a in n.attribute if a.name == "bits"}
        assert bits == {2, 4, 8}
    assert total == exported.weights_bytes


def test_logits_are_those_of_the_measured_map(
    exported: ExportResult, model: SpeechModel, weights: dict[str, torch.Tensor], tones: Path
) -> None:
    audio = [load_audio(u) for u in load_manifest(tones).utterances[:2]]
    loaded: Any = load_model(str(exported.folder))
    assert isinstance(loaded, OnnxWhisper)
    tokens = np.array([[*model.prompt, 7, 500], [*model.prompt, 700, 900]])
    encoded = loaded.encode(audio)
    whole, _ = loaded.step(tokens, encoded)
    with replaced(model, weights), torch.no_grad():
        expected = model.module(
            encoder_outputs=(model.encode(audio).states,), decoder_input_ids=torch.tensor(tokens)
        ).logits
    np.testing.assert_allclose(whole, expected.numpy(), atol=2e-4)
    # Step by step it is the same, and so for one utterance alone.
    first, past = loaded.step(tokens[:, :3], encoded)
    last, _ = loaded.step(tokens[:, 3:], encoded, past)
    np.testing.assert_allclose(np.concatenate([first, last], axis=1), whole, atol=2e-4)
    alone, _ = loaded.step(tokens[1:], encoded[1:])
    np.testing.assert_allclose(alone, whole[1:], atol=2e-4)


def test_it_says_the_same(
    exported: ExportResult, model: SpeechModel, weights: dict[str, torch.Tensor], tones: Path
) -> None:
    """Of a long recording too, which is heard window by window."""
    noise = np.random.default_rng(1).normal(0, 0.1, 31 * RATE)
    soundfile.write(tones.parent / "long.wav", noise, RATE)
    short = load_manifest(tones, limit=3).utterances
    speech = speech_set("mixed", [*short, utterance(tones.parent / "long.wav")])
    with replaced(model, weights):
        expected = transcribe_files(model, speech)
    loaded = load_model(str(exported.folder))
    assert transcribe_files(loaded, speech) == expected
    assert asked_of(with_language(loaded, "en")) == ("en", "")
    with pytest.raises(ModelError, match="knows only English, and de transcribe is asked for"):
        with_language(loaded, "de")


def test_what_it_cannot_do_is_a_sentence(
    exported: ExportResult, profile: Profile, model: SpeechModel, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="can only transcribe"):
        _ = load_model(str(exported.folder)).units
    three = bit_map(profile, [3] * len(profile.units))
    with pytest.raises(ConstraintError, match=r"'onnx' cannot hold .* at 3 bit"):
        export(profile, three, "onnx", tmp_path / "out", model)
    source = dataclasses.replace(profile.source, family="parakeet_ctc")
    parakeet = dataclasses.replace(profile, source=source)
    kept = bit_map(parakeet, [16] * len(profile.units))
    with pytest.raises(ConstraintError, match="cannot hold 'parakeet_ctc' models"):
        export(parakeet, kept, "onnx", tmp_path / "out", model)
    assert not list(tmp_path.iterdir())
