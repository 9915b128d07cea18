"""Rounded units, kept while other maps are rounded: maps of one front share most of theirs.

A unit's codes depend on its weight, the profile's statistics and its option, and on no other unit.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from ..quantizers import Stored
from ..quantizers.coded import Coded

MOST = 1_000_000_000
"""Most bytes that are kept: of Whisper tiny, some twenty maps."""


class RoundedUnits:
    """What units were rounded to, by key; the longest unused go first.

    Args:
        most: most bytes to keep.

    Attributes:
        bytes: how many are kept.
        found, missed: how often a key was there, and was not.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Stored, int]] = OrderedDict()
        self.bytes = 0
        self.found = self.missed = 0

    def get(self, key: Hashable) -> Stored | None:
        """What was kept under a key; None if nothing was, or no more."""
        entry = self._kept.get(key)
        if entry is None:
            self.missed += 1
            return None
        self._kept.move_to_end(key)
        self.found += 1
        return entry[0]

    def keep(self, key: Hashable, stored: Stored) -> None:
        """Keep what a unit was rounded to; what is larger than all that may be kept is not."""
        small = _narrowed(stored)
        size = _bytes(small)
        if key in self._kept or size > self._most:
            return
        self._kept[key] = small, size
        self.bytes += size
        while self.bytes > self._most:
            self.bytes -= self._kept.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self.bytes = 0


def _narrowed(stored: Stored) -> Stored:
    """The same weight, its codes in bytes where they fit."""
    if isinstance(stored, Coded) and stored.codes.numel() and int(stored.codes.abs().max()) <= 127:
        return dataclasses.replace(stored, codes=stored.codes.to(torch.int8))
    return stored


def _bytes(value: Any) -> int:
    """Bytes of the arrays in a value."""
    if isinstance(value, Tensor):
        return value.nbytes
    if dataclasses.is_dataclass(value):
        return sum(_bytes(getattr(value, field.name)) for field in dataclasses.fields(value))
    return int(getattr(value, "nbytes", 0))
