"""GPTQ onto the grids of ggml's block types, with scales fitted to the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .feedback import Feedback, feedback, round_columns
from .ggml import choose_scales, nearest_codes
from .ggml_layout import TYPES, BlockType, Scales, half, pack, restored
from .hessian import Sketch, is_empty

DAMPING = 0.1
"""Added to the Hessian's diagonal, as a fraction of its mean."""

_REFITS = 2
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class Blocks:
    """A weight in blocks of one of ggml's types.

    Attributes:
        codes: shape (rows, columns), uint8.
        scales: of the same weight.
    """

    codes: Tensor
    scales: Scales

    def dequantize(self) -> Tensor:
        """The weight that the codes stand for: shape (rows, columns), float32."""
        return torch.from_numpy(restored(self.codes.numpy(), self.scales))

    def cpu(self) -> Blocks:
        """The same, which is always in the processor's memory."""
        return self

    def packed(self) -> np.ndarray:
        """The blocks: shape (rows, row bytes), uint8."""
        return pack(self.codes.numpy(), self.scales)


def quantize_blocks(
    weight: Tensor, hessian: Tensor | Sketch | None, names: Sequence[str]
) -> list[Blocks | None]:
    """Quantize a weight to several block types so that its outputs change least.

    Args:
        weight: shape (rows, columns).
        hessian: second moment of the layer's inputs, shape (columns, columns), or its sketch; None
            for a table of rows.
        names: of the types.

    Returns:
        One result per type; None where its blocks do not divide a row.
    """
    held = [TYPES[name] for name in names if weight.shape[1] % TYPES[name].weights == 0]
    if not held:
        return [None] * len(names)
    weight = weight.detach().float().cpu().contiguous()
    found: dict[str, Blocks] = {}
    if hessian is None or is_empty(hessian):
        for kind in held:
            scales = choose_scales(kind, weight.numpy())
            found[kind.name] = Blocks(
                torch.from_numpy(nearest_codes(weight.numpy(), scales)), scales
            )
    else:
        dense = hessian.dense() if isinstance(hessian, Sketch) else hessian.float()
        passed = feedback(hessian, DAMPING, weight.device)
        for kind in held:
            found[kind.name] = _rounded(kind, weight, dense, passed)
    return [found.get(name) for name in names]


def _rounded(kind: BlockType, weight: Tensor, hessian: Tensor, passed: Feedback) -> Blocks:
    """GPTQ, then scales that suit its codes, then GPTQ with these, each row as it is best."""
    damped = hessian + DAMPING * float(hessian.diagonal().mean()) * torch.eye(len(hessian))
    scales = choose_scales(kind, weight.numpy(), hessian.diagonal().numpy())
    best = Blocks(_codes(weight, scales, passed), scales)
    if kind.nested:
        return best
    least = _row_errors(weight, best, damped)
    for _ in range(_REFITS):
        scales = _fitted(weight, best, damped)
        for codes in (best.codes, _codes(weight, scales, passed)):
            other = Blocks(codes, scales)
            errors = _row_errors(weight, other, damped)
            best = _joined(best, other, errors < least)
            least = torch.minimum(least, errors)
    return best


def _row_errors(weight: Tensor, blocks: Blocks, hessian: Tensor) -> Tensor:
    """Squared error of each row's outputs: shape (rows,)."""
    difference = blocks.dequantize() - weight
    return ((difference @ hessian) * difference).sum(dim=1)


def _joined(blocks: Blocks, others: Blocks, better: Tensor) -> Blocks:
    """The other rows where they are better."""
    which = better[:, None]
    mine, theirs = blocks.scales, others.scales
    minimum = None
    if mine.minimum is not None and theirs.minimum is not None:
        minimum = np.where(which.numpy(), theirs.minimum, mine.minimum)
    scale = np.where(which.numpy(), theirs.scale, mine.scale)
    return Blocks(torch.where(which, others.codes, blocks.codes), Scales(mine.kind, scale, minimum))


def _fitted(weight: Tensor, blocks: Blocks, hessian: Tensor) -> Scales:
    """The scales and minimums with which these codes change outputs least, row by row."""
    kind = blocks.scales.kind
    parts = [
        _solved(kind, rows, codes.float() - kind.offset, hessian)
        for rows, codes in zip(
            weight.split(_ROWS_AT_ONCE), blocks.codes.split(_ROWS_AT_ONCE), strict=True
        )
    ]
    solved = torch.cat(parts).numpy()
    count = weight.shape[1] // kind.group
    minimum = None if kind.offset else half(solved[:, count:])
    return Scales(kind, half(solved[:, :count]), minimum)


def _solved(kind: BlockType, weight: Tensor, signed: Tensor, hessian: Tensor) -> Tensor:
    """Least squares in the metric of the Hessian: shape (rows, groups), then minimums if any."""
    rows, columns = weight.shape
    count = columns // kind.group
    codes = signed.view(rows, count, kind.group)
    # Each group's codes alone, times the Hessian: shape (rows, groups, columns).
    turned = torch.einsum("rgc,gck->rgk", codes, hessian.view(count, kind.group, columns))
    by_group = turned.view(rows, count, count, kind.group)
    square = torch.einsum("rgnc,rnc->rgn", by_group, codes)
    aim = torch.einsum("rgk,rk->rg", turned, weight)
    if not kind.offset:
        level = hessian.view(count, kind.group, columns).sum(dim=1)  # of each group's minimum
        cross = by_group.sum(dim=3)
        flat = level.view(count, count, kind.group).sum(dim=2).expand(rows, count, count)
        square = torch.cat(
            [torch.cat([square, cross], dim=2), torch.cat([cross.mT, flat], dim=2)], dim=1
        )
        aim = torch.cat([aim, weight @ level.T], dim=1)
    diagonal = square.diagonal(dim1=1, dim2=2)
    ridge = 1e-5 * diagonal + 1e-6 * diagonal.mean(dim=1, keepdim=True) + 1e-20
    square = square + torch.diag_embed(ridge)
    return torch.linalg.solve(square, aim)


def _codes(weight: Tensor, scales: Scales, passed: Feedback) -> Tensor:
    kind = scales.kind
    steps, bases = (torch.from_numpy(part.T.copy()) for part in scales.grid())
    inverses = torch.where(steps != 0, 1 / steps, 0)
    group_of = (passed.order // kind.group).tolist()

    def nearest(index: int, values: Tensor, codes: Tensor) -> Tensor:
        group = group_of[index]
        step, base = steps[group], bases[group]
        torch.sub(values, base, out=codes).mul_(inverses[group]).add_(kind.offset)
        codes.round_().clamp_(kind.least, kind.most)
        return (codes - kind.offset) * step + base

    turned = weight.T[passed.order]

    def fill(start: int, stop: int, out: Tensor) -> None:
        out.copy_(turned[start:stop])

    codes = round_columns((turned.shape[0], turned.shape[1]), fill, passed, nearest, torch.uint8)
    return codes[torch.argsort(passed.order)].T.contiguous()
