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
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import ExportError
from ..models import SpeechModel
from ..models.hub import assembled
from ..options import Option
from ..quantizers import Stored, restored
from ..quantizers.tensors import as_tensors, from_tensors, half
from ..storage.files import require_file
from ..units import Unit

NAME = "weights.safetensors"
_REMEDY = "The file is damaged: export again."


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
            layout = json.loads(handle.metadata()["layout"])
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
        shapes = {name: tuple(shape) for name, shape in layout["parameters"].items()}
        parameters = {name: tensors[name].float() for name in shapes if name in tensors}
        for name, (parameter, start, stop, key) in layout["units"].items():
            shape = shapes[parameter]
            columns = math.prod(shape[1:])
            parts = {k[len(name) + 1 :]: t for k, t in tensors.items() if k.startswith(f"{name}:")}
            weight = restored(from_tensors(parts, Option.parse(key), stop - start, columns))
            whole = parameters.setdefault(parameter, torch.empty(shape))
            whole[start:stop] = weight.view((stop - start, *shape[1:]))
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error}).", _REMEDY) from error
    except (SafetensorError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise ExportError(f"{path} is not a native export ({error}).", _REMEDY) from error
    except (ArithmeticError, MemoryError, RuntimeError) as error:
        raise ExportError(f"{path} is not a native export ({error}).", _REMEDY) from error
    return parameters
