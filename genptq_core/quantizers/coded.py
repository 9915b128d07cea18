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
from dataclasses import dataclass

import torch
from torch import Tensor

from .codec import OCTAVE, estimated_bytes, powers
from .hessian import factored

DAMPING = 0.1
"""Added to the Hessian's diagonal, as a fraction of its mean."""

FLOOR = 0.05
"""Least importance of a row, as a fraction of the mean."""

_BLOCK = 32
_ROUNDS = 4
_LARGEST_LOG = 15 * OCTAVE


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
        steps = _power(self.row)[:, None] * _power(self.column)
        return self.codes.float() * (self.step * steps)


def quantize_coded(
    weight: Tensor,
    hessian: Tensor | None,
    importance: Tensor | None,
    rates: Sequence[float],
    filled: bool = True,
) -> list[Coded | None]:
    """Quantize a weight at several rates, each to fit in ceil(rows * columns * rate / 8) bytes.

    Args:
        weight: shape (rows, columns).
        hessian: second moment of the inputs, shape (columns, columns); None for a table of rows.
        importance: how much the loss depends on errors in each row, shape (rows,), not negative;
            None if equally on all.
        rates: bits per weight, including steps and tables.
        filled: whether columns get steps of their own, by reverse water-filling.

    Returns:
        One result per rate; None if the weight cannot be written in that few bytes.
    """
    weight = weight.detach().float()
    order, factor = _factor(hessian, weight.shape[1])
    column = _logarithm(factor.diagonal()[torch.argsort(order)])
    if not filled:
        column = torch.zeros_like(column)
    row = torch.zeros(len(weight), dtype=torch.int8)
    if importance is not None and float(importance.mean()) > 0:
        softened = (importance.float() + FLOOR * float(importance.mean())) ** -0.25
        row = _logarithm(softened)
    scaled = weight / (_power(row)[:, None] * _power(column))
    room = [math.ceil(weight.numel() * rate / 8) for rate in rates]
    spread = float(scaled.square().mean().sqrt())
    if spread == 0:
        codes = torch.zeros(weight.shape, dtype=torch.int16)
        return [
            Coded(codes, 1.0, row, column) if estimated_bytes(codes, row, column) <= size else None
            for size in room
        ]
    steps = [spread * math.sqrt(2 * math.pi * math.e) / 2**rate for rate in rates]
    best: list[Coded | None] = [None] * len(rates)
    for attempt in range(_ROUNDS + 4):
        todo = [i for i, result in enumerate(best) if result is None]
        if not todo:
            break
        rounded = _round(scaled, order, factor, column, [steps[i] for i in todo])
        for i, codes in zip(todo, rounded, strict=True):
            size = estimated_bytes(codes, row, column)
            excess = 8 * (size - room[i]) / weight.numel()
            if excess <= 0 and (excess > -0.004 * rates[i] or attempt >= _ROUNDS):
                best[i] = Coded(codes, _float32(steps[i]), row, column)
            # A step wider by 2^x costs about x bits less; aim a little below the room.
            steps[i] = _float32(steps[i] * 2 ** (excess + 0.0015 * rates[i] * (1 + attempt)))
    return best


def _factor(hessian: Tensor | None, columns: int) -> tuple[Tensor, Tensor]:
    if hessian is None or not float(hessian.diagonal().mean()) > 0:
        return torch.arange(columns), torch.eye(columns)
    return factored(hessian, DAMPING)


def _round(
    scaled: Tensor, order: Tensor, factor: Tensor, column: Tensor, steps: Sequence[float]
) -> list[Tensor]:
    """GPTQ on a weight divided by its row and column steps, for several common steps at once."""
    rows, columns = scaled.shape
    wide = torch.tensor(steps).repeat_interleave(rows)
    # Dividing by the steps multiplies the factor's entry (j, k) by column[j] / column[k].
    widths = _power(column)[order]
    shape = widths[:, None] * factor / widths[None] / factor.diagonal()[:, None]
    remaining = scaled[:, order].T.repeat(1, len(steps)).div_(wide)
    codes = torch.empty(remaining.shape, dtype=torch.int16)
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        errors = torch.empty_like(remaining[start:stop])
        for index in range(start, stop):
            code = torch.round(remaining[index])
            codes[index] = code.clamp_(-32767, 32767).to(torch.int16)
            torch.sub(remaining[index], code, out=errors[index - start])
            remaining[index + 1 : stop].addr_(
                shape[index, index + 1 : stop], errors[index - start], alpha=-1
            )
        remaining[stop:].addmm_(shape[start:stop, stop:].T, errors, alpha=-1)
    restored = torch.empty_like(codes)
    restored[order] = codes
    return [part.T.contiguous() for part in restored.split(rows, dim=1)]


def _logarithm(steps: Tensor) -> Tensor:
    """Steps relative to their geometric mean, as multiples of 1 / OCTAVE octaves."""
    logs = steps.clamp(min=1e-30).double().log2()
    rounded = torch.round(OCTAVE * (logs - logs.mean()))
    return rounded.clamp(-_LARGEST_LOG, _LARGEST_LOG).to(torch.int8)


def _power(logs: Tensor) -> Tensor:
    return torch.from_numpy(powers(logs.numpy()))


def _float32(step: float) -> float:
    """The nearest float32."""
    return float(torch.tensor(step, dtype=torch.float32))
