"""The native format: entropy-coded weights or dense integer codes, in one safetensors file.

`weights.safetensors` holds, for a unit named U (a parameter, or `parameter@start:stop` for rows),

    U:coded    uint8    an entropy-coded weight as `quantizers.codec` lays it out, then zeros to
                        the promised size
    U:codes    uint8    integer codes, dense, row by row (`quantizers.packing`)
    U:scales   float16  (rows, groups)
    U:zeros    uint8    zero points, dense, row by row; a weight is scale * (code - zero)
    U:half     float16  (rows, columns), left as it is

and every other stored parameter as float16 under its own name. Its one metadata entry, `layout`,
is JSON: "parameters" gives the shape of every parameter, "units" the parameter, rows and option
of every unit. Parameters that follow from a formula of the architecture are not stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import ExportError
from ..models import SpeechModel
from ..models.folders import whole_reason
from ..models.hub import assembled
from ..options import Option
from ..quantizers import Stored, restored
from ..quantizers.tensors import as_tensors, from_tensors, half
from ..storage.files import require_file
from ..units import Unit

NAME = "weights.safetensors"
FILES = (NAME,)
"""What is read besides settings."""

_REMEDY = "The file is damaged: export again."
_MOST_SIZE = 2**31
_MOST_WEIGHTS_PER_BYTE = 64  # far more than any entropy code reaches


def write(folder: Path, model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]) -> int:
    """Write a model's weights as they are stored, and all else that loading needs.

    Returns:
        Bytes of all tensors.

    Raises:
        ExportError: a weight cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    covered, units = set(model.derived), {}
    for unit, option, weight in stored:
        covered.add(unit.parameter)
        units[unit.name] = [unit.parameter, unit.start, unit.stop, option.key]
        parts = as_tensors(unit.name, option, weight)
        tensors |= {f"{unit.name}:{part}": tensor for part, tensor in parts.items()}
    parameters = dict(model.module.named_parameters())
    for name, parameter in parameters.items():
        if name not in covered:
            tensors[name] = half(parameter, name)
    layout = {
        "parameters": {name: list(parameter.shape) for name, parameter in parameters.items()},
        "units": units,
    }
    # One metadata entry only: the library writes several in random order. Straight to the file,
    # so that the bytes of a large model are not in memory twice.
    save_file(tensors, folder / NAME, metadata={"layout": json.dumps(layout)})
    model.save_settings(folder)
    return sum(tensor.nbytes for tensor in tensors.values())


def load(folder: Path, name: str) -> SpeechModel:
    """Load an exported model, every weight unpacked to float32.

    Args:
        folder: what `write` wrote to, with the model's settings.
        name: the name to give the model.

    Raises:
        ExportError: the file is missing or damaged.
    """
    return assembled(folder, name, read(folder / NAME))


def read(path: Path) -> dict[str, Tensor]:
    """Every stored parameter by name, unpacked to float32.

    Raises:
        ExportError: the file is missing or damaged.
    """
    try:
        require_file(path)
        with safe_open(path, framework="pt") as handle:
            layout = _layout(json.loads(handle.metadata()["layout"]))
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
        return _unpacked(layout, tensors)
    except ExportError as error:
        raise ExportError(f"{path} is not a native export: {error.message}", _REMEDY) from error
    except OSError as error:
        reason = whole_reason(error)
        raise ExportError(f"{path} cannot be read ({reason}).", _REMEDY) from error
    except Exception as error:  # of safetensors, JSON, and tensors that do not fit together
        reason = whole_reason(error)
        raise ExportError(f"{path} is not a native export ({reason}).", _REMEDY) from error


@dataclass(frozen=True)
class _Layout:
    """The shapes of parameters, and parameter, first and last row and option of each unit."""

    shapes: dict[str, tuple[int, ...]]
    units: dict[str, tuple[str, int, int, Option]]


def _layout(said: Any) -> _Layout:
    """What the metadata says, once it is known to be possible.

    Raises:
        ExportError: it is of another form, a shape is impossible, or units do not cover all rows
            of their parameter, each once.
    """
    shapes = {str(name): tuple(shape) for name, shape in said["parameters"].items()}
    for name, shape in shapes.items():
        if not all(type(size) is int and 0 <= size <= _MOST_SIZE for size in shape):
            raise ExportError(f"{name} has an impossible shape.")
    units: dict[str, tuple[str, int, int, Option]] = {}
    rows: dict[str, list[tuple[int, int]]] = {}
    for name, (parameter, start, stop, key) in said["units"].items():
        if type(start) is not int or type(stop) is not int or parameter not in shapes:
            raise ExportError(f"{name} is no part of a parameter.")
        units[name] = (parameter, start, stop, Option.parse(key))
        rows.setdefault(parameter, []).append((start, stop))
    for parameter, parts in rows.items():
        reached = 0
        for start, stop in sorted(parts):
            if start != reached or stop <= start:
                raise ExportError(f"its units do not cover every row of {parameter} once.")
            reached = stop
        if not shapes[parameter] or reached != shapes[parameter][0]:
            raise ExportError(f"its units do not cover every row of {parameter} once.")
    return _Layout(shapes, units)


def _unpacked(layout: _Layout, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every stored parameter by name, float32.

    Raises:
        ExportError: a tensor is missing, misshapen, of too few bytes, or one too many.
    """
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in layout.units}
    parameters: dict[str, Tensor] = {}
    packed = {parameter for parameter, *_ in layout.units.values()}
    for name, tensor in tensors.items():
        unit, colon, part = name.rpartition(":")
        if colon and unit in parts:
            parts[unit][part] = tensor
        elif name not in layout.shapes or name in packed:
            raise ExportError(f"it holds {name}, which its layout does not name.")
        elif tuple(tensor.shape) != layout.shapes[name]:
            raise ExportError(f"{name} is of another shape than its layout says.")
        else:
            parameters[name] = tensor.float()
    for name, (parameter, start, stop, option) in layout.units.items():
        shape = layout.shapes[parameter]
        columns = math.prod(shape[1:])
        held = sum(tensor.nbytes for tensor in parts[name].values())
        if (stop - start) * columns > _MOST_WEIGHTS_PER_BYTE * held:
            raise ExportError(f"{name} has too few bytes for its weights.")
        weight = restored(from_tensors(parts[name], option, stop - start, columns))
        if parameter not in parameters:
            parameters[parameter] = torch.empty(shape)
        parameters[parameter][start:stop] = weight.view((stop - start, *shape[1:]))
    return parameters
