"""Constraints: what a user or a target demands of every allocation."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import ConstraintError
from .options import Option
from .profile import Profile


@dataclass(frozen=True)
class Constraints:
    """What a user demands of every allocation.

    Attributes:
        pins: (glob over unit names, width or option) pairs, later ones winning; a bare width
            leaves every option of that width open.
        min_bits: no unit goes below this.
        max_bits: no unit goes above this.
    """

    pins: tuple[tuple[str, float | Option], ...] = ()
    min_bits: float | None = None
    max_bits: float | None = None


def allowed_options(
    profile: Profile, menu: Sequence[Option], constraints: Constraints
) -> np.ndarray:
    """Which options of a menu the constraints leave open: shape (units, options), bool."""
    widths = np.array([option.bits for option in menu])
    allowed = np.ones((len(profile.units), len(menu)), dtype=bool)
    if constraints.min_bits is not None:
        allowed &= widths >= constraints.min_bits
    if constraints.max_bits is not None:
        allowed &= widths <= constraints.max_bits
    for glob, wanted in constraints.pins:
        meant = [wanted in (option, option.bits) for option in menu]
        if not any(meant):
            name = wanted.key if isinstance(wanted, Option) else f"{wanted}"
            raise ConstraintError(
                f"Cannot pin {glob!r} to {name} bits: there is no such width.",
                f"Widths on offer: {', '.join(option.key for option in menu)}.",
            )
        matches = [
            i for i, unit in enumerate(profile.units) if fnmatch.fnmatchcase(unit.name, glob)
        ]
        if not matches:
            raise ConstraintError(
                f"The pin {glob!r} matches no layer.",
                f"Names look like {profile.units[0].name}; * matches anything.",
            )
        allowed[matches] = meant
    return allowed
