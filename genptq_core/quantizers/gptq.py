"""GPTQ: round column by column, and let the columns not yet rounded make up for the error.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers" (ICLR 2023), equations 2 and 3 with the Cholesky form of section 3.3; columns in
order of falling Hessian diagonal, scales fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    remaining = weight[:, order].T.contiguous()  # (columns, rows): each step reads one column
    group_of = order // group_size
    scales, zeros = grid.scale.T.contiguous(), grid.zero.T.contiguous()
    codes = torch.empty(remaining.shape, dtype=torch.uint8)
    columns = len(remaining)
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        errors = torch.empty_like(remaining[start:stop])
        for index in range(start, stop):
            group = group_of[index]
            scale, zero = scales[group], zeros[group]
            code = torch.round(remaining[index] / scale + zero).clamp_(0, grid.levels)
            codes[index] = code.to(torch.uint8)
            error = (remaining[index] - (code - zero) * scale) / factor[index, index]
            errors[index - start] = error
            remaining[index + 1 : stop].addr_(factor[index, index + 1 : stop], error, alpha=-1)
        remaining[stop:].addmm_(factor[start:stop, stop:].T, errors, alpha=-1)
    restored = torch.empty_like(codes)
    restored[order] = codes
    return Quantized(restored.T.contiguous(), grid)
