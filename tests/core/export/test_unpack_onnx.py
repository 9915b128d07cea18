"""What ONNX graphs need, from the files of a native export alone: settings, and 8-bit codes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.errors import ExportError
from genptq_core.export.unpack_onnx import nearest
from genptq_core.formats.onnx_weights import Width
from genptq_core.formats.plain_settings import saved
from genptq_core.formats.whisper_layout import WhisperLayout
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.models.whisper_settings import settings_of


def asked_of(model: SpeechModel) -> object:
    """How a model's files say that it decodes."""
    layout = WhisperLayout.of(saved(model), model.name)
    config, generation = SimpleNamespace(**layout.config), SimpleNamespace(**layout.generation)
    return settings_of(model.name, config, generation, layout.tokens)


def test_files_tell_how_a_model_decodes(tiny_en: SpeechModel, random_whisper: Path) -> None:
    for model in (tiny_en, load_model(str(random_whisper))):
        assert asked_of(model) == vars(model)["settings"]


@given(
    bits=st.sampled_from((2, 4, 8)), seed=st.integers(0, 99), scale=st.sampled_from((0.01, 1, 9))
)
def test_codes_are_the_nearest(bits: int, seed: int, scale: float) -> None:
    rows = np.random.default_rng(seed).normal(0, scale, (5, 32)).astype(np.float32)
    rows[0, :16], rows[1, :16] = 0, np.abs(rows[1, :16])
    found = nearest(rows, Width(bits, 16))
    codes = found.codes.reshape(5, 2, 16).astype(np.float32)
    steps = found.scales.astype(np.float32)[..., None]
    read = steps * (codes - found.zeros[..., None].astype(np.float32))
    # Rounding the step and the zero point costs at most as much again at the ends of the range.
    assert (np.abs(read.reshape(5, 32) - rows) <= 1.1 * np.repeat(steps[..., 0], 16, axis=1)).all()
    inner = (codes > 0) & (codes < 2**bits - 1)
    assert (np.abs(read - rows.reshape(read.shape)) <= 0.501 * steps)[inner].all()
    assert (read[0, 0] == 0).all()


def test_scales_beyond_16_bit_are_refused() -> None:
    with pytest.raises(ExportError, match="16 bit cannot hold"):
        nearest(np.full((1, 16), 1e8, np.float32), Width(2, 16))
