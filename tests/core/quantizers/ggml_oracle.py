"""ggml's own quantizer and dequantizers, from the library that transcribe.cpp ships."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from genptq_core.quantizers.ggml import BlockType, row_bytes


def library() -> ctypes.CDLL:
    """The library; the test that calls this is skipped where it is absent."""
    native = pytest.importorskip("transcribe_cpp_native", reason="needs the extra gguf")
    found = sorted((Path(native.__file__).parent / "_native").glob("*ggml-base*"))
    if not found:
        pytest.skip("the package has no ggml-base library on this system")
    loaded = ctypes.CDLL(str(found[0]))
    loaded.ggml_quantize_chunk.restype = ctypes.c_size_t
    return loaded


def quantized(kind: BlockType, weight: np.ndarray) -> np.ndarray:
    """What ggml's quantizer makes of a weight: shape (rows, row bytes), uint8."""
    source = np.ascontiguousarray(weight, dtype=np.float32)
    rows, columns = source.shape
    out = np.zeros((rows, row_bytes(kind, columns)), dtype=np.uint8)
    written = library().ggml_quantize_chunk(
        ctypes.c_int(kind.number),
        source.ctypes.data_as(ctypes.c_void_p),
        out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(0),
        ctypes.c_int64(rows),
        ctypes.c_int64(columns),
        None,
    )
    assert written == out.size
    return out


def dequantized(kind: BlockType, data: np.ndarray, columns: int) -> np.ndarray:
    """What ggml reads from blocks: shape (rows, columns), float32."""
    source = np.ascontiguousarray(data)
    out = np.zeros((len(data), columns), dtype=np.float32)
    letters = kind.name.upper() if kind.name.endswith("k") else kind.name
    read = getattr(library(), f"dequantize_row_{letters.replace('Q', 'q')}")
    read(
        source.ctypes.data_as(ctypes.c_void_p),
        out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(out.size),
    )
    return out
