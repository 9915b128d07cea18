"""Picks that the user keeps under a name, and the trail of knobs that led here. Pure."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from genptq_core.bitmap import BitMap, bit_map
from genptq_core.errors import GenPTQError
from genptq_core.options import Option
from genptq_core.profile import Profile
from genptq_core.targets import held, usable

from .state import LOSSES, POINTS, Knobs, from_params, size_range, to_params, widths

LONGEST = 60
"""Steps that can be undone."""

LONGEST_TEXT = 6_000
"""Characters of kept picks that an address may carry; servers refuse much longer ones."""

_LARGEST = 100_000  # bytes of one unpacked

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
        """Go on to a value; what was undone is given up, unless it is the present one anyway."""
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
        """One step forth again, if there is one."""
        if self.now is None or not self.future:
            return self
        return Trail(self.future[-1], (*self.past, self.now), self.future[:-1])


@dataclass(frozen=True)
class Kept:
    """A pick under a name.

    Attributes:
        name: what the user calls it.
        profile_digest: digest of the profile that it is a map of.
        map: its options and digest.
        knobs: what gives it.
    """

    name: str
    profile_digest: str
    map: BitMap
    knobs: Knobs


Shelf = tuple[Kept, ...]


def keep(shelf: Shelf, new: Kept) -> Shelf:
    """A shelf with one more pick; a map that is there already gets the new name."""
    name = " ".join(new.name.split())[:40] or f"pick {len(shelf) + 1}"
    taken = {k.name for k in of_profile(shelf, new.profile_digest) if not _same(k, new)}
    free = name
    while free in taken:
        number = int(free.rpartition(" \u00b7")[2]) + 1 if free != name else 2
        free = f"{name} \u00b7{number}"
    new = dataclasses.replace(new, name=free)
    if any(_same(k, new) for k in shelf):
        return tuple(new if _same(k, new) else k for k in shelf)
    return (*shelf, new)


def drop(shelf: Shelf, gone: Kept) -> Shelf:
    """A shelf without a pick."""
    return tuple(k for k in shelf if not _same(k, gone))


def of_profile(shelf: Sequence[Kept], digest: str) -> Shelf:
    """The picks of one profile."""
    return tuple(k for k in shelf if k.profile_digest == digest)


def to_text(kept: Kept) -> str:
    """A pick as an address carries it: packed, so that a reload or a colleague has it again."""
    options = [option.key for option in kept.map.options]
    fields = [kept.name, kept.profile_digest, options, to_params(kept.knobs)]
    packed = zlib.compress(json.dumps(fields, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def from_text(text: str, profile: Profile) -> Kept | None:
    """The pick that an address carries; None where it is damaged or of another profile."""
    if len(text) > LONGEST_TEXT:
        return None
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        name, digest, keys, params = json.loads(zlib.decompressobj().decompress(packed, _LARGEST))
        if digest != profile.digest:
            return None
        chosen = bit_map(profile, [Option.parse(str(key)) for key in keys])
        knobs = from_params(
            {str(key): [str(value) for value in values] for key, values in params.items()},
            Knobs(profile.source.model),
        )
    except (GenPTQError, ValueError, TypeError, AttributeError, binascii.Error, zlib.error):
        return None
    knobs = _on_offer(knobs, profile)
    return knobs and Kept(str(name)[:40], digest, chosen, knobs)


def from_texts(texts: Sequence[str], profile: Profile) -> Shelf:
    """The shelf that an address carries, as far as it is of a profile."""
    shelf: Shelf = ()
    for text in texts:
        found = from_text(text, profile)
        if found is not None:
            shelf = keep(shelf, found)
    return shelf


def to_texts(shelf: Sequence[Kept]) -> list[str]:
    """What an address carries of a shelf: the latest picks, as many as fit."""
    room, texts = LONGEST_TEXT, list[str]()
    for kept in reversed(shelf):
        text = to_text(kept)
        room -= len(text)
        if room < 0:
            break
        texts.insert(0, text)
    return texts


def _on_offer(knobs: Knobs, profile: Profile) -> Knobs | None:
    """Knobs as the page's widgets can show them; None where one is nowhere on them."""
    if knobs.target not in usable(profile.menu, profile.source.family):
        return None
    offered = widths([profile.menu[column] for column in held(profile.menu, knobs.target)])
    if {knobs.min_bits, knobs.max_bits} - set(offered) or knobs.min_bits > knobs.max_bits:
        return None
    low, high, _ = POINTS
    if knobs.loss not in LOSSES or not low <= knobs.points <= high:
        return None
    size = size_range(profile, knobs.target).clip(knobs.size_mb)
    return dataclasses.replace(knobs, size_mb=size)


def _same(a: Kept, b: Kept) -> bool:
    return (a.profile_digest, a.map.digest) == (b.profile_digest, b.map.digest)
