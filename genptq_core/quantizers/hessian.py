"""Second moments of layer inputs, and their sketch: low rank plus diagonal, small enough to ship.

Quantizing always uses the sketch, so later uses of a profile reproduce the rounding errors that it
was scored with, without the calibration speech.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

WIDE = 1536
"""Widest input whose full second moment is summed; wider ones are sketched as they come."""


@dataclass(frozen=True)
class Sketch:
    """H = F diag(s²) F^T + diag(d), with F in 8 bit.

    Attributes:
        factor: F's codes, shape (columns, rank), int8.
        scale: s, one per column of F, shape (rank,), float32.
        diagonal: d, shape (columns,), float32, not negative.
    """

    factor: Tensor
    scale: Tensor
    diagonal: Tensor

    def dense(self) -> Tensor:
        """The Hessian it stands for: shape (columns, columns), float32, positive semidefinite."""
        factor = self.factor.float() * self.scale
        return factor @ factor.T + torch.diag(self.diagonal)

    def diagonal_of_dense(self) -> Tensor:
        """The diagonal of the Hessian it stands for: shape (columns,), float32."""
        return (self.factor.float() * self.scale).square().sum(dim=1) + self.diagonal


def is_empty(hessian: Tensor | Sketch) -> bool:
    """Whether nothing was summed up: the diagonal is all zero."""
    diagonal = hessian.diagonal_of_dense() if isinstance(hessian, Sketch) else hessian.diagonal()
    return not float(diagonal.mean()) > 0


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
    return _stored(factor, hessian.diagonal())


def is_wide(columns: int, rank: int) -> bool:
    """Whether inputs with this many columns are summed by `sketch_products`."""
    return columns > max(WIDE, 4 * rank)


def sketch_products(inputs: Tensor, rank: int) -> Tensor:
    """Products of wide inputs with a random matrix: cheaper to sum than their second moment.

    Tropp, Yurtsever, Udell and Cevher, "Fixed-rank approximation of a positive-semidefinite
    matrix from streaming data" (NeurIPS 2017): the sum is the second moment times that matrix, and
    `sketch_of_products` finds the strongest directions from it.

    Args:
        inputs: shape (positions, columns).
        rank: directions that the sketch will keep.

    Returns:
        Shape (columns, 2 * rank + 1), to be summed: the products, then the second moment's
        diagonal.
    """
    products = inputs.T @ (inputs @ _probe(inputs.shape[1], rank).to(inputs.device))
    return torch.cat([products, inputs.square().sum(dim=0)[:, None]], dim=1)


def sketch_of_products(summed: Tensor, rank: int) -> Sketch:
    """The sketch of a second moment, from the sum of `sketch_products`.

    Args:
        summed: shape (columns, 2 * rank + 1).
        rank: the same as for `sketch_products`.
    """
    probe = _probe(len(summed), rank).double()
    products, diagonal = summed[:, :-1].double(), summed[:, -1]
    # A shift keeps the small system positive definite; eigenvalues are corrected for it below.
    shift = 1e-6 * float(products.norm()) / float(probe.norm()) + 1e-30
    products = products + shift * probe
    middle = torch.linalg.cholesky(_symmetric(probe.T @ products))
    roots = torch.linalg.solve_triangular(middle.T, products, upper=True, left=False)
    # Squared singular values of the roots, which the small Gram matrix gives more cheaply.
    values, vectors = torch.linalg.eigh(_symmetric(roots.T @ roots))
    values, vectors = values[-rank:], vectors[:, -rank:]
    shrunk = ((values - shift).clamp(min=0) / values.clamp(min=1e-30)).sqrt()
    return _stored((roots @ vectors) * shrunk, diagonal)


def _stored(factor: Tensor, diagonal: Tensor) -> Sketch:
    scale = factor.abs().amax(dim=0) / 127
    scale = torch.where(scale > 0, scale, torch.ones_like(scale)).float()
    codes = torch.round(factor.float() / scale).to(torch.int8)
    kept = (codes.float() * scale).square().sum(dim=1)
    remainder = (diagonal.float() - kept).clamp(min=0)
    return Sketch(codes, scale, remainder)


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2


@lru_cache(maxsize=4)
def _probe(columns: int, rank: int) -> Tensor:
    generator = torch.Generator().manual_seed(columns)
    return torch.randn(columns, 2 * rank, generator=generator)
