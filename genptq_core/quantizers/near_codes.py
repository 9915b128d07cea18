"""Codes kept as what they differ by from rounding to the nearest: 2 bits for each weight.

GPTQ's feedback moves a weight by a step or less, whatever the step: next to the weight itself,
which is there, a code of any width is one of three. The few others are listed. From the weight and
these the codes come back to the bit, on every machine: only divisions, products and roundings that
IEEE 754 fixes are used.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..options import Option
from .coded import Coded, power
from .grid import Grid, Quantized, groups, spread

Parts = Mapping[str, Tensor]
"""What is kept of a weight's codes, by name, as `near_parts` gives it."""


def near_parts(weight: Tensor, stored: Coded | Quantized) -> dict[str, Tensor]:
    """What is kept of a weight's codes, on the processor.

    Args:
        weight: shape (rows, columns), float32.
        stored: what it was rounded to.

    Returns:
        `near`, uint8, (ceil(rows / 4), columns): differences and 1; a byte has that of one weight
        of each quarter of the rows, the first quarter's in the low bits. `at` and `by`, int32:
        places of others and by how much they differ. Of entropy codes `step`, float32, (1,), `row`
        and `column`, int8; of a grid `scale` and `zero`, (rows, groups), float16.
    """
    kept: dict[str, Tensor]
    if isinstance(stored, Coded):
        step = torch.tensor([stored.step], dtype=torch.float32)
        kept = {"step": step, "row": stored.row.clone(), "column": stored.column.clone()}
        nearest = _nearest_coded(weight, stored)
    else:
        kept = {"scale": stored.grid.scale.half(), "zero": stored.grid.zero.half()}
        nearest = _nearest_on(weight, stored.grid)
    by = (stored.codes.int() - nearest.int()).view(-1)
    others = torch.nonzero(by.abs() > 1).view(-1)
    kept |= {"at": others.int(), "by": by[others]}
    digits = (by + 1).to(torch.uint8)
    digits[others] = 1
    rows, columns = weight.shape
    digits = torch.nn.functional.pad(digits.view(rows, columns), (0, 0, 0, -rows % 4))
    quarters = digits.view(4, -1, columns)
    near = quarters[0].clone()
    for number in (1, 2, 3):
        near |= quarters[number] << (2 * number)
    kept["near"] = near
    return {name: part.cpu().contiguous() for name, part in kept.items()}


def stored_of(weight: Tensor, option: Option, parts: Parts) -> Coded | Quantized:
    """What `near_parts` was given, on the device of the weight.

    Args:
        weight: shape (rows, columns), float32, the same to the bit.
        option: how it is stored.
        parts: what was kept.
    """
    moved = {name: part.to(weight.device) for name, part in parts.items()}
    near = moved["near"]
    by = torch.cat([near >> (2 * number) & 3 for number in range(4)])[: len(weight)].int() - 1
    by.view(-1)[moved["at"].long()] = moved["by"]
    if option.form == "coded":
        known = Coded(torch.empty(0), float(parts["step"]), moved["row"], moved["column"])
        codes = (_nearest_coded(weight, known).int() + by).to(torch.int16)
        return Coded(codes, known.step, known.row, known.column)
    grid = Grid(int(option.bits), option.group_size, moved["scale"].float(), moved["zero"].float())
    return Quantized((_nearest_on(weight, grid).int() + by).to(torch.uint8), grid)


def nearest_codes(weight: Tensor, units: Tensor, steps: Tensor, out: Tensor) -> None:
    """Write the entropy codes nearest to weights.

    Args:
        weight: shape (rows, columns).
        units: products of row and column steps, (rows, columns).
        steps: common steps, (options,).
        out: shape (options, rows * columns).
    """
    torch.mul((weight / units).view(1, -1), (1 / steps)[:, None], out=out).round_()


def _nearest_coded(weight: Tensor, stored: Coded) -> Tensor:
    out = torch.empty((1, weight.numel()), device=weight.device)
    units = power(stored.row)[:, None] * power(stored.column)
    nearest_codes(weight, units, out.new_tensor([stored.step]), out)
    return out.view(weight.shape)


def _nearest_on(weight: Tensor, grid: Grid) -> Tensor:
    columns = weight.shape[1]
    scale, zero = (spread(v, grid.group_size, columns) for v in (grid.scale, grid.zero))
    return torch.round(weight / scale + zero).clamp_(0, grid.levels)


def kept_bytes(rows: int, columns: int, option: Option) -> int:
    """About how many bytes are kept of a weight's codes at an option."""
    if option.form == "block":
        return 2 * rows * columns  # an error in float16, for there are few such options
    near = -(-rows // 4) * columns
    listed = rows * columns // 50  # one weight in 400
    if option.form == "grid":
        return near + listed + 4 * rows * groups(columns, option.group_size)
    return near + listed + rows + columns
