"""The loop of GPTQ: columns are rounded in order, and later ones make up for the errors so far.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers"
(ICLR 2023), in the form of LDLQ, which rounds alike (Chee et al., "QuIP: 2-Bit Quantization of
Large Language Models With Guarantees", NeurIPS 2023, theorem 6). With H = R R^T, R upper
triangular, column k is rounded with the errors d[i] = w[i] - q[i] of the columns before it added:

    w[k] + sum_{i<k} d[i] pull[i,k],     pull[i,k] = R[i,k] / R[k,k].

Of a sketch, H = F F^T + diag(d), pull[i,k] = f[i] . g[k], so the sums over i are kept as one vector
of the sketch's rank for each row, and no matrix of columns by columns is made (the Cholesky factor
of such a matrix is semiseparable; Vandebril, Van Barel and Mastronardi, "Matrix Computations and
Semiseparable Matrices", 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from .hessian import Sketch

BLOCK = 64
"""Columns that are rounded one by one before their errors are passed on by a matrix product."""

WIDEST = 4096
"""Rows to round together, if a single weight does not have more: so many fit in the cache of a
processor; a GPU takes 32 times as many."""

_INNER = 8

Nearest = Callable[[int, Tensor, Tensor], Tensor]
"""Called with a column's place in the order, its values and where to write its codes, each
(rows,); gives what the codes are read as."""

Fill = Callable[[int, int, Tensor], None]
"""Called with places in the order, from one to another, and where to write the weights of these
columns, (columns, rows)."""

_Job = TypeVar("_Job")


@dataclass(frozen=True)
class Feedback:
    """How errors of columns are passed on, columns in the order in which they are rounded.

    Attributes:
        order: the columns, shape (columns,).
        diagonal: 1 / R[k,k], shape (columns,), float32: an error e of column k adds (e / it)^2 to
            the output error.
        left: f[i], shape (columns, rank), float32; None for the rows of an identity.
        right: g[k], shape (columns, rank), float32.
    """

    order: Tensor
    diagonal: Tensor
    left: Tensor | None
    right: Tensor

    def in_steps(self, steps: Tensor) -> Feedback:
        """The same for errors in units of each column's step, shape (columns,), in the order."""
        if self.left is None:
            right = self.right * steps / steps[:, None]
            return Feedback(self.order, self.diagonal, None, right)
        left, right = self.left * steps[:, None], self.right / steps[:, None]
        return Feedback(self.order, self.diagonal, left, right)

    def within(self, start: int, stop: int) -> Tensor:
        """`pull` among some columns, shape (stop - start, stop - start)."""
        if self.left is None:
            return self.right[start:stop, start:stop].T
        return self.left[start:stop] @ self.right[start:stop].T


def feedback(hessian: Tensor | Sketch, damping: float, device: torch.device) -> Feedback:
    """How GPTQ passes errors on, columns by falling diagonal.

    Args:
        hessian: shape (columns, columns), or a sketch; its diagonal not all zero.
        damping: added to the diagonal, as a fraction of its mean.
        device: where weights are rounded.
    """
    left: Tensor | None = None
    if isinstance(hessian, Sketch) and len(hessian.factor) > 4 * len(hessian.scale):
        diagonal = hessian.diagonal_of_dense()
        order = torch.argsort(diagonal, descending=True)
        factor = (hessian.factor.double() * hessian.scale.double())[order]
        rest = hessian.diagonal.double()[order] + damping * float(diagonal.mean())
        right, roots = _of_low_rank(factor, rest)
        left = factor.float().to(device)
    else:
        dense = hessian.dense() if isinstance(hessian, Sketch) else hessian
        diagonal = dense.diagonal()
        order = torch.argsort(diagonal, descending=True)
        damped = dense.double()[order][:, order]
        damped.diagonal().add_(damping * float(diagonal.mean()))
        root = _upper_root(damped)
        roots = root.diagonal()
        right = (root / roots).T.contiguous()
    return Feedback(
        order=order.to(device),
        diagonal=(1 / roots).float().to(device),
        left=left,
        right=right.float().to(device),
    )


