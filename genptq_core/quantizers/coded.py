"""Entropy-coded quantization: even steps without clipping; rare codes take more bits.

A weight w[i,j] is stored as an integer q and read as  step * row[i] * column[j] * q.  Codes are
not clipped and not of equal length: an entropy coder (`codec`) writes them, so a rare large code
costs more bits than a common small one, and no group needs a scale of its own. At equal bytes
this comes within 0.25 bit of the rate-distortion bound of a Gaussian source, where a fixed-width
grid loses 0.5 bit and more (Gish and Pierce, "Asymptotically efficient quantizing", IEEE Trans.
Inf. Theory 1968).

Rounding is GPTQ's (Frantar et al., ICLR 2023). With U the upper Cholesky factor of the inverse
Hessian, an error e of column j adds e^2 / U[j,j]^2 to the output error, so at a given rate the
best steps are column[j] ~ U[j,j]: reverse water-filling (Cover and Thomas, "Elements of
Information Theory", section 10.3). A row's step follows how much its outputs matter, softened to
the fourth root, so that a few calibration utterances cannot starve a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .code_sizes import coded_bytes, side_bits
from .codec import OCTAVE, powers
from .feedback import Feedback, batches_of, feedback, round_columns
from .hessian import Sketch, is_empty

DAMPING = 0.1
"""Added to the Hessian's diagonal, as a fraction of its mean."""

FLOOR = 0.05
"""Least importance of a row, as a fraction of the mean."""

_ROUNDS = 4
_LARGEST_LOG = 15 * OCTAVE
_MOST = 32767  # of a code, as int16 holds it


@dataclass(frozen=True)
class Coded:
    """A weight as integer codes with steps.

    Attributes:
        codes: shape (rows, columns), int16.
        step: the common step.
        row: log2 of each row's step in units of 1 / OCTAVE, shape (rows,), int8.
        column: the same for each column, shape (columns,), int8.
    """

    codes: Tensor
    step: float
    row: Tensor
    column: Tensor

    def dequantize(self) -> Tensor:
        """The weight that the codes stand for: shape (rows, columns), float32."""
        steps = power(self.row)[:, None] * power(self.column)
        return self.codes.float() * (self.step * steps)

    def cpu(self) -> Coded:
        """The same in the processor's memory."""
        return Coded(self.codes.cpu(), self.step, self.row.cpu(), self.column.cpu())


@dataclass
class _Weight:
    """A weight that is being rounded, in units of its row and column steps.

    Attributes:
        scaled: shape (columns, rows), columns in the order in which they are rounded.
        row: logarithms of its rows' steps.
        sides: bits of the logarithms of its steps.
        spread: root of the mean square of `scaled`.
        most: its largest size.
    """

    scaled: Tensor
    row: Tensor
    sides: float
    spread: float
    most: float


