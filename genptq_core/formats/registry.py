"""The module that writes and reads each format."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from ..errors import ExportError
from ..models import SpeechModel
from ..targets import TARGETS
from . import compressed_tensors, native, onnx_runtime

FORMATS: dict[str, ModuleType] = {
    "native": native,
    "compressed_tensors": compressed_tensors,
    "onnx_runtime": onnx_runtime,
}

OVERHEADS: dict[str, Callable[[SpeechModel], int]] = {
    "compressed_tensors": compressed_tensors.overhead,
    "onnx_runtime": onnx_runtime.overhead,
}
"""Bytes of all files that a runtime reads besides the tensors, by format, whatever the map."""


def overheads(model: SpeechModel) -> dict[str, int]:
    """Bytes that a folder takes besides its tensors, by the name of each target for a model.

    Formats whose package is not installed are left out.
    """
    by_format: dict[str, int] = {}
    for target in TARGETS.values():
        fits = not target.families or model.family in target.families
        if fits and target.format in OVERHEADS and target.format not in by_format:
            try:
                by_format[target.format] = OVERHEADS[target.format](model)
            except ExportError:  # its package is not installed
                continue
    return {
        name: by_format[target.format]
        for name, target in TARGETS.items()
        if target.format in by_format and (not target.families or model.family in target.families)
    }
