"""GGUF exports: what is written weighs what was promised, and transcribe.cpp runs it by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import ConstraintError, ExportError, ModelError
from genptq_core.export.export import export
from genptq_core.formats import gguf, plain_settings
from genptq_core.formats.gguf_whisper import name_of
from genptq_core.formats.reading import load_export
from genptq_core.measurement.measure import transcribe_files
from genptq_core.models import SpeechModel
from genptq_core.models.weights import replaced, unit_weight
from genptq_core.options import UNQUANTIZED, Option, block_option, divides
from genptq_core.profile import Profile
from genptq_core.quantizers import Blocks, Stored
from genptq_core.quantizers.ggml import choose_scales, nearest_codes, type_of
from genptq_core.rounding.compilation import CompileSettings, compile_map
from genptq_core.rounding.rounded import quantized_weights, restored_weights
from genptq_core.speech.utterances import load_audio, load_manifest
from genptq_core.targets import TARGETS
from genptq_core.units import Unit
from tests.conftest import DEMO
from tests.core import synthetic
from tests.core.block_whisper import widened

TYPES = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q6_k")


@pytest.fixture(scope="module")
def model(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return widened(random_whisper, tmp_path_factory.mktemp("models") / "block-whisper")


@pytest.fixture(scope="module")
def profile(model: SpeechModel) -> Profile:
    return synthetic.profile_of(model, bits=(4,), group_size=32, blocks=TYPES)


def mixed(profile: Profile) -> list[Option]:
    """Every type in turn, one for all rows of a parameter, 16 bit where it does not fit."""
    parameters = list(dict.fromkeys(unit.parameter for unit in profile.units))
    options = []
    for unit in profile.units:
        option = block_option(TYPES[parameters.index(unit.parameter) % len(TYPES)])
        if unit.columns % 256 == 0:
            option = block_option("q6_k")
        held = TARGETS["gguf"].holds(unit, option)
        options.append(option if held else UNQUANTIZED)
    return options


def test_it_holds_what_was_rounded_and_weighs_what_was_promised(
    model: SpeechModel, profile: Profile, tmp_path: Path
) -> None:
    reader = pytest.importorskip("gguf", reason="pip install -r requirements-dev.txt")
    chosen = bit_map(profile, mixed(profile))
    result = export(profile, chosen, "gguf", tmp_path / "out", model)
    path = tmp_path / "out" / gguf.NAME
    assert set(result.files) == {gguf.NAME, "bitmap.json", "export.json"}
    assert path.stat().st_size == result.predicted_bytes + gguf.overhead(
        model, plain_settings.saved(model)
    )
    weights = quantized_weights(model, profile, chosen.options)
    tensors = {tensor.name: tensor for tensor in reader.GGUFReader(path).tensors}
    types = set()
    for name, parameter in model.module.named_parameters():
        tensor = tensors[name_of(name)]
        types.add(tensor.tensor_type.name.lower())
        read = reader.quants.dequantize(tensor.data, tensor.tensor_type)
        wanted = weights.get(name, parameter).detach().numpy()
        if name in model.derived:  # computed where the file is written, as where it is read
            np.testing.assert_allclose(read, wanted, atol=1e-4)
            continue
        same = wanted.astype(np.float16) if tensor.tensor_type.name == "F16" else wanted
        np.testing.assert_array_equal(read.reshape(wanted.shape), same.astype(np.float32))
    assert types == {"f16", "f32", *TYPES}


def test_a_compiled_map_is_written_with_its_tuned_norms(
    model: SpeechModel, profile: Profile, tones: Path, tmp_path: Path
) -> None:
    reader = pytest.importorskip("gguf", reason="pip install -r requirements-dev.txt")
    chosen = bit_map(profile, mixed(profile))
    few = CompileSettings(sequential=2, passes=1, batch=1, held_out=2, checks=1)
    compiled = compile_map(model, profile, chosen, load_manifest(tones), few)
    assert compiled.after <= compiled.rounded <= compiled.before
    result = export(profile, chosen, "gguf", tmp_path / "out", model, compiled=compiled)
    assert result.weights_bytes == result.predicted_bytes
    file = reader.GGUFReader(tmp_path / "out" / gguf.NAME)
    read = {tensor.name: tensor.data for tensor in file.tensors}
    for name in compiled.tuned.keys() - model.derived.keys():
        tuned = compiled.tuned[name]
        found = torch.from_numpy(np.array(read[name_of(name)])).view_as(tuned)
        torch.testing.assert_close(found, tuned, rtol=0, atol=0)


def test_a_map_that_mixes_types_within_a_parameter_is_refused(profile: Profile) -> None:
    options = mixed(profile)
    assert profile.units[-1].parameter == profile.units[-2].parameter
    options[-1] = block_option("q8_0") if options[-2].key != "q8_0" else block_option("q4_0")
    with pytest.raises(ConstraintError, match="gguf"):
        export(profile, bit_map(profile, options), "gguf", Path("unused"))


def rounded(model: SpeechModel) -> list[tuple[Unit, Option, Stored]]:
    """The embedded model in 8 bits, some layers in fewer, without compensation of errors."""
    parameters = dict(model.module.named_parameters())
    found: list[tuple[Unit, Option, Stored]] = []
    for index, unit in enumerate(model.units):
        weight = unit_weight(parameters[unit.parameter], unit)
        name = "q8_0" if unit.kind == "embedding" else ("q8_0", "q5_1", "q5_0")[index % 3]
        if unit.kind == "convolution" or not divides(block_option(name), unit.columns):
            found.append((unit, UNQUANTIZED, weight))
            continue
        scales = choose_scales(type_of(name), weight.numpy(), tries=0)
        codes = torch.from_numpy(nearest_codes(weight.numpy(), scales))
        found.append((unit, block_option(name), Blocks(codes, scales)))
    return found


RUN = """
import sys
import numpy as np
import transcribe_cpp
samples = np.load(sys.argv[2])
print(transcribe_cpp.Model(sys.argv[1]).session(n_threads=1).run(samples).text.strip())
assert not any(name.startswith(("genptq", "torch", "transformers")) for name in sys.modules)
"""


def test_transcribe_cpp_alone_says_what_was_measured(tiny_en: SpeechModel, tmp_path: Path) -> None:
    pytest.importorskip("transcribe_cpp", reason="the extra gguf is not installed")
    stored = rounded(tiny_en)
    gguf.write(tmp_path, tiny_en, stored)
    speech = load_manifest(DEMO, limit=1)
    with replaced(tiny_en, restored_weights(tiny_en, stored)):
        expected = transcribe_files(tiny_en, speech)[0]
    np.save(tmp_path / "samples.npy", load_audio(speech.utterances[0]))
    command = [sys.executable, "-c", RUN, str(tmp_path / gguf.NAME), str(tmp_path / "samples.npy")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert run.stdout.strip() == expected
    loaded = gguf.load(tmp_path, "export")
    assert transcribe_files(loaded, speech) == [expected]
    with pytest.raises(ModelError, match="can only transcribe"):
        loaded.head_inputs([], [])


def test_a_damaged_file_is_refused(model: SpeechModel, profile: Profile, tmp_path: Path) -> None:
    pytest.importorskip("transcribe_cpp", reason="the extra gguf is not installed")
    chosen = bit_map(profile, mixed(profile))
    export(profile, chosen, "gguf", tmp_path / "out", model)
    path = tmp_path / "out" / gguf.NAME
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ExportError, match="damaged or altered"):
        load_export(tmp_path / "out")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ExportError, match="cannot be loaded"):
        gguf.load(tmp_path / "out", "export")
