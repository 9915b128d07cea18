"""Asymmetric integer grids over groups of a row: scales, zero points, codes.

A weight w of a group is stored as a code q in [0, 2^bits - 1] and read as scale * (q - zero),
with a float16 scale and an integer zero point per group.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Fractions of a group's full range that the scale search tries; outliers may be clipped.
_SHRINK = tuple(1.0 - 0.04 * step for step in range(14))

_AT_ONCE = 1 << 16  # weights whose range is searched together, so that the cache holds them


@dataclass(frozen=True)
class Grid:
    """Scales and zero points of a weight of shape (rows, columns).

    Attributes:
        bits: width of a code.
        group_size: columns that share a scale; the last group of a row may be shorter.
        scale: shape (rows, groups), float32 values that float16 holds exactly.
        zero: shape (rows, groups), integers in [0, 2^bits - 1], as float32.
    """

    bits: int
    group_size: int
    scale: Tensor
    zero: Tensor

    @property
    def levels(self) -> int:
        """Largest code."""
        return 2**self.bits - 1


@dataclass(frozen=True)
class Quantized:
    """A quantized weight.

    Attributes:
        codes: shape (rows, columns), uint8.
        grid: its scales and zero points.
    """

    codes: Tensor
    grid: Grid

    def dequantize(self) -> Tensor:
        """The weight that the codes stand for: shape (rows, columns), float32."""
        columns = self.codes.shape[1]
        scale = spread(self.grid.scale, self.grid.group_size, columns)
        zero = spread(self.grid.zero, self.grid.group_size, columns)
        return (self.codes.float() - zero) * scale

    def cpu(self) -> Quantized:
        """The same in the processor's memory."""
        grid = Grid(
            self.grid.bits, self.grid.group_size, self.grid.scale.cpu(), self.grid.zero.cpu()
        )
        return Quantized(self.codes.cpu(), grid)


def groups(columns: int, group_size: int) -> int:
    """How many groups a row has; the last one may be shorter."""
    return -(-columns // group_size)


def fit_grid(weight: Tensor, bits: int, group_size: int, importance: Tensor | None = None) -> Grid:
    """Choose scales and zero points that minimize the (weighted) squared rounding error.

    Args:
        weight: shape (rows, columns).
        bits: width of a code, 1 to 8.
        group_size: columns that share a scale.
        importance: weight of each column's squared error, shape (columns,), such as the
            diagonal of the Hessian; None if all are equal.

    Returns:
        The best grid among several clipping ranges, group by group.
    """
    columns = weight.shape[1]
    count = groups(columns, group_size)
    if importance is None:
        importance = torch.ones(columns, device=weight.device)
    padding = count * group_size - columns
    columns_weight = torch.nn.functional.pad(importance, (0, padding)).view(count, group_size)
    parts = [
        _search(
            torch.nn.functional.pad(rows, (0, padding)).view(len(rows), count, group_size),
            bits,
            columns_weight,
        )
        for rows in weight.split(max(1, _AT_ONCE // columns))
    ]
    scale, zero = (torch.cat(values) for values in zip(*parts, strict=True))
    return Grid(bits, group_size, scale, zero)


def _search(blocks: Tensor, bits: int, importance: Tensor) -> tuple[Tensor, Tensor]:
    levels = 2**bits - 1
    # Zero stays on the grid, so that padding and exact zeros survive.
    low = blocks.amin(dim=2).clamp(max=0.0)
    high = blocks.amax(dim=2).clamp(min=0.0)
    best = torch.full_like(low, torch.inf)
    best_scale, best_zero = torch.ones_like(low), torch.zeros_like(low)
    work = torch.empty_like(blocks)
    for shrink in _SHRINK:
        scale = (shrink * (high - low) / levels).to(torch.float16).float()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        zero = torch.round(-shrink * low / scale).clamp(0, levels)
        torch.div(blocks, scale[..., None], out=work).add_(zero[..., None])
        work.round_().clamp_(0, levels).sub_(zero[..., None]).mul_(scale[..., None]).sub_(blocks)
        error = work.square_().mul_(importance).sum(dim=2)
        better = error < best
        best = torch.where(better, error, best)
        best_scale = torch.where(better, scale, best_scale)
        best_zero = torch.where(better, zero, best_zero)
    return best_scale, best_zero


def round_to_nearest(weight: Tensor, grid: Grid) -> Quantized:
    """Round every weight to its nearest code (RTN)."""
    columns = weight.shape[1]
    scale = spread(grid.scale, grid.group_size, columns)
    zero = spread(grid.zero, grid.group_size, columns)
    codes = torch.round(weight / scale + zero).clamp(0, grid.levels)
    return Quantized(codes.to(torch.uint8), grid)


def spread(values: Tensor, group_size: int, columns: int) -> Tensor:
    """Each group's value (rows, groups) for each of its columns: (rows, columns)."""
    return values.repeat_interleave(group_size, dim=1)[:, :columns]
