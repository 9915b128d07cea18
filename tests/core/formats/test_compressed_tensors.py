"""compressed-tensors exports: `transformers` loads them in a process without our code."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import ConstraintError
from genptq_core.export.export import export
from genptq_core.formats.plain_settings import folder_bytes
from genptq_core.formats.registry import overheads
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.options import UNQUANTIZED
from genptq_core.profile import Profile
from genptq_core.quantizers.packing import pack_words
from genptq_core.rounding.rounded import quantized_weights
from tests.core import synthetic

TARGET = "compressed-tensors"

# What a user types; compressed-tensors unpacks in the first forward pass.
LOADING = """
import sys, torch
from safetensors.torch import save_file
from transformers import WhisperForConditionalGeneration
model = WhisperForConditionalGeneration.from_pretrained(sys.argv[1])
with torch.no_grad():
    features = torch.sin(torch.arange(80 * 3000.0)).view(1, 80, 3000)
    logits = model(features, decoder_input_ids=torch.tensor([[7, 9]])).logits
assert not any(name.startswith("genptq") for name in sys.modules)
save_file({"logits": logits}, sys.argv[2])
"""


@pytest.fixture(scope="module")
def model(random_whisper: Path) -> SpeechModel:
    return load_model(str(random_whisper))


@pytest.fixture(scope="module")
def profile(model: SpeechModel) -> Profile:
    made = synthetic.profile_of(model, bits=range(1, 9), group_size=(8, 4))
    source = dataclasses.replace(made.source, overhead=overheads(model))
    return dataclasses.replace(made, source=source)


def test_every_width_loads_in_a_fresh_process(
    profile: Profile, model: SpeechModel, tmp_path: Path
) -> None:
    task = problem(profile, target=TARGET)
    keys = [
        f"{i % 8 + 1}/{8 - i % 2 * 4}" if task.allowed[i, 0] else "16"
        for i, _ in enumerate(profile.units)
    ]
    chosen = bit_map(profile, keys)
    assert {option.bits for option in chosen.options} == {*range(1, 9), 16}
    exported = export(profile, chosen, TARGET, tmp_path / "out", model)
    assert exported.bytes == exported.predicted_bytes == folder_bytes(exported.folder)
    stored = load_file(exported.folder / "model.safetensors")
    assert sum(tensor.nbytes for tensor in stored.values()) == exported.weights_bytes

    path = tmp_path / "heard.safetensors"
    process = subprocess.run(
        [sys.executable, "-c", LOADING, str(exported.folder), str(path)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    # Neither missing nor unexpected weights: the loader would report them.
    assert "MISSING" not in process.stderr + process.stdout
    back = load_model(str(exported.folder))
    features = torch.sin(torch.arange(80 * 3000.0)).view(1, 80, 3000)
    tokens = torch.tensor([[7, 9]])
    with torch.no_grad():
        logits = back.module(features, decoder_input_ids=tokens).logits
    torch.testing.assert_close(load_file(path)["logits"], logits)
    expected = quantized_weights(model, profile, chosen.options)
    for name, parameter in back.module.named_parameters():
        kept = model.module.get_parameter(name).half().float()
        if name in model.derived or name not in expected:
            assert torch.equal(parameter, kept), name
        else:
            assert torch.equal(parameter, expected[name]), name


def test_the_solver_draws_only_what_can_be_loaded(profile: Profile) -> None:
    task = problem(profile, target=TARGET)
    widest = 2 * profile.source.parameters + (task.overhead or 0)
    solved = solve(task, (task.smallest + widest) // 2)
    by_unit = dict(zip(profile.units, solved.options, strict=True))
    assert {o.form for o in solved.options} == {"grid", "half"}
    for unit, option in by_unit.items():
        if unit.part == "embedding" or unit.kind == "convolution":
            assert option == UNQUANTIZED


def test_what_stays_at_16_bit_says_so(profile: Profile, model: SpeechModel, tmp_path: Path) -> None:
    chosen = bit_map(profile, ["4/8"] * len(profile.units))
    with pytest.raises(ConstraintError, match=r"cannot hold model\.encoder\.conv1\.weight at 4"):
        export(profile, chosen, TARGET, tmp_path / "out", model)
    assert not list(tmp_path.iterdir())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 9), st.integers(1, 70), st.integers(0, 1000))
def test_codes_are_packed_as_the_library_packs_them(
    bits: int, rows: int, columns: int, seed: int
) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**bits, (rows, columns), dtype=np.uint8)
    signed = torch.from_numpy(codes.astype(np.int16) - 2 ** (bits - 1)).to(torch.int8)
    np.testing.assert_array_equal(pack_words(codes, bits), pack_to_int32(signed, bits).numpy())
