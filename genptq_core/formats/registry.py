"""The module that writes and reads each format."""

from __future__ import annotations

from types import ModuleType

from ..errors import ExportError
from ..models import SpeechModel
from ..targets import TARGETS
from . import compressed_tensors, gguf, mlx, native, onnx_runtime
from .plain_settings import saved

FORMATS: dict[str, ModuleType] = {
    "native": native,
    "compressed_tensors": compressed_tensors,
    "gguf": gguf,
    "mlx": mlx,
    "onnx_runtime": onnx_runtime,
}


def overheads(model: SpeechModel) -> dict[str, int]:
    """Bytes that a folder takes besides its tensors, by the name of each target for a model.

    Formats whose package is not installed, or that cannot hold the model, are left out.
    """
    settings = saved(model)
    by_format: dict[str, int | None] = {}
    found: dict[str, int] = {}
    for name, target in TARGETS.items():
        if target.families and model.family not in target.families:
            continue
        if target.format not in by_format:
            try:
                by_format[target.format] = FORMATS[target.format].overhead(model, settings)
            except ExportError:
                by_format[target.format] = None
        size = by_format[target.format]
        if size is not None:
            found[name] = size
    return found
