"""GPTQ onto integer grids: scales fixed beforehand, columns by falling Hessian diagonal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .feedback import Feedback, batches_of, feedback, round_columns
from .grid import Grid, Quantized, fit_grid, round_to_nearest
from .hessian import Sketch, is_empty

DAMPING = 0.2
"""Added to the Hessian's diagonal, as a fraction of its mean.

GPTQ's usual 0.01 fits the calibration inputs too closely at 2 and 3 bits.
"""

_Job = tuple[int, Grid]  # a weight's index, and one of its grids


def quantize_gptq(
    weight: Tensor, hessian: Tensor | Sketch, bits: int, group_size: int
) -> Quantized:
    """Quantize a weight to one integer grid; see `quantize_grids_together`."""
    return quantize_grids(weight, hessian, [(bits, group_size)])[0]


def quantize_grids(
    weight: Tensor, hessian: Tensor | Sketch | None, grids: Sequence[tuple[int, int]]
) -> list[Quantized]:
    """Quantize one weight; see `quantize_grids_together`."""
    return quantize_grids_together([weight], hessian, grids)[0]


def quantize_grids_together(
    weights: Sequence[Tensor], hessian: Tensor | Sketch | None, grids: Sequence[tuple[int, int]]
) -> list[list[Quantized]]:
    """Quantize weights so that their outputs on the calibration inputs change least.

    What a weight is rounded to on a grid depends on no other weight or grid.

    Args:
        weights: with the same inputs, each of shape (rows, columns).
        hessian: second moment of the inputs, shape (columns, columns), or its sketch; None for
            tables of rows.
        grids: for each grid the width of a code, 1 to 8, and the columns that share a scale.

    Returns:
        Codes with scales and zero points for each grid of each weight. Without a Hessian, or with
        one that is all zero, weights are rounded to the nearest code.
    """
    if not grids or not weights:
        return [[] for _ in weights]
    weights = [weight.detach().float() for weight in weights]
    if hessian is None or is_empty(hessian):
        return [
            [round_to_nearest(weight, fit_grid(weight, bits, size)) for bits, size in grids]
            for weight in weights
        ]
    device = weights[0].device
    passed = feedback(hessian, DAMPING, device)
    diagonal = hessian.diagonal_of_dense() if isinstance(hessian, Sketch) else hessian.diagonal()
    diagonal = diagonal.float().to(device)
    fitted = [
        [fit_grid(weight, bits, size, diagonal) for bits, size in grids] for weight in weights
    ]
    turned = [weight.T[passed.order].contiguous() for weight in weights]
    place = torch.argsort(passed.order)
    found: list[list[Quantized]] = [[] for _ in weights]
    jobs = [(w, grid) for w, some in enumerate(fitted) for grid in some]
    for batch in batches_of(jobs, lambda job: len(job[1].scale), device):
        codes = _round([turned[w] for w, _ in batch], [grid for _, grid in batch], passed)
        for (w, grid), part in zip(batch, codes, strict=True):
            found[w].append(Quantized(part[place].T.contiguous(), grid))
    return found


def _round(turned: Sequence[Tensor], grids: Sequence[Grid], passed: Feedback) -> Sequence[Tensor]:
    """Codes of weights, each on its grid: shape (columns, rows) each, uint8, columns in order."""
    rows, order = [part.shape[1] for part in turned], passed.order.tolist()
    wide = _WideGrid(grids)

    def nearest(index: int, values: Tensor, codes: Tensor) -> Tensor:
        return wide.nearest(order[index], values, codes)

    def fill(start: int, stop: int, out: Tensor) -> None:
        for part, place in zip(turned, out.split(rows, dim=1), strict=True):
            place.copy_(part[start:stop])

    codes = round_columns((len(order), sum(rows)), fill, passed, nearest, torch.uint8)
    return codes.split(rows, dim=1)


class _WideGrid:
    """Grids of the rows of several weights, one after another."""

    def __init__(self, grids: Sequence[Grid]) -> None:
        self._sizes = [grid.group_size for grid in grids]
        self._scales = [grid.scale.T.contiguous() for grid in grids]
        self._zeros = [grid.zero.T.contiguous() for grid in grids]
        most = [grid.scale.new_full((len(grid.scale),), grid.levels) for grid in grids]
        self._levels = torch.cat(most)
        self._known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def nearest(self, column: int, values: Tensor, codes: Tensor) -> Tensor:
        """The nearest codes of a column, written to `codes`, and what they are read as."""
        scale, zero = self._of_column(column)
        torch.div(values, scale, out=codes).add_(zero).round_()
        torch.minimum(codes.clamp_(min=0), self._levels, out=codes)
        return (codes - zero).mul_(scale)

    def _of_column(self, column: int) -> tuple[Tensor, Tensor]:
        """Scale and zero point of each row's group of a column, (rows,)."""
        groups = tuple(column // size for size in self._sizes)
        if groups not in self._known:
            scale, zero = (
                torch.cat([part[group] for part, group in zip(parts, groups, strict=True)])
                for parts in (self._scales, self._zeros)
            )
            self._known[groups] = scale, zero
        return self._known[groups]
