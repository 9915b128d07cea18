"""Bytes that entropy codes will take, counted on the device that holds them.

The layout is `codec`'s; see there. Nothing is written: histograms are enough.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .codec import FARTHEST, HEADER_BYTES, MERGE, OCTAVE, TABLE_BYTES


def side_bits(logs: Tensor) -> float:
    """Bits of the logarithms of row or column steps, shape (sides,), with their table."""
    return _table_bits(_histogram(logs.short()))


def coded_bytes(codes: Tensor, sides: float) -> int:
    """Most bytes that `codec.encode` writes for a weight; a few more than it does.

    Args:
        codes: shape (columns, rows), int16; columns and rows may be in any order.
        sides: `side_bits` of the steps of its rows and columns, together.
    """
    count = codes.numel()
    sizes = codes.float().abs_()
    sums = sizes.sum(dim=0), sizes.sum(dim=1)
    total = float(sums[1].double().sum())
    row = _logs(sums[0].double() / codes.shape[0])
    column = _logs(sums[1].double() / codes.shape[1])
    whole = int(_logs(torch.tensor([total / count]))[0])
    column = (column - whole).clamp(-128, 127)
    middle = whole // MERGE
    low = max((int(row.min()) + int(column.min())) // MERGE, middle - FARTHEST)
    high = min((int(row.max()) + int(column.max())) // MERGE, middle + FARTHEST)
    shift = _shift(total / count)
    parts = codes >> shift if shift else codes
    first, last = (int(side) for side in torch.aminmax(parts))
    width, classes = last - first + 1, high - low + 1
    # Numbers of cells fit in 16 bits but for the widest codes.
    whole_type = torch.int16 if classes * width < 2**15 - 1 else torch.int32
    cells = (column[:, None] + row).bitwise_right_shift_(1).clamp_(low, high)  # halves: MERGE
    cells = cells.sub_(low).to(whole_type).mul_(width).add_(parts).sub_(first)
    table = torch.bincount(cells.view(-1), minlength=classes * width).view(classes, width)
    bits = shift * count + _table_bits(table) + sides
    bits += side_bits(row) + side_bits(column)
    return HEADER_BYTES + 16 + math.ceil(bits * 1.0002 / 8)


def _table_bits(frequencies: Tensor) -> float:
    """Bits of symbols with these frequencies, each row with a table of its own, tables included.

    Args:
        frequencies: how often each symbol occurs, shape (tables, symbols).
    """
    used = frequencies > 0
    some = used.any(dim=1)
    most = frequencies.amax(dim=1, keepdim=True).clamp(min=1)
    counts = torch.maximum((frequencies * (255 / most.double())).round(), used.double())
    chances = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    bits = -(frequencies * chances.clamp(min=1e-300).log2()).sum()
    places = torch.arange(frequencies.shape[1], device=frequencies.device)
    beyond = torch.where(used, places + 1, 0).amax(dim=1)
    before = torch.where(used, places, frequencies.shape[1]).amin(dim=1)
    lengths = torch.where(some, beyond - before, 1)
    return float(bits + 8 * (TABLE_BYTES + lengths).sum())


def _histogram(symbols: Tensor) -> Tensor:
    """How often each symbol from the least on occurs: shape (1, symbols)."""
    return torch.bincount(symbols - symbols.min())[None]


def _logs(sizes: Tensor) -> Tensor:
    """log2 of mean code sizes in units of 1 / OCTAVE, as small integers."""
    return (OCTAVE * torch.log2(sizes.double() + 0.05)).round().short()


def _shift(size: float) -> int:
    """How many low bits of codes of that mean size are as good as random."""
    return max(0, int(math.log2(size / 6))) if size > 6 else 0
