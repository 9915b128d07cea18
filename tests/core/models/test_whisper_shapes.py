"""Whispers of every shape go through profile, solve, measure, every target, and back."""

from __future__ import annotations

from pathlib import Path

import jiwer
import pytest

from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import ExportError
from genptq_core.export.export import export
from genptq_core.export.unpack import unpack
from genptq_core.loading import load_model
from genptq_core.measurement.measure import measure, transcribe_files
from genptq_core.models.weights import replaced
from genptq_core.options import block_options, coded_options, grid_options
from genptq_core.profile import Settings
from genptq_core.profiling.compute import compute
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.rounding.rounded_units import RoundedUnits
from genptq_core.speech.utterances import load_manifest
from genptq_core.targets import NATIVE, usable_targets
from tests.core.whisper_shapes import SHAPES, shaped_whisper

SETTINGS = Settings(
    grid_options((8,), (32,)) + coded_options((5,)) + block_options(("q8_0",)), draws=1, rank=8
)
SIZES = {"large-v3": 51866, "multilingual, resized": 51872}
ELSEWHERE = ("gguf", "onnx", "mlx")


@pytest.mark.parametrize("shape", SHAPES)
def test_from_profile_to_every_target_and_back(shape: str, tones: Path, tmp_path: Path) -> None:
    model = load_model(str(shaped_whisper(tmp_path / "model", shape)))
    speech = load_manifest(tones, 2)
    assert len(model.module.get_parameter(model.head)) == SIZES.get(shape, 768 + 107 + 1501)
    assert ("en transcribe" in model.decoding) == ("languages" in SHAPES[shape])
    profile = compute(model, speech, tmp_path / "p", SETTINGS).profile
    stored = {n: p.detach().half().float() for n, p in model.module.named_parameters()}
    targets = [
        name
        for name in usable_targets(profile.menu, "whisper")
        if name in profile.source.overhead or name in ("native", "integer")
    ]
    if shape == "untied":
        assert not set(targets) & set(ELSEWHERE)
    else:
        assert set(targets) > set(ELSEWHERE)
    kept = RoundedUnits()
    for target in targets:
        task = problem(profile, target=target)
        chosen = solve(task, int(1.1 * task.smallest))
        picked = bit_map(profile, chosen.options)
        weights = stored | quantized_weights(model, profile, picked.options, kept=kept)
        with replaced(model, weights):
            expected = transcribe_files(model, speech)
        found = export(profile, picked, target, tmp_path / target, model)
        assert found.bytes == chosen.bytes
        heard = transcribe_files(load_model(str(found.folder)), speech)
        if target == "gguf":  # it decodes by rules of its own, which random weights set off
            assert all(heard)
        else:  # words of random weights nearly tie, and other runtimes sum in another order
            assert jiwer.cer(expected, heard) < (0.2 if target in ELSEWHERE else 1e-9), target
        if target == NATIVE:
            again = unpack(found.folder, "transformers", tmp_path / "transformers")
            assert transcribe_files(load_model(str(again.folder)), speech) == expected
            if shape == "untied":
                with pytest.raises(ExportError, match="tie_word_embeddings"):
                    unpack(found.folder, "gguf", tmp_path / "unpacked")
            assert measure(model, profile, picked, speech).bytes == chosen.bytes
    assert all(transcribe_files(model, speech))
