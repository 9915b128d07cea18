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
of every unit. Parameters that the architecture computes anew are not stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import ExportError
from ..models import SpeechModel, assembled
from ..options import Option
from ..quantizers import Coded, Grid, Quantized, Stored
from ..quantizers.codec import decode, encode
from ..quantizers.grid import groups
from ..quantizers.packing import pack, unpack
from ..units import Unit

NAME = "weights.safetensors"
_REMEDY = "The file is damaged: export again."


def write(folder: Path, model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]) -> int:
    """Write a model's weights as they are stored.

    Returns:
        Bytes of all tensors.

    Raises:
        ExportError: a weight cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    covered, units = set(model.derived), {}
    for unit, option, one in stored:
        covered.add(unit.parameter)
        units[unit.name] = [unit.parameter, unit.start, unit.stop, option.key]
        parts = _parts(unit, option, one)
        tensors |= {f"{unit.name}:{part}": tensor for part, tensor in parts.items()}
    parameters = dict(model.module.named_parameters())
    for name, parameter in parameters.items():
        if name not in covered:
            tensors[name] = half(parameter, name)
    layout = {
        "parameters": {name: list(parameter.shape) for name, parameter in parameters.items()},
        "units": units,
    }
    (folder / NAME).write_bytes(save(tensors, {"layout": json.dumps(layout)}))
    return sum(tensor.nbytes for tensor in tensors.values())


def half(tensor: Tensor, name: str) -> Tensor:
    """A parameter as float16.

    Raises:
        ExportError: it holds what float16 does not.
    """
    found = tensor.detach().half().contiguous()
    if not bool(found.isfinite().all()):
        raise ExportError(f"{name} holds values that 16 bit cannot.", "Scale the model down.")
    return found


def load(folder: Path, name: str) -> SpeechModel:
    """Load an exported model, every weight unpacked to float32.

    Args:
        folder: what `write` wrote to, with the model's settings.
        name: what the model shall be called.

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
        with safe_open(path, framework="pt") as handle:
            layout = json.loads(handle.metadata()["layout"])
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
        shapes = {name: tuple(shape) for name, shape in layout["parameters"].items()}
        found = {name: tensors[name].float() for name in shapes if name in tensors}
        for name, (parameter, start, stop, key) in layout["units"].items():
            shape = shapes[parameter]
            columns = math.prod(shape[1:])
            weight = _restored(tensors, name, Option.parse(key), stop - start, columns)
            whole = found.setdefault(parameter, torch.empty(shape))
            whole[start:stop] = weight.view(stop - start, *shape[1:])
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error}).", _REMEDY) from error
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ExportError(f"{path} is not a native export ({error}).", _REMEDY) from error
    return found


def _parts(unit: Unit, option: Option, stored: Stored) -> dict[str, Tensor]:
    if isinstance(stored, Coded):
        data = encode(stored.codes, stored.step, stored.row, stored.column)
        room = math.ceil(unit.weights * option.bits / 8)
        if len(data) > room:
            raise ExportError(
                f"{unit.name} takes {len(data)} bytes at {option.label}; {room} were promised.",
                "Choose a wider one.",
            )
        return {"coded": torch.frombuffer(bytearray(data.ljust(room, b"\0")), dtype=torch.uint8)}
    if isinstance(stored, Quantized):
        bits = stored.grid.bits
        zeros = stored.grid.zero.to(torch.uint8).numpy()
        return {
            "codes": torch.from_numpy(pack(stored.codes.numpy(), bits)),
            "scales": half(stored.grid.scale, unit.name),
            "zeros": torch.from_numpy(pack(zeros, bits)),
        }
    return {"half": half(stored, unit.name)}


def _restored(
    tensors: dict[str, Tensor], name: str, option: Option, rows: int, columns: int
) -> Tensor:
    """A unit's weights, (rows, columns), float32."""
    if option.form == "half":
        return tensors[f"{name}:half"].float()
    if option.form == "coded":
        codes, step, row, column = decode(tensors[f"{name}:coded"].numpy().tobytes(), rows, columns)
        sides = (torch.from_numpy(np.ascontiguousarray(side)) for side in (row, column))
        return Coded(torch.from_numpy(codes), step, *sides).dequantize()
    bits, size = int(option.bits), option.group_size
    shape = (rows, groups(columns, size))
    scale = tensors[f"{name}:scales"].float().view(shape)
    zero = unpack(tensors[f"{name}:zeros"].numpy(), bits, shape)
    dense = unpack(tensors[f"{name}:codes"].numpy(), bits, (rows, columns))
    grid = Grid(bits, size, scale, torch.from_numpy(zero).float())
    return Quantized(torch.from_numpy(dense), grid).dequantize()
