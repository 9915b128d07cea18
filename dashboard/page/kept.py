"""Picks that the user keeps under a name, and undo and redo. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from genptq_core.bitmaps.bitmap import BitMap

from .knobs import Knobs

LONGEST = 60
"""Steps that can be undone."""

T = TypeVar("T")


@dataclass(frozen=True)
class Trail(Generic[T]):
    """Values one after another, with undo and redo.

    Attributes:
        now: the present value, or None at the beginning.
        past: values before it, the latest last.
        future: values undone, the next to redo last.
    """

    now: T | None = None
    past: tuple[T, ...] = ()
    future: tuple[T, ...] = ()

    def visit(self, value: T) -> Trail[T]:
        """Go on to a value; what was undone is given up, unless the value is the present one."""
        if value == self.now:
            return self
        past = self.past if self.now is None else (*self.past, self.now)
        return Trail(value, past[-LONGEST:])

    def undo(self) -> Trail[T]:
        """One step back, if there is one."""
        if self.now is None or not self.past:
            return self
        return Trail(self.past[-1], self.past[:-1], (*self.future, self.now))

    def redo(self) -> Trail[T]:
        """One step forward again, if there is one."""
        if self.now is None or not self.future:
            return self
        return Trail(self.future[-1], (*self.past, self.now), self.future[:-1])


@dataclass(frozen=True)
class KeptPick:
    """A pick under a name.

    Attributes:
        name: what the user calls it.
        profile_digest: digest of the profile that it is a map of.
        map: its options and digest.
        knobs: what the user had set when it was kept.
    """

    name: str
    profile_digest: str
    map: BitMap
    knobs: Knobs


KeptPicks = tuple[KeptPick, ...]


def keep(picks: KeptPicks, new: KeptPick) -> KeptPicks:
    """Kept picks with one more; a map that is among them already gets the new name."""
    name = " ".join(new.name.split())[:40] or f"pick {len(picks) + 1}"
    taken = {k.name for k in of_profile(picks, new.profile_digest) if not _same(k, new)}
    free = name
    while free in taken:
        number = int(free.rpartition(" \u00b7")[2]) + 1 if free != name else 2
        free = f"{name} \u00b7{number}"
    new = dataclasses.replace(new, name=free)
    if any(_same(k, new) for k in picks):
        return tuple(new if _same(k, new) else k for k in picks)
    return (*picks, new)


def drop(picks: KeptPicks, gone: KeptPick) -> KeptPicks:
    """Kept picks without one of them."""
    return tuple(k for k in picks if not _same(k, gone))


def of_profile(picks: Sequence[KeptPick], digest: str) -> KeptPicks:
    """The kept picks of one profile."""
    return tuple(k for k in picks if k.profile_digest == digest)


def _same(a: KeptPick, b: KeptPick) -> bool:
    return (a.profile_digest, a.map.digest) == (b.profile_digest, b.map.digest)
