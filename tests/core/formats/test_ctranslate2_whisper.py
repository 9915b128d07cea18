"""Files for CTranslate2: those of the embedded model to the byte, and in 8 bits as it packs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genptq_core.errors import ExportError
from genptq_core.formats import ctranslate2_whisper
from genptq_core.formats.ctranslate2_whisper import MODEL, packed_rows
from genptq_core.formats.parameters import Held, Parameter
from genptq_core.formats.whisper_layout import POSITIONS, WhisperLayout, sinusoids
from genptq_core.models import bundled
from tests.core.formats import small_whisper

LAYOUT = WhisperLayout.of(small_whisper.files(), "small")


def parameters() -> dict[str, Parameter]:
    found: dict[str, Parameter] = {n: Held(n, a) for n, a in small_whisper.tensors(LAYOUT)}
    return found | {POSITIONS: Held(POSITIONS, sinusoids(*LAYOUT.shapes[POSITIONS]))}


def test_the_embedded_model_to_the_byte(tmp_path: Path) -> None:
    original = (bundled.folder() / MODEL).read_bytes()
    variables = bundled.parse(original, MODEL)
    values = bundled.state_dict(variables, d_model=384)
    rows = variables["decoder/embeddings/weight"].shape[0]
    sizes = {
        "d_model": 384,
        "encoder_layers": 4,
        "decoder_layers": 4,
        "encoder_attention_heads": 6,
        "decoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
        "decoder_ffn_dim": 1536,
        "vocab_size": rows,
    }
    files = small_whisper.files(**sizes)
    layout = WhisperLayout.of(files, MODEL)
    held: dict[str, Parameter] = {n: Held(n, t.numpy()) for n, t in values.items()}
    ctranslate2_whisper.write(tmp_path, layout, held, files, packed=False)
    assert (tmp_path / MODEL).read_bytes() == original


def test_eight_bits_as_the_runtime_packs(tmp_path: Path) -> None:
    files = small_whisper.files()
    ctranslate2_whisper.write(tmp_path, LAYOUT, parameters(), files)
    found = bundled.parse((tmp_path / MODEL).read_bytes(), MODEL)
    values = dict(small_whisper.tensors(LAYOUT))
    name = "encoder/layer_0/self_attention/linear_0"
    whole = np.concatenate(
        [values[f"model.encoder.layers.0.self_attn.{p}_proj.weight"] for p in ("q", "k", "v")]
    )
    scale = 127 / abs(whole).max(axis=1)
    assert np.allclose(found[f"{name}/weight_scale"], scale, rtol=1e-6)
    assert abs(found[f"{name}/weight"] - np.rint(whole * scale[:, None])).max() <= 1
    assert not found[f"{name}/bias"][64:128].any()
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["lang_ids"] == [11, 12]
    assert config["suppress_ids"] == [0, 1]
    assert config["alignment_heads"] == [[1, 0], [1, 1]]
    vocabulary = json.loads((tmp_path / "vocabulary.json").read_text())
    assert vocabulary[-2:] == ["<|notimestamps|>", "<|0.00|>"]


def test_a_row_of_zeros_stays_one() -> None:
    codes, scale = packed_rows(np.array([[0, 0], [-2, 1]], dtype=np.float32))
    assert codes.tolist() == [[0, 0], [-127, 64]]
    assert scale.tolist() == [1.0, 63.5]


def test_the_runtime_loads_it(tmp_path: Path) -> None:
    runtime = pytest.importorskip("ctranslate2", reason="the extra ctranslate2 is not installed")
    ctranslate2_whisper.write(tmp_path, LAYOUT, parameters(), small_whisper.files())
    model = runtime.models.Whisper(str(tmp_path), device="cpu", intra_threads=1)
    features = runtime.StorageView.from_array(np.zeros((1, 80, 3000), dtype=np.float32))
    assert model.encode(features).shape == [1, 1500, small_whisper.WIDTH]


def test_what_the_runtime_reads_must_be_there(tmp_path: Path) -> None:
    files = small_whisper.files()
    del files["tokenizer.json"]
    with pytest.raises(ExportError, match=r"no tokenizer\.json"):
        ctranslate2_whisper.write(tmp_path, LAYOUT, parameters(), files)
    values = parameters()
    values["model.encoder.layer_norm.bias"] = Held("bias", np.full(64, np.nan, np.float32))
    with pytest.raises(ExportError, match="no number"):
        ctranslate2_whisper.write(tmp_path, LAYOUT, values, small_whisper.files())
