"""The native format: entropy-coded weights or dense integer codes, in one safetensors file.

`formats.native_file` says what is in it. A header is filled up to the longest that the model can
have, and settings are in one archive, so that a folder's bytes are known before a map is chosen.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import GenPTQError
from ..models import SpeechModel
from ..models.hub import assembled
from ..options import Option
from ..quantizers import Stored
from ..quantizers.tensors import as_tensors, half
from ..units import Unit
from . import safetensors_file, settings_files
from .native_file import NAME, parameters
from .plain_settings import Files, saved
from .safetensors_file import Entry

FILES = (NAME,)
"""What is read besides settings."""

_LONGEST_KEY = "8/999999"  # of an option
_MOST_BYTES_PER_WEIGHT = 4  # with a scale and a zero point for each


def write(folder: Path, model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]) -> int:
    """Write a model's weights as they are stored, and all else that loading needs.

    Returns:
        Bytes of all tensors.

    Raises:
        ExportError: a weight cannot be written.
    """
    tensors: dict[str, np.ndarray] = {}
    covered, units = set(model.derived), {}
    for unit, option, weight in stored:
        covered.add(unit.parameter)
        units[unit.name] = [unit.parameter, unit.start, unit.stop, option.key]
        parts = as_tensors(unit.name, option, weight)
        tensors |= {f"{unit.name}:{part}": tensor.numpy() for part, tensor in parts.items()}
    for name, parameter in model.module.named_parameters():
        if name not in covered:
            tensors[name] = half(parameter, name).numpy()
    entries = {name: Entry(array.dtype.name, array.shape) for name, array in tensors.items()}
    (folder / settings_files.NAME).write_bytes(settings_files.packed(saved(model)))
    return safetensors_file.write(
        folder / NAME,
        entries,
        tensors.items(),
        _metadata(model, units),
        header_bytes=_longest_header(model),
    )


def overhead(model: SpeechModel, settings: Files) -> int:
    """Bytes of a folder beyond those of its tensors, whatever the map: header and settings.

    The notes in `export.json` and `bitmap.json`, which loading does not need, are not counted.
    """
    return 8 + _longest_header(model) + len(settings_files.packed(settings))


def load(folder: Path, name: str) -> SpeechModel:
    """Load an exported model, every weight unpacked to float32.

    Args:
        folder: what `write` wrote to, with the model's settings.
        name: the name to give the model.

    Raises:
        ExportError: a file is missing or damaged.
    """
    weights = read(folder / NAME)
    if not (folder / settings_files.NAME).exists():  # of an earlier version
        return assembled(folder, name, weights)
    with tempfile.TemporaryDirectory(prefix="genptq-") as temporary:
        for file, content in settings_files.read(folder).items():
            (Path(temporary) / file).write_bytes(content)
        try:
            return assembled(Path(temporary), name, weights)
        except GenPTQError as error:
            archive = str(folder / settings_files.NAME)
            raise type(error)(error.message.replace(temporary, archive), error.hint) from error


def read(path: Path) -> dict[str, Tensor]:
    """Every stored parameter by name, unpacked to float32.

    Raises:
        ExportError: the file is missing or damaged.
    """
    return {one.name: torch.from_numpy(one.array()) for one in parameters(path)}


def _metadata(model: SpeechModel, units: Mapping[str, list[Any]]) -> dict[str, str]:
    named = model.module.named_parameters()
    shapes = {name: list(parameter.shape) for name, parameter in named}
    return {"layout": json.dumps({"parameters": shapes, "units": units})}


def _longest_header(model: SpeechModel) -> int:
    """Length of the longest header that a map of the model can have."""
    sizes = {name: math.prod(p.shape) for name, p in model.module.named_parameters()}
    most = 10 ** len(str(_MOST_BYTES_PER_WEIGHT * sum(sizes.values()))) - 1
    covered = {unit.parameter for unit in model.units}
    entries = {name: Entry("uint8", (most, 1)) for name in sizes if name not in covered}
    for unit in model.units:
        for part in ("codes", "scales", "zeros"):
            entries[f"{unit.name}:{part}"] = Entry("uint8", (most, 1))
    units = {u.name: [u.parameter, u.start, u.stop, _LONGEST_KEY] for u in model.units}
    metadata = _metadata(model, units)
    return len(safetensors_file.header(entries, metadata, first=most))
