"""Constraints: what a user or a target demands of every allocation."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

import numpy as np

from .errors import ConstraintError
from .profile import Profile


@dataclass(frozen=True)
class Constraints:
    """What a user demands of every allocation.

    Attributes:
        pins: (glob over unit names, width) pairs, later ones winning.
        min_bits: no unit goes below this.
        max_bits: no unit goes above this.
    """

    pins: tuple[tuple[str, int], ...] = ()
    min_bits: int | None = None
    max_bits: int | None = None


def allowed_options(profile: Profile, constraints: Constraints) -> np.ndarray:
    """Which options the constraints leave open: shape (units, widths), bool."""
    menu = np.array(profile.menu)
    allowed = np.ones((len(profile.units), len(menu)), dtype=bool)
    if constraints.min_bits is not None:
        allowed &= menu >= constraints.min_bits
    if constraints.max_bits is not None:
        allowed &= menu <= constraints.max_bits
    for glob, bits in constraints.pins:
        if bits not in profile.menu:
            raise ConstraintError(
                f"Cannot pin {glob!r} to {bits} bits: the profile has no such width.",
                f"Widths on offer: {', '.join(map(str, profile.menu))}.",
            )
        matches = [
            i for i, unit in enumerate(profile.units) if fnmatch.fnmatchcase(unit.name, glob)
        ]
        if not matches:
            raise ConstraintError(
                f"The pin {glob!r} matches no layer.",
                f"Names look like {profile.units[0].name}; * matches anything.",
            )
        allowed[matches] = menu == bits
    return allowed
