"""Constraints: what a user or a target demands of every allocation."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConstraintError
from ..options import Option
from ..profile import Profile
from ..units import Unit

PARTS = ("encoder", "decoder", "embedding")
"""Parts of a model that may have budgets of their own."""

BY_BLOCK = "block:"
"""A tie that begins with this holds within each block separately."""

MANY = 50
"""Demands above which they are not taken out one by one; the time grows with their square."""

LONGEST_GLOB = 500
"""Characters that a pattern may have; reading one takes time that grows with their square."""

MOST_BYTES = 10**15
"""Bytes below which budgets lie."""


@dataclass(frozen=True)
class Constraints:
    """What a user demands of every allocation.

    Attributes:
        pins: (glob over unit names, width or option) pairs, later ones winning; a bare width
            leaves every option of that width open.
        min_bits: no unit goes below this.
        max_bits: no unit goes above this.
        limits: (glob, least bits or None, most bits or None): bounds for some units.
        ties: globs; all units that one glob matches share their option, or, where it begins with
            `block:`, those of the same block.
        budgets: (part, bytes): what the units of a part may take together.
    """

    pins: tuple[tuple[str, float | Option], ...] = ()
    min_bits: float | None = None
    max_bits: float | None = None
    limits: tuple[tuple[str, float | None, float | None], ...] = ()
    ties: tuple[str, ...] = ()
    budgets: tuple[tuple[str, int], ...] = ()

    def without_each(self) -> Iterator[tuple[str, Constraints]]:
        """Each demand that can raise the smallest size, in words, and the constraints without it.

        Bounds from above and budgets of parts are no such demands. Of more than `MANY` there is
        none: taking out a single one of so many says little.
        """
        if len(self.pins) + len(self.limits) + len(self.ties) > MANY:
            return
        for index, (glob, wanted) in enumerate(self.pins):
            pins = self.pins[:index] + self.pins[index + 1 :]
            name = wanted.key if isinstance(wanted, Option) else f"{wanted:g}"
            yield f"the pin {glob}={name}", dataclasses.replace(self, pins=pins)
        if self.min_bits is not None:
            yield (
                f"the least width of {self.min_bits:g} bits",
                dataclasses.replace(self, min_bits=None),
            )
        for index, (glob, least, _) in enumerate(self.limits):
            if least is not None:
                limits = self.limits[:index] + self.limits[index + 1 :]
                yield (
                    f"the least width of {least:g} bits for {glob}",
                    dataclasses.replace(self, limits=limits),
                )
        for index, tie in enumerate(self.ties):
            ties = self.ties[:index] + self.ties[index + 1 :]
            yield f"the tie of {tie}", dataclasses.replace(self, ties=ties)


def allowed_options(
    profile: Profile, menu: Sequence[Option], constraints: Constraints
) -> np.ndarray:
    """Which options of a menu the constraints leave open: shape (units, options), bool.

    Raises:
        ConstraintError: a glob matches nothing, or a width is not on the menu.
    """
    widths = np.array([option.bits for option in menu])
    allowed = np.ones((len(profile.units), len(menu)), dtype=bool)
    if constraints.min_bits is not None:
        allowed &= widths >= constraints.min_bits
    if constraints.max_bits is not None:
        allowed &= widths <= constraints.max_bits
    for glob, least, most in constraints.limits:
        limited = matching(profile.units, glob, "limit")
        low = -np.inf if least is None else least
        high = np.inf if most is None else most
        allowed[limited] &= (widths >= low) & (widths <= high)
    for glob, wanted in constraints.pins:
        pinned = [wanted in (option, option.bits) for option in menu]
        if not any(pinned):
            name = wanted.key if isinstance(wanted, Option) else f"{wanted}"
            raise ConstraintError(
                f"Cannot pin {glob!r} to {name} bits: there is no such width.",
                f"Widths on offer: {', '.join(option.key for option in menu)}.",
            )
        allowed[matching(profile.units, glob, "pin")] = pinned
    return allowed


def matching(units: Sequence[Unit], glob: str, what: str) -> list[int]:
    """Indices of the units whose names a glob matches.

    Args:
        units: the units.
        glob: the pattern.
        what: what the glob is for, such as "pin", for the message.

    Raises:
        ConstraintError: it matches none, or is too long.
    """
    if len(glob) > LONGEST_GLOB:
        raise ConstraintError(
            f"The {what} {glob[:40]!r} and so on has {len(glob):,} characters, and {LONGEST_GLOB} "
            "are the most.",
            f"Names look like {units[0].name}; * matches anything.",
        )
    matches = re.compile(fnmatch.translate(glob)).match
    indices = [i for i, unit in enumerate(units) if matches(unit.name)]
    if not indices:
        raise ConstraintError(
            f"The {what} {glob!r} matches no layer.",
            f"Names look like {units[0].name}; * matches anything.",
        )
    return indices


def tied_groups(units: Sequence[Unit], ties: Sequence[str], grain: str = "unit") -> np.ndarray:
    """The group of each unit, counted from 0 in the units' order, shape (units,), int64.

    Units of one group share their option.

    Args:
        units: the units.
        ties: see `Constraints`; ties that share a unit become one.
        grain: which units a target stores with the same option; see `targets.Target`.

    Raises:
        ConstraintError: a tie matches nothing.
    """
    leader = list(range(len(units)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    sets: dict[tuple[object, ...], list[int]] = {}
    for tie in ties:
        by_block = tie.startswith(BY_BLOCK)
        for index in matching(units, tie.removeprefix(BY_BLOCK).strip(), "tie"):
            unit = units[index]
            key = (tie, unit.part, unit.block) if by_block else (tie,)
            sets.setdefault(key, []).append(index)
    for index, unit in enumerate(units):
        if grain != "unit":
            sets.setdefault((unit.parameter if grain == "parameter" else "",), []).append(index)
    for members in sets.values():
        first = find(members[0])
        for member in members[1:]:
            low, high = sorted((first, find(member)))
            leader[high] = first = low
    roots = [find(index) for index in range(len(units))]
    number = {root: place for place, root in enumerate(sorted(set(roots)))}
    return np.array([number[root] for root in roots], dtype=np.int64)


def part_members(units: Sequence[Unit], budgets: Sequence[tuple[str, int]]) -> np.ndarray:
    """The units of each part that has a budget: shape (budgets, units), bool.

    Raises:
        ConstraintError: the model has no such part, a part has two budgets, or one is no size.
    """
    for part, most in budgets:
        if not 0 <= most < MOST_BYTES:
            raise ConstraintError(
                f"The budget of part {part!r} is no size that a part can have.",
                f"Give it 0 or more, and less than {MOST_BYTES:,} bytes.",
            )
    parts = [part for part, _ in budgets]
    for part in parts:
        if not any(unit.part == part for unit in units):
            known = ", ".join(p for p in PARTS if any(unit.part == p for unit in units))
            raise ConstraintError(f"There is no part {part!r}.", f"Parts of this model: {known}.")
    if len(set(parts)) < len(parts):
        raise ConstraintError("A part has two budgets.", "Give each part one.")
    members = np.zeros((len(parts), len(units)), dtype=bool)
    for row, part in enumerate(parts):
        members[row] = [unit.part == part for unit in units]
    return members
