"""GPTQ: round column by column, and let the columns not yet rounded make up for the error.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers" (ICLR 2023), equations 2 and 3 with the Cholesky form of section 3.3; columns in
order of falling Hessian diagonal, scales fixed beforehand.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .grid import Quantized, fit_grid, round_to_nearest

DAMPING = 0.2
"""Added to the Hessian's diagonal, as a fraction of its mean.

GPTQ's usual 0.01 fits the calibration inputs too closely at 2 and 3 bits.
"""

_BLOCK = 64


def quantize_gptq(weight: Tensor, hessian: Tensor, bits: int, group_size: int) -> Quantized:
    """Quantize a weight so that its outputs on the calibration inputs change least.

    Args:
        weight: shape (rows, columns).
        hessian: second moment of the layer's inputs, shape (columns, columns).
        bits: width of a code, 1 to 8.
        group_size: columns that share a scale.

    Returns:
        Codes with scales and zero points. Where the Hessian says nothing (all zero), plain
        rounding to the nearest.
    """
    weight = weight.detach().float()
    diagonal = hessian.diagonal()
    mean = float(diagonal.mean())
    grid = fit_grid(weight, bits, group_size, diagonal.float() if mean > 0 else None)
    if not mean > 0:
        return round_to_nearest(weight, grid)
    order = torch.argsort(diagonal, descending=True)
    damped = hessian.double()[order][:, order]
    damped.diagonal().add_(DAMPING * mean)
    factor = torch.linalg.cholesky(
        torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True
    )
    factor = factor.float()

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