def _of_low_rank(left: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """g[k] and R[k,k] of F F^T + diag(d), a block of columns after the other from the last one.

    Args:
        left: F, shape (columns, rank), float64.
        rest: d, shape (columns,), float64, positive.
    """
    right, roots = torch.empty_like(left), torch.empty_like(rest)
    # F middle F^T + diag(d) is what the columns that are left have, given all later ones.
    middle = torch.eye(left.shape[1], dtype=left.dtype)
    for start in reversed(range(0, len(left), BLOCK)):
        rows = left[start : start + BLOCK]
        turned = rows @ middle
        root = _upper_root(turned @ rows.T + torch.diag(rest[start : start + BLOCK]))
        solved = torch.linalg.solve_triangular(root, turned, upper=True)
        roots[start : start + BLOCK] = root.diagonal()
        right[start : start + BLOCK] = solved / root.diagonal()[:, None]
        middle -= solved.T @ solved
    return right, roots


def _upper_root(matrix: Tensor) -> Tensor:
    """R with R R^T equal to a positive definite matrix, R upper triangular."""
    return torch.linalg.cholesky(matrix.flip(0, 1)).flip(0, 1)


def round_columns(
    shape: tuple[int, int], fill: Fill, passed: Feedback, nearest: Nearest, dtype: torch.dtype
) -> Tensor:
    """Codes of a weight, rounded column by column.

    Rows do not depend on each other: those of several weights with the same inputs, and of one
    weight at several rates, are rounded together.

    Args:
        shape: (columns, rows).
        fill: writes weights, columns in order.
        passed: how errors are passed on.
        nearest: rounds a column.
        dtype: of the codes.

    Returns:
        Shape (columns, rows), columns in order.
    """
    columns, rows = shape
    device = passed.right.device
    codes = torch.empty(shape, dtype=dtype, device=device)
    size = min(BLOCK, columns)
    # Small enough for the processor's cache; rows of these are looked up once.
    block, aim, written, kept = (torch.empty((size, rows), device=device) for _ in range(4))
    weights, values, places = (part.unbind(0) for part in (block, aim, written))
    # Of an identity, the sums are the errors themselves.
    sums = torch.zeros((passed.right.shape[1], rows), device=device)
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        count = stop - start
        errors = sums[start:stop] if passed.left is None else kept[:count]
        known = start if passed.left is None else len(sums)
        fill(start, stop, block[:count])
        torch.addmm(block[:count], passed.right[start:stop, :known], sums[:known], out=aim[:count])
        pull, errors_of = passed.within(start, stop), errors.unbind(0)
        for first in range(0, count, _INNER):
            last = min(first + _INNER, count)
            for index in range(first, last):
                read = nearest(start + index, values[index], places[index])
                torch.sub(weights[index], read, out=errors_of[index])
                if index + 1 < last:
                    aim[index + 1 : last].addr_(pull[index, index + 1 : last], errors_of[index])
            if last < count:
                aim[last:count].addmm_(pull[first:last, last:].T, errors[first:last])
        codes[start:stop] = written[:count]
        if passed.left is not None and stop < columns:
            sums.addmm_(passed.left[start:stop].T, errors)
    return codes


def batches_of(
    jobs: Sequence[_Job], rows: Callable[[_Job], int], device: torch.device
) -> list[list[_Job]]:
    """Jobs that are rounded together, in order.

    Args:
        jobs: weights with what they are rounded to.
        rows: gives a job's rows.
        device: where they are rounded.
    """
    widest = WIDEST if device.type == "cpu" else 32 * WIDEST
    batches: list[list[_Job]] = []
    width = widest
    for job in jobs:
        if width + rows(job) > widest:
            batches.append([])
            width = 0
        batches[-1].append(job)
        width += rows(job)
    return batches
