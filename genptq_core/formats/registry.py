"""The module that writes and reads each format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType

from ..errors import ExportError
from ..models import SpeechModel
from ..targets import TARGETS
from .plain_settings import saved


class _Modules(Mapping[str, ModuleType]):
    """Modules of this package by name, each imported when it is asked for: they take a moment."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getitem__(self, name: str) -> ModuleType:
        if name not in self._names:
            raise KeyError(name)
        return import_module(f".{name}", __package__)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


FORMATS = _Modules("native", "compressed_tensors", "gguf", "mlx", "onnx_runtime")


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
