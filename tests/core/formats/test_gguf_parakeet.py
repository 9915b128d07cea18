"""Parakeets as GGUF files: transcribe.cpp writes the words that the model writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch

from genptq_core import load_manifest
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import ConstraintError, ExportError
from genptq_core.export.export import export
from genptq_core.export.unpack import unpack
from genptq_core.formats import gguf_parakeet, settings_files
from genptq_core.formats.gguf_file import Packed
from genptq_core.formats.parakeet_layout import ParakeetLayout
from genptq_core.formats.registry import overheads
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.models.weights import replaced
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.speech.utterances import load_audio
from genptq_core.targets import TARGETS
from genptq_core.targets.ways import way_of
from tests.conftest import DEMO
from tests.core import synthetic
from tests.core.tiny_models import (
    PARAKEET,
    RNNT,
    TDT,
    TRANSDUCERS,
    random_ctc,
    random_model,
    random_transducer,
)

SHAPE = {"subsampling_factor": 8, "subsampling_conv_channels": 32, "hidden_size": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_ctc(tmp_path_factory.mktemp("parakeet"), PARAKEET, seed=1, **SHAPE)


@pytest.fixture(scope="module")
def model(folder: Path) -> SpeechModel:
    """Its weights are as float16 holds them, and so large that its text varies."""
    loaded = load_model(str(folder))
    with torch.no_grad():
        for parameter in loaded.module.parameters():
            parameter.copy_((parameter * (3 if parameter.dim() > 1 else 1)).half().float())
    return loaded


def layout(folder: Path) -> ParakeetLayout:
    return ParakeetLayout.of(settings_files.loose(folder), "small")


def tensors(model: SpeechModel) -> Iterator[tuple[str, np.ndarray]]:
    for name, parameter in model.module.named_parameters():
        yield name, parameter.detach().numpy()


def test_shapes_are_the_models(folder: Path, model: SpeechModel) -> None:
    said = {name: tuple(p.shape) for name, p in model.module.named_parameters()}
    assert layout(folder).shapes == said


def test_transcribe_cpp_writes_the_same_words(
    folder: Path, model: SpeechModel, tmp_path: Path
) -> None:
    runtime = pytest.importorskip("transcribe_cpp", reason="the extra gguf is not installed")
    path = tmp_path / "model.gguf"
    file = gguf_parakeet.model_of(layout(folder), "parakeet-small")
    size = file.write(path, tensors(model))
    assert path.stat().st_size == size + file.overhead
    session = runtime.Model(str(path)).session(n_threads=1)
    audio = [load_audio(one) for one in load_manifest(DEMO).utterances[:3]]
    wanted = [transcript.text for transcript in model.transcribe(model.encode(audio))]
    assert len(set(wanted)) == 3
    # Labels of random weights nearly tie here and there, so that machines may differ in one.
    assert jiwer.cer(wanted, [session.run(samples).text for samples in audio]) < 0.1


@pytest.mark.parametrize("width", ["q8_0", "q5_1", "f16"])
def test_a_native_export_is_unpacked_and_heard(
    width: str, model: SpeechModel, tmp_path: Path
) -> None:
    """Its words are those of the export, and its weights take what the page says."""
    runtime = pytest.importorskip("transcribe_cpp", reason="the extra gguf is not installed")
    made = synthetic.profile_of(model, bits=(8,), group_size=16)
    source = dataclasses.replace(made.source, overhead=overheads(model))
    profile = dataclasses.replace(made, source=source)
    chosen = bit_map(profile, ["8/16"] * len(profile.units))
    native = export(profile, chosen, "integer", tmp_path / "native", model)
    done = unpack(native.folder, "gguf", tmp_path / "out", width)
    path = done.folder / "model.gguf"
    if width != "f16":
        way = way_of(profile, "integer", f"transcribe.cpp:{width}")
        with pytest.raises(ConstraintError, match="does not run"):  # where it is not known to run
            way_of(made, "integer", f"transcribe.cpp:{width}")
        said = ParakeetLayout.of(settings_files.read(native.folder), "small")
        whole = gguf_parakeet.model_of(said, native.folder.name).overhead
        assert path.stat().st_size - whole == way.memory(profile, chosen.options)
    loaded = load_model(str(native.folder))
    audio = [load_audio(one) for one in load_manifest(DEMO).utterances[:2]]
    wanted = [transcript.text for transcript in loaded.transcribe(loaded.encode(audio))]
    session = runtime.Model(str(path)).session(n_threads=1)
    assert jiwer.cer(wanted, [session.run(samples).text for samples in audio]) < 0.2


def test_only_linear_modules_are_packed(folder: Path, model: SpeechModel, tmp_path: Path) -> None:
    file = gguf_parakeet.model_of(layout(folder), "x")
    name = "encoder.layers.0.conv.pointwise_conv1.weight"
    data = Packed(8, np.zeros((128, 68), np.uint8), (128, 64, 1))
    with pytest.raises(ExportError, match="cannot be packed"):
        file.write(tmp_path / "x", [(name, data)])
    assert gguf_parakeet.is_matrix("encoder.layers.0.self_attn.q_proj.weight", (64, 64))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"subsampling_factor": 4}, "subsampling_factor 4"), ({"hidden_act": "relu"}, "hidden_act")],
)
def test_what_the_runtime_does_not_compute_is_refused(
    settings: dict[str, object], said: str, tmp_path: Path
) -> None:
    other = random_ctc(tmp_path, PARAKEET, **{**SHAPE, **settings})
    with pytest.raises(ExportError, match=said):
        gguf_parakeet.model_of(layout(other), "x")


def test_what_is_no_parakeet_is_refused() -> None:
    with pytest.raises(ExportError, match="not a Parakeet"):
        ParakeetLayout.of({"config.json": b'{"model_type": "whisper"}'}, "x")
    with pytest.raises(ExportError, match="no parameter of a Parakeet"):
        gguf_parakeet.name_of("encoder.layers.0.other.weight")


def test_a_map_is_exported_and_heard(model: SpeechModel, tmp_path: Path) -> None:
    """To the byte as promised, and with the words of the rounded weights."""
    pytest.importorskip("transcribe_cpp", reason="the extra gguf is not installed")
    made = synthetic.profile_of(model, bits=(8,), blocks=("q5_1", "q8_0"))
    source = dataclasses.replace(made.source, overhead=overheads(model))
    profile = dataclasses.replace(made, source=source)
    held = TARGETS["gguf"].holds
    kinds = [Option.parse("q8_0"), Option.parse("q5_1")]
    options = [
        kinds[index % 2] if held(unit, kinds[0]) else UNQUANTIZED
        for index, unit in enumerate(profile.units)
    ]
    assert set(options) == {*kinds, UNQUANTIZED}
    written = export(profile, bit_map(profile, options), "gguf", tmp_path / "out", model)
    assert written.bytes == written.predicted_bytes
    files = {path.name: path.stat().st_size for path in written.folder.iterdir()}
    assert files["model.gguf"] == written.bytes
    loaded = load_model(str(written.folder))
    assert loaded.family == PARAKEET
    audio = [load_audio(one) for one in load_manifest(DEMO).utterances[:2]]
    with replaced(model, quantized_weights(model, profile, options)):
        wanted = [transcript.text for transcript in model.transcribe(model.encode(audio))]
    heard = [transcript.text for transcript in loaded.transcribe(loaded.encode(audio))]
    assert jiwer.cer(wanted, heard) < 0.2


@pytest.mark.parametrize("family", TRANSDUCERS)
def test_a_transducer_walks_as_it_does_here(family: str, tmp_path: Path) -> None:
    """Token for token, at full precision; and unpacked from a native export, in 8 bits."""
    runtime = pytest.importorskip("transcribe_cpp", reason="the extra gguf is not installed")
    model = load_model(str(random_model(tmp_path / "model", family)))
    path = tmp_path / "model.gguf"
    file = gguf_parakeet.model_of(layout(tmp_path / "model"), "small")
    said = {name: tuple(p.shape) for name, p in model.module.named_parameters()}
    assert layout(tmp_path / "model").shapes == said
    size = file.write(path, tensors(model))
    assert path.stat().st_size == size + file.overhead
    session = runtime.Model(str(path)).session(n_threads=1)
    audio = [load_audio(one) for one in load_manifest(DEMO).utterances[:2]]
    wanted = [transcript.text for transcript in model.transcribe(model.encode(audio))]
    assert len(set(wanted)) == 2
    # It writes one blank where several follow each other.
    assert [session.run(x).text.split() for x in audio] == [text.split() for text in wanted]
    profile = synthetic.profile_of(model, bits=(8,), group_size=16)
    chosen = bit_map(profile, ["8/16"] * len(profile.units))
    native = export(profile, chosen, "integer", tmp_path / "native", model)
    done = unpack(native.folder, "gguf", tmp_path / "out", "q8_0")
    session = runtime.Model(str(done.folder / "model.gguf")).session(n_threads=1)
    loaded = load_model(str(native.folder))
    wanted = [transcript.text for transcript in loaded.transcribe(loaded.encode(audio))]
    assert jiwer.cer(wanted, [session.run(samples).text for samples in audio]) < 0.2


def test_what_starts_or_walks_otherwise_is_refused(tmp_path: Path) -> None:
    other = random_transducer(tmp_path / "rnnt", RNNT, num_hidden_layers=1)
    config = other / "config.json"
    config.write_text(
        config.read_text().replace('"max_symbols_per_step": 10', '"max_symbols_per_step": 5')
    )
    with pytest.raises(ExportError, match="up to 5 tokens a frame"):
        gguf_parakeet.model_of(layout(other), "x")
    model = load_model(str(random_transducer(tmp_path / "tdt", TDT, num_hidden_layers=1)))
    assert "gguf" in overheads(model)
    with torch.no_grad():
        model.module.get_parameter("decoder.embedding.weight")[-1] = 1
    assert "gguf" not in overheads(model)
