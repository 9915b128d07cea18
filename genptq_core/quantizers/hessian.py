"""Second moments of layer inputs, and their sketch: low rank plus diagonal, small enough to ship.

Quantizing always uses the sketch, so the error that a profile was scored with is the error that
any later use of the profile reproduces, without the calibration speech.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sketch:
    """H = F diag(s²) F^T + diag(d), with F in 8 bit.

    Attributes:
        factor: F's codes, shape (columns, rank), int8.
        scale: s, one a column of F, shape (rank,), float32.
        diagonal: d, shape (columns,), float32, not negative.
    """

    factor: Tensor
    scale: Tensor
    diagonal: Tensor

    def dense(self) -> Tensor:
        """The Hessian it stands for: shape (columns, columns), float32, positive semidefinite."""
        factor = self.factor.float() * self.scale
        return factor @ factor.T + torch.diag(self.diagonal)


def sketch(hessian: Tensor, rank: int) -> Sketch:
    """Keep a Hessian's strongest directions, and its diagonal exactly as far as they allow.

    Args:
        hessian: shape (columns, columns), positive semidefinite.
        rank: directions to keep.
    """
    columns = len(hessian)
    values, vectors = torch.linalg.eigh(hessian.double())
    keep = min(rank, columns)
    factor = vectors[:, columns - keep :] * values[columns - keep :].clamp(min=0).sqrt()
    scale = factor.abs().amax(dim=0) / 127
    scale = torch.where(scale > 0, scale, torch.ones_like(scale)).float()
    codes = torch.round(factor.float() / scale).to(torch.int8)
    kept = (codes.float() * scale).square().sum(dim=1)
    rest = (hessian.diagonal().float() - kept).clamp(min=0)
    return Sketch(codes, scale, rest)
