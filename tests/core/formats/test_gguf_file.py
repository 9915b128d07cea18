"""GGUF files: the format's own reader reads them, and transcribe.cpp loads and runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from genptq_core.errors import ExportError
from genptq_core.formats import gguf_whisper
from genptq_core.formats.gguf_file import Packed
from genptq_core.formats.whisper_layout import POSITIONS, WhisperLayout, mel_filters, sinusoids
from tests.core.formats import small_whisper

LAYOUT = WhisperLayout.of(small_whisper.files(), "small")
Q8_0, BLOCK, BYTES = 8, 32, 34


def packed(name: str, array: np.ndarray) -> Packed | np.ndarray:
    """Every second matrix in 8 bits."""
    if not gguf_whisper.is_matrix(name, array.shape) or len(name) % 2:
        return array
    blocks = array.reshape(-1, BLOCK)
    scales = abs(blocks).max(axis=1, keepdims=True).astype(np.float16) / np.float16(127)
    codes = np.rint(blocks / scales.astype(np.float32)).astype(np.int8)
    data = np.concatenate([scales.view(np.uint8), codes.view(np.uint8)], axis=1)
    return Packed(Q8_0, data.reshape(len(array), -1), array.shape)


def mixed() -> Iterator[tuple[str, Packed | np.ndarray]]:
    for name, array in small_whisper.tensors(LAYOUT):
        yield name, packed(name, array)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    gguf_whisper.write(path, LAYOUT, "whisper-small.test", mixed())
    return path


def test_the_formats_own_reader_reads_it(written: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="pip install -r requirements-dev.txt")
    found = gguf.GGUFReader(written)
    keys = gguf_whisper.keys_of(LAYOUT, "whisper-small.test")
    for key, value in keys.items():
        read = found.fields[key].contents()
        assert read == value, key
    assert found.fields["tokenizer.ggml.tokens"].contents()[-1] == "<|unused_18|>"
    tensors = {tensor.name: tensor for tensor in found.tensors}
    assert len(tensors) == len(LAYOUT.shapes) + 2
    for name, array in small_whisper.tensors(LAYOUT):
        tensor = tensors[gguf_whisper.name_of(name)]
        assert tuple(tensor.shape) == array.shape[::-1]
        back = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(array.shape)
        assert abs(back - array).max() < 4e-3
    positions = tensors[gguf_whisper.name_of(POSITIONS)].data
    assert np.array_equal(positions, sinusoids(1500, small_whisper.WIDTH))


def test_its_size_is_known_beforehand(tmp_path: Path, written: Path) -> None:
    """Whatever the types: what aligns the tensors differs, and is made up for."""
    whole = gguf_whisper.overhead(LAYOUT, "whisper-small.test")
    for number, tensors in enumerate((mixed(), small_whisper.tensors(LAYOUT))):
        path = tmp_path / f"{number}.gguf"
        size = gguf_whisper.write(path, LAYOUT, "whisper-small.test", tensors)
        assert path.stat().st_size == size + whole
    assert (tmp_path / "0.gguf").read_bytes() == written.read_bytes()


def test_transcribe_cpp_runs_it(written: Path) -> None:
    runtime = pytest.importorskip("transcribe_cpp", reason="the extra gguf is not installed")
    session = runtime.Model(str(written)).session(n_threads=1)
    session.run(np.zeros(16000, dtype=np.float32))


def test_features_are_whispers() -> None:
    from transformers import WhisperFeatureExtractor

    for bands in (80, 128):
        wanted = WhisperFeatureExtractor(feature_size=bands).mel_filters.T
        assert abs(mel_filters(bands) - wanted).max() < 1e-7


def test_what_is_missing_or_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with pytest.raises(ExportError, match=r"lacks enc\.conv\.0\.weight"):
        gguf_whisper.write(path, LAYOUT, "x", list(small_whisper.tensors(LAYOUT))[1:])
    twice = [*small_whisper.tensors(LAYOUT), next(small_whisper.tensors(LAYOUT))]
    with pytest.raises(ExportError, match="or is twice"):
        gguf_whisper.write(path, LAYOUT, "x", twice)
    with pytest.raises(ExportError, match="no parameter of a Whisper"):
        gguf_whisper.name_of("model.encoder.layers.0.other.weight")
    with pytest.raises(ExportError, match="has shape"):
        gguf_whisper.write(path, LAYOUT, "x", [(POSITIONS, np.zeros((1, 1), np.float32))])


def test_what_the_runtime_cannot_compute_is_refused(tmp_path: Path) -> None:
    other = WhisperLayout.of(small_whisper.files(scale_embedding=True), "small")
    with pytest.raises(ExportError, match="scale_embedding"):
        gguf_whisper.write(tmp_path / "x", other, "x", small_whisper.tensors(other))
    with pytest.raises(ExportError, match="not a Whisper"):
        WhisperLayout.of(small_whisper.files(model_type="parakeet_ctc"), "small")
    with pytest.raises(ExportError, match="d_model"):
        WhisperLayout.of(small_whisper.files(d_model=-1), "small")
