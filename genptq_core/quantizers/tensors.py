"""Stored weights as named tensors for a file, and back, without loss."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ..errors import ExportError
from ..options import Option
from . import Blocks, Coded, Quantized, Stored
from .codec import decode, encode
from .ggml import type_of, unpack_codes
from .grid import Grid, groups
from .packing import pack, unpack


def as_tensors(name: str, option: Option, stored: Stored) -> dict[str, Tensor]:
    """A unit's tensors, by the last part of their names in a file.

    `coded`, uint8: an entropy-coded weight as `codec` lays it out, then zeros up to the promised
    size. `codes`, uint8: integer codes, dense, row by row; `scales`, float16, (rows, groups);
    `zeros`, uint8: zero points, dense, row by row. `blocks`, uint8, (rows, row bytes): blocks as
    ggml lays them out. `half`, float16: the weight itself.

    Args:
        name: the unit's name, for errors.
        option: how it is stored.
        stored: what is stored.

    Raises:
        ExportError: it takes more bytes than promised, or float16 cannot hold its values.
    """
    if isinstance(stored, Coded):
        data = encode(stored.codes, stored.step, stored.row, stored.column)
        room = math.ceil(stored.codes.numel() * option.bits / 8)
        if len(data) > room:
            raise ExportError(
                f"{name} takes {len(data)} bytes at {option.label}; {room} were promised.",
                "Choose a wider one.",
            )
        return {"coded": torch.frombuffer(bytearray(data.ljust(room, b"\0")), dtype=torch.uint8)}
    if isinstance(stored, Quantized):
        bits = stored.grid.bits
        zeros = stored.grid.zero.to(torch.uint8).numpy()
        return {
            "codes": torch.from_numpy(pack(stored.codes.numpy(), bits)),
            "scales": half(stored.grid.scale, name),
            "zeros": torch.from_numpy(pack(zeros, bits)),
        }
    if isinstance(stored, Blocks):
        return {"blocks": torch.from_numpy(stored.packed())}
    return {"half": half(stored, name)}


def from_tensors(tensors: Mapping[str, Tensor], option: Option, rows: int, columns: int) -> Stored:
    """The stored weight that `as_tensors` was given.

    Args:
        tensors: by the last part of their names.
        option: how the weight is stored.
        rows, columns: its shape.

    Raises:
        KeyError: a tensor is missing.
        ValueError: a tensor has another size or type than it should.
    """
    if option.form == "half":
        return tensors["half"].float()
    if option.form == "coded":
        codes, step, row, column = decode(tensors["coded"].numpy().tobytes(), rows, columns)
        return Coded(_tensor(codes), step, _tensor(row), _tensor(column))
    if option.form == "block":
        codes, scales = unpack_codes(type_of(option.block), tensors["blocks"].numpy(), columns)
        return Blocks(_tensor(codes), scales)
    bits, size = int(option.bits), option.group_size
    shape = (rows, groups(columns, size))
    scale = tensors["scales"].float().view(shape)
    zero = unpack(tensors["zeros"].numpy(), bits, shape)
    dense = unpack(tensors["codes"].numpy(), bits, (rows, columns))
    return Quantized(
        torch.from_numpy(dense), Grid(bits, size, scale, torch.from_numpy(zero).float())
    )


def half(tensor: Tensor, name: str) -> Tensor:
    """A parameter as float16.

    Raises:
        ExportError: it holds values beyond float16's range.
    """
    shortened = tensor.detach().cpu().half().contiguous()
    if not bool(shortened.isfinite().all()):
        raise ExportError(
            f"{name} holds values that 16 bit cannot hold.", "Scale the model's weights down."
        )
    return shortened


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
