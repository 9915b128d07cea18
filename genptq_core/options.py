"""Options: the ways a unit can be stored, each a width with a group size or an entropy code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import ConstraintError

_KEY = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?)(?:/([1-9][0-9]{0,5}))?")


@dataclass(frozen=True, order=True)
class Option:
    """One way to store a unit's weights.

    Attributes:
        bits: bits per weight: of an integer code, without its scales; of an entropy code, with
            everything it needs; 16 for float16. Rounded to a thousandth, so that a key is exact.
        group_size: columns that share a scale; 0 if there are no groups.

    Raises:
        ValueError: no weight can be stored like that.
    """

    bits: float
    group_size: int = 0

    def __post_init__(self) -> None:
        if self.group_size:
            sound = self.group_size > 0 and self.bits in range(1, 9)
        else:
            sound = 1e-3 <= self.bits <= 16 and abs(round(self.bits, 3) - self.bits) < 1e-9
        if not sound:
            raise ValueError(f"no weight is stored at {self.bits!r} bits/{self.group_size!r}")
        bits = round(float(self.bits), 3)
        object.__setattr__(self, "bits", int(bits) if bits == int(bits) else bits)  # 3, not 3.0

    @property
    def form(self) -> str:
        """ "grid" (integers in groups), "coded" (entropy-coded) or "half" (float16)."""
        if self.group_size:
            return "grid"
        return "half" if self.bits == 16 else "coded"

    @property
    def key(self) -> str:
        """The name in files: "3/64", "2.75" or "16"."""
        return f"{self.bits}/{self.group_size}" if self.group_size else f"{self.bits}"

    @property
    def label(self) -> str:
        """The name in messages and on the page."""
        if self.form == "half":
            return "16 bit, as it is"
        coding = f"groups of {self.group_size}" if self.group_size else "entropy-coded"
        return f"{self.bits} bit, {coding}"

    @staticmethod
    def parse(key: object) -> Option:
        """The option that a key names.

        Raises:
            ValueError: it is not a key.
        """
        match = _KEY.fullmatch(key) if isinstance(key, str) else None
        if match is None:
            raise ValueError(f"{key!r} names no way to store a weight")
        return Option(float(match[1]), int(match[2] or 0))


UNQUANTIZED = Option(16)
"""The unit is left as it is, in float16."""

RATES = (1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.5, 4, 5, 6, 8)
"""Bits per weight of the entropy codes that a profile offers by default."""

USUAL_GROUP = 64
"""The group size that is meant if only a width is given."""


def grid_options(bits: Iterable[int], group_sizes: Iterable[int]) -> tuple[Option, ...]:
    """Integer codes of every width in groups of every size, sorted by width."""
    sizes = sorted(set(group_sizes), reverse=True)
    return tuple(Option(width, size) for width in sorted(set(bits)) for size in sizes)


def coded_options(rates: Iterable[float]) -> tuple[Option, ...]:
    """Entropy codes of every rate, sorted."""
    return tuple(Option(rate) for rate in sorted(set(rates)))


def resolve(menu: Sequence[Option], wanted: float | str | Option, where: str = "") -> Option:
    """The option of a menu that a width, a key or an option means.

    A bare width means the entropy code of that rate if the menu has one, else groups of 64, else
    the largest groups on the menu.

    Args:
        menu: the options to choose from.
        wanted: a width, a key or an option.
        where: what asks for it, for messages.

    Raises:
        ConstraintError: the menu has no such option.
    """
    choice: Option | None
    if isinstance(wanted, Option):
        choice = wanted if wanted in menu else None
    elif isinstance(wanted, str) and "/" in wanted:
        try:
            choice = resolve(menu, Option.parse(wanted), where)
        except ValueError:
            choice = None
    else:
        try:
            width = float(wanted)
        except (TypeError, ValueError, OverflowError):
            width = float("nan")
        same = [option for option in menu if option.bits == width]
        preferred = {0: 2, USUAL_GROUP: 1}
        choice = max(
            same, key=lambda o: (preferred.get(o.group_size, 0), o.group_size), default=None
        )
    if choice is None:
        name = wanted.key if isinstance(wanted, Option) else wanted
        raise ConstraintError(
            f"{where}{' is given' if where else 'There is no'} width {name}"
            + (", which the profile does not offer." if where else " on the menu."),
            f"Widths on offer: {', '.join(option.key for option in menu)}.",
        )
    return choice
