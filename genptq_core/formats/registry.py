"""The module that writes and reads each format."""

from __future__ import annotations

from types import ModuleType

from . import compressed_tensors, mlx, native, onnx_runtime

FORMATS: dict[str, ModuleType] = {
    "native": native,
    "compressed_tensors": compressed_tensors,
    "mlx": mlx,
    "onnx_runtime": onnx_runtime,
}