@dataclass
class _Search:
    """The search for the step with which a weight takes as many bytes as it may.

    Attributes:
        weight: the weight.
        rate: bits per weight.
        step: the step to try next.
        codes: shape (columns, rows), int16, once found.
        attempts: steps tried.
    """

    weight: _Weight
    rate: float
    step: float
    codes: Tensor | None = None
    attempts: int = field(default=0)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to try."""
        return self.codes is not None or self.attempts == _ROUNDS + 4

    def tried(self, codes: Tensor) -> None:
        """Take the codes at this step if they fit well enough, else choose another."""
        count = codes.numel()
        size = coded_bytes(codes, self.weight.sides)
        excess = 8 * (size - math.ceil(count * self.rate / 8)) / count
        if excess <= 0 and (excess > -0.004 * self.rate or self.attempts >= _ROUNDS):
            self.codes = codes.clone()
            self.step = _float32(self.step)
        else:
            # A step wider by 2^x costs about x bits less; aim a little below the room.
            aim = excess + 0.0015 * self.rate * (1 + self.attempts)
            self.step = _float32(self.step * 2**aim)
        self.attempts += 1


def quantize_coded(
    weight: Tensor,
    hessian: Tensor | Sketch | None,
    importance: Tensor | None,
    rates: Sequence[float],
    filled: bool = True,
) -> list[Coded | None]:
    """Quantize one weight; see `quantize_coded_together`."""
    return quantize_coded_together([weight], hessian, [importance], rates, filled)[0]


def quantize_coded_together(
    weights: Sequence[Tensor],
    hessian: Tensor | Sketch | None,
    importance: Sequence[Tensor | None],
    rates: Sequence[float],
    filled: bool = True,
) -> list[list[Coded | None]]:
    """Quantize weights at several rates, each to fit in ceil(rows * columns * rate / 8) bytes.

    What a weight is rounded to at a rate depends on no other weight or rate.

    Args:
        weights: with the same inputs, each of shape (rows, columns).
        hessian: second moment of the inputs, shape (columns, columns), or its sketch; None for
            tables of rows.
        importance: of each weight, how much the loss depends on errors in each row, shape
            (rows,), not negative; None if equally on all.
        rates: bits per weight, including steps and tables.
        filled: whether columns get steps of their own, by reverse water-filling.

    Returns:
        One result per rate of each weight; None if the weight cannot be written in that few bytes.
    """
    if not rates or not weights:
        return [[] for _ in weights]
    device, columns = weights[0].device, weights[0].shape[1]
    if hessian is None or is_empty(hessian):
        passed, order = None, torch.arange(columns, device=device)
        column = torch.zeros(columns, dtype=torch.int8, device=device)
    else:
        passed = feedback(hessian, DAMPING, device)
        order = passed.order
        column = _logarithm(passed.diagonal[torch.argsort(order)])
        if not filled:
            column = torch.zeros_like(column)
        passed = passed.in_steps(power(column)[order])
    known = [
        _scaled(weight.detach().float(), column, order, rows)
        for weight, rows in zip(weights, importance, strict=True)
    ]
    searches = [[_search(weight, rate) for rate in rates] for weight in known]
    while left := [s for some in searches for s in some if not s.over]:
        for batch in batches_of(left, lambda search: search.weight.scaled.shape[1], device):
            rows = [s.weight.scaled.shape[1] for s in batch]
            for search, codes in zip(batch, _round(batch, passed).split(rows, 1), strict=True):
                search.tried(codes)
    place = torch.argsort(order)
    return [
        [
            None
            if s.codes is None
            else Coded(s.codes[place].T.contiguous(), s.step, s.weight.row, column)
            for s in some
        ]
        for some in searches
    ]


def _scaled(weight: Tensor, column: Tensor, order: Tensor, importance: Tensor | None) -> _Weight:
    """A weight divided by the steps of its rows and columns."""
    row = torch.zeros(len(weight), dtype=torch.int8, device=weight.device)
    if importance is not None and float(importance.mean()) > 0:
        softened = (importance.float() + FLOOR * float(importance.mean())) ** -0.25
        row = _logarithm(softened.to(weight.device))
    scaled = weight / (power(row)[:, None] * power(column))
    spread = float(scaled.square().mean().sqrt())
    turned = scaled.T[order].contiguous()
    sides = side_bits(row) + side_bits(column)
    return _Weight(turned, row, sides, spread, float(scaled.abs().max()))


def _search(weight: _Weight, rate: float) -> _Search:
    """The search at a rate, from the step that suits normally distributed weights."""
    if weight.spread > 0:
        return _Search(weight, rate, weight.spread * math.sqrt(2 * math.pi * math.e) / 2**rate)
    codes = torch.zeros_like(weight.scaled, dtype=torch.int16)
    fits = coded_bytes(codes, weight.sides) <= math.ceil(codes.numel() * rate / 8)
    return _Search(weight, rate, 1.0, codes if fits else None, _ROUNDS + 4)


def _round(batch: Sequence[_Search], passed: Feedback | None) -> Tensor:
    """Codes of weights at the steps to try next, shape (columns, all rows), int16."""
    scaled = [search.weight.scaled for search in batch]
    # As tensors: where a GPU divides by a plain number, it multiplies by the inverse.
    steps = [part.new_tensor(search.step) for part, search in zip(scaled, batch, strict=True)]
    rows = [part.shape[1] for part in scaled]

    def fill(start: int, stop: int, out: Tensor) -> None:
        for part, step, place in zip(scaled, steps, out.split(rows, dim=1), strict=True):
            torch.div(part[start:stop], step, out=place)

    def nearest(_index: int, values: Tensor, codes: Tensor) -> Tensor:
        return torch.round(values, out=codes)

    def clamped(_index: int, values: Tensor, codes: Tensor) -> Tensor:
        return torch.round(values, out=codes).clamp_(-_MOST, _MOST)

    if passed is None:
        parts = [part / step for part, step in zip(scaled, steps, strict=True)]
        return torch.cat(parts, dim=1).round_().clamp_(-_MOST, _MOST).to(torch.int16)
    # Errors of other columns are a few steps, so that few weights come near the limit.
    far = any(search.weight.most / search.step > _MOST / 4 for search in batch)
    shape = (len(scaled[0]), sum(rows))
    return round_columns(shape, fill, passed, clamped if far else nearest, torch.int16)


def _logarithm(steps: Tensor) -> Tensor:
    """Steps relative to their geometric mean, as multiples of 1 / OCTAVE octaves."""
    logs = steps.clamp(min=1e-30).double().log2()
    rounded = torch.round(OCTAVE * (logs - logs.mean()))
    return rounded.clamp(-_LARGEST_LOG, _LARGEST_LOG).to(torch.int8)


def power(logs: Tensor) -> Tensor:
    """`codec.powers` of logarithms, where they are."""
    return _powers(logs.device)[logs.int() + 128]


@cache
def _powers(device: torch.device) -> Tensor:
    """`codec.powers` of all logarithms, -128 first."""
    return torch.from_numpy(powers(np.arange(-128, 128, dtype=np.int8))).to(device)


def _float32(step: float) -> float:
    """The nearest float32."""
    return float(torch.tensor(step, dtype=torch.float32))
