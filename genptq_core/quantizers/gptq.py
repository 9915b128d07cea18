"""GPTQ: round column by column, and let the columns not yet rounded make up for the error.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers" (ICLR 2023), equations 2 and 3 with the Cholesky form of section 3.3; columns in
order of falling Hessian diagonal, scales fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .grid import Grid, Quantized, fit_grid, round_to_nearest
from .hessian import factored

DAMPING = 0.2
"""Added to the Hessian's diagonal, as a fraction of its mean.

GPTQ's usual 0.01 fits the calibration inputs too closely at 2 and 3 bits.
"""

_BLOCK = 64


def quantize_gptq(weight: Tensor, hessian: Tensor, bits: int, group_size: int) -> Quantized:
    """Quantize a weight to one integer grid; see `quantize_grids`."""
    return quantize_grids(weight, hessian, [(bits, group_size)])[0]


def quantize_grids(
    weight: Tensor, hessian: Tensor | None, grids: Sequence[tuple[int, int]]
) -> list[Quantized]:
    """Quantize a weight so that its outputs on the calibration inputs change least.

    Args:
        weight: shape (rows, columns).
        hessian: second moment of the layer's inputs, shape (columns, columns); None for a table of
            rows.
        grids: for each grid the width of a code, 1 to 8, and the columns that share a scale.

    Returns:
        Codes with scales and zero points for each grid. Without a Hessian, or with one that is all
        zero, weights are rounded to the nearest code.
    """
    if not grids:
        return []
    weight = weight.detach().float()
    if hessian is None or not float(hessian.diagonal().mean()) > 0:
        return [round_to_nearest(weight, fit_grid(weight, bits, size)) for bits, size in grids]
    # For wide layers this takes longer than rounding, so it is done once for all grids.
    order, factor = factored(hessian, DAMPING)
    diagonal = hessian.diagonal().float()
    return [
        _round(weight, order, factor, fit_grid(weight, bits, size, diagonal), size)
        for bits, size in grids
    ]


def _round(weight: Tensor, order: Tensor, factor: Tensor, grid: Grid, group_size: int) -> Quantized:
    scales, zeros = grid.scale.T.contiguous(), grid.zero.T.contiguous()

    def nearest(values: Tensor, group: int) -> tuple[Tensor, Tensor]:
        scale, zero = scales[group], zeros[group]
        code = torch.round(values / scale + zero).clamp_(0, grid.levels)
        return code, (code - zero) * scale

    return Quantized(round_columns(weight, order, factor, group_size, nearest), grid)


def round_columns(
    weight: Tensor,
    order: Tensor,
    factor: Tensor,
    group_size: int,
    nearest: Callable[[Tensor, int], tuple[Tensor, Tensor]],
) -> Tensor:
    """Codes of a weight, rounded column by column.

    Args:
        weight: shape (rows, columns), float32.
        order, factor: as `hessian.factored` gives them.
        group_size: columns of a group.
        nearest: gives the nearest codes of a column's values, shape (rows,), and what they are
            read as; the second argument is the column's group.

    Returns:
        Shape (rows, columns), uint8.
    """
    remaining = weight[:, order].T.contiguous()  # (columns, rows): each step reads one column
    group_of = (order // group_size).tolist()
    codes = torch.empty(remaining.shape, dtype=torch.uint8)
    columns = len(remaining)
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        errors = torch.empty_like(remaining[start:stop])
        for index in range(start, stop):
            code, read = nearest(remaining[index], group_of[index])
            codes[index] = code.to(torch.uint8)
            error = (remaining[index] - read) / factor[index, index]
            errors[index - start] = error
            remaining[index + 1 : stop].addr_(factor[index, index + 1 : stop], error, alpha=-1)
        remaining[stop:].addmm_(factor[start:stop, stop:].T, errors, alpha=-1)
    restored = torch.empty_like(codes)
    restored[order] = codes
    return restored.T.contiguous()
