"""transcribe.cpp's quantizer presets, applied to a float16 GGUF.

Its wheel carries no quantizer; the tool in its repository reads a GGUF, gives each tensor the type
of a table, and calls `ggml_quantize_chunk`, which the wheel does carry. For the presets of one type
(Q8_0, Q5_0, Q4_0 …) that table is: linear layers and the tied embedding in that type; convolutions,
norms, biases, positions and the front end's filters in float32. All metadata is copied.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

FILE_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7}
"""Presets of one type, with the number that `general.file_type` has for each."""

_FLOAT32 = (".bias", "pos_emb.weight", "frontend.mel_filterbank", "frontend.window")
_EMBEDDING = "dec.token_embd.weight"


def keeps_float32(name: str) -> bool:
    """Whether a tensor of a Whisper is in float32 in every preset."""
    if name == _EMBEDDING:
        return False
    layer = name.removesuffix(".weight").rpartition(".")[2]
    is_norm = layer.startswith("norm_") or layer.endswith("_norm")
    return is_norm or ".conv." in name or name.endswith(_FLOAT32)


def quantize(source: Path, out: Path, preset: str) -> None:
    """Write a preset of a float16 GGUF."""
    import gguf

    kind = gguf.GGMLQuantizationType[preset]
    reader = gguf.GGUFReader(source)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(out, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == gguf.Keys.General.ARCHITECTURE:
            continue
        value = FILE_TYPES[preset] if name == gguf.Keys.General.FILE_TYPE else field.contents()
        is_array = field.types[0] == gguf.GGUFValueType.ARRAY
        inner = field.types[-1] if is_array else None
        writer.add_key_value(name, value, field.types[0], sub_type=inner)
    chunk = _quantizer()
    for tensor in reader.tensors:
        weight = np.ascontiguousarray(tensor.data, dtype=np.float32)
        if keeps_float32(tensor.name):
            writer.add_tensor(tensor.name, weight)
        else:
            writer.add_tensor(tensor.name, _rounded(chunk, kind, weight), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _rounded(chunk: Any, kind: Any, weight: np.ndarray) -> np.ndarray:
    """Blocks of a weight (rows, columns): uint8, (rows, row bytes)."""
    import gguf

    rows, columns = weight.shape
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    packed = np.zeros((rows, columns // weights * size), dtype=np.uint8)
    written = chunk(
        int(kind),
        weight.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
        packed.ctypes.data_as(ctypes.c_void_p),
        0,
        rows,
        columns,
        None,
    )
    if written != packed.nbytes:
        raise ValueError(f"ggml wrote {written} bytes, not {packed.nbytes}")
    return packed


def _quantizer() -> Any:
    import transcribe_cpp_native

    folder = Path(transcribe_cpp_native.__file__).parent / "_native"
    chunk = ctypes.CDLL(str(folder / "libggml-base.so")).ggml_quantize_chunk
    chunk.restype = ctypes.c_size_t
    long, floats = ctypes.c_int64, ctypes.POINTER(ctypes.c_float)
    chunk.argtypes = [ctypes.c_int, floats, ctypes.c_void_p, long, long, long, ctypes.c_void_p]
    return chunk
