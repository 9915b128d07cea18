"""Options: the ways a unit can be stored: integers in groups, an entropy code, a block type."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import ConstraintError

BLOCKS = {
    "q4_0": 4.5,
    "q4_1": 5,
    "q5_0": 5.5,
    "q5_1": 6,
    "q8_0": 8.5,
    "q4_k": 4.5,
    "q5_k": 5.5,
    "q6_k": 6.5625,
}
"""Bits per weight of ggml's block types, scales included, by name."""

_KEY = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?)(?:/([1-9][0-9]{0,5}))?")


@dataclass(frozen=True, order=True, repr=False)
class Option:
    """One way to store a unit's weights.

    Attributes:
        bits: bits per weight: of an integer code, without its scales; of an entropy code and of
            a block type, with everything it needs; 16 for float16. Rounded to a thousandth, but
            for block types, so that a key is exact.
        group_size: columns that share a scale; 0 if there are no groups, or a block type has them.
        block: name of the block type; "" if there is none.

    Raises:
        ValueError: no weight can be stored like that.
    """

    bits: float
    group_size: int = 0
    block: str = ""

    def __post_init__(self) -> None:
        if self.block:
            if self.group_size or BLOCKS.get(self.block) != self.bits:
                raise ValueError(f"no weight is stored at {self.bits!r} bits as {self.block!r}")
            return
        if self.group_size:
            sound = self.group_size > 0 and self.bits in range(1, 9)
        else:
            sound = 1e-3 <= self.bits <= 16 and abs(round(self.bits, 3) - self.bits) < 1e-9
        if not sound:
            raise ValueError(f"no weight is stored at {self.bits!r} bits/{self.group_size!r}")
        bits = round(float(self.bits), 3)
        object.__setattr__(self, "bits", int(bits) if bits == int(bits) else bits)  # 3, not 3.0

    def __repr__(self) -> str:
        block = f", block={self.block!r}" if self.block else ""
        return f"Option(bits={self.bits!r}, group_size={self.group_size!r}{block})"

    @property
    def form(self) -> str:
        """ "grid" (integers in groups), "coded" (entropy-coded), "block" or "half" (float16)."""
        if self.block:
            return "block"
        if self.group_size:
            return "grid"
        return "half" if self.bits == 16 else "coded"

    @property
    def key(self) -> str:
        """The name in files: "3/64", "2.75", "q4_0" or "16"."""
        if self.block:
            return self.block
        return f"{self.bits}/{self.group_size}" if self.group_size else f"{self.bits}"

    @property
    def label(self) -> str:
        """The name in messages and on the page."""
        if self.form == "half":
            return "16 bit, as it is"
        if self.block:
            return f"{self.bits} bit, {self.block}"
        coding = f"groups of {self.group_size}" if self.group_size else "entropy-coded"
        return f"{self.bits} bit, {coding}"

    @staticmethod
    def parse(key: object) -> Option:
        """The option that a key names.

        Raises:
            ValueError: it is not a key.
        """
        if isinstance(key, str) and key in BLOCKS:
            return block_option(key)
        match = _KEY.fullmatch(key) if isinstance(key, str) else None
        if match is None:
            raise ValueError(f"{key!r} names no way to store a weight")
        return Option(float(match[1]), int(match[2] or 0))


BLOCK_WEIGHTS = {name: 256 if name.endswith("k") else 32 for name in BLOCKS}
"""Weights of a row in one block, by the block type's name."""


def divides(option: Option, columns: int) -> bool:
    """Whether rows of so many columns can be stored: blocks must divide them."""
    return not option.block or columns % BLOCK_WEIGHTS[option.block] == 0


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


def block_option(name: str) -> Option:
    """The option of a block type.

    Raises:
        ValueError: there is no such type.
    """
    if name not in BLOCKS:
        raise ValueError(f"{name!r} is no block type")
    return Option(BLOCKS[name], block=name)


def block_options(names: Iterable[str]) -> tuple[Option, ...]:
    """Block types, each once, in the order of `BLOCKS`.

    Raises:
        ValueError: one of them is none.
    """
    asked = {block_option(name) for name in names}
    return tuple(block_option(name) for name in BLOCKS if block_option(name) in asked)


def resolve(menu: Sequence[Option], wanted: float | str | Option, where: str = "") -> Option:
    """The option of a menu that a width, a key or an option means.

    A bare width means the entropy code of that rate if the menu has one, else groups of 64, else
    the largest groups on the menu, else the first block type of that width.

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
    elif isinstance(wanted, str) and ("/" in wanted or wanted in BLOCKS):
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
            same,
            key=lambda o: (not o.block, preferred.get(o.group_size, 0), o.group_size),
            default=None,
        )
    if choice is None:
        name = wanted.key if isinstance(wanted, Option) else wanted
        raise ConstraintError(
            f"{where}{' is given' if where else 'There is no'} width {name}"
            + (", which the profile does not offer." if where else " on the menu."),
            f"Widths on offer: {', '.join(option.key for option in menu)}.",
        )
    return choice
