"""Constraints as the command line writes them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from ..allocation.constraints import Constraints
from ..errors import ConstraintError
from ..options import Option


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    parser.add_argument(
        "--pin", action="append", default=[], metavar="GLOB=BITS", help="fix the width of layers"
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="leave layers at 16 bit"
    )
    for side in ("min", "max"):
        parser.add_argument(
            f"--{side}-bits",
            action="append",
            default=[],
            metavar="[GLOB=]BITS",
            help=f"{'least' if side == 'min' else 'most'} bits, of all layers or of some",
        )
    parser.add_argument(
        "--tie",
        action="append",
        default=[],
        metavar="[block:]GLOB",
        help="layers that share their option; after block: those of one block",
    )
    parser.add_argument(
        "--budget",
        action="append",
        default=[],
        metavar="PART=MB",
        help="size of the encoder's, decoder's or embedding's weights, 10^6 bytes",
    )


def from_flags(flags: argparse.Namespace) -> Constraints:
    """The constraints that the flags state.

    Raises:
        ConstraintError: one is malformed.
    """
    min_bits, some_min_bits = _bounds(flags.min_bits, "--min-bits")
    max_bits, some_max_bits = _bounds(flags.max_bits, "--max-bits")
    return Constraints(
        pins=(*_pins(flags.pin), *((glob, 16) for glob in flags.exclude)),
        min_bits=min_bits,
        max_bits=max_bits,
        limits=(
            *((glob, bits, None) for glob, bits in some_min_bits),
            *((glob, None, bits) for glob, bits in some_max_bits),
        ),
        ties=tuple(flags.tie),
        budgets=_budgets(flags.budget),
    )


def _pins(texts: Sequence[str]) -> tuple[tuple[str, float | Option], ...]:
    """Pins: `GLOB=BITS` for every option of a width, `GLOB=BITS/GROUP` for one option."""
    pins: list[tuple[str, float | Option]] = []
    for text in texts:
        glob, _, bits = text.rpartition("=")
        try:
            option = Option.parse(bits.strip())
        except ValueError:
            glob = ""
        if not glob.strip():
            raise ConstraintError(
                f"The pin {text!r} is not GLOB=BITS.", "Like '*fc2*=4', or '*fc2*=4/64'."
            )
        pins.append((glob.strip(), option if option.group_size or option.block else option.bits))
    return tuple(pins)


def _bounds(texts: Sequence[str], flag: str) -> tuple[float | None, list[tuple[str, float]]]:
    """The bound for all layers, the last one given, and the bounds for some."""
    everywhere: float | None = None
    some = []
    for text in texts:
        glob, _, bits = text.rpartition("=")
        value = _number(bits)
        if value is None:
            raise ConstraintError(
                f"{flag} {text!r} is not BITS or GLOB=BITS.", "Like 3 or '*fc*=3'."
            )
        if glob.strip():
            some.append((glob.strip(), value))
        else:
            everywhere = value
    return everywhere, some


def _budgets(texts: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Parts of the model, each with the most bytes that its weights may take."""
    budgets = []
    for text in texts:
        part, _, size = text.rpartition("=")
        megabytes = _number(size)
        if not part.strip() or megabytes is None or not 0 < megabytes < 1e9:
            raise ConstraintError(
                f"The budget {text!r} is not PART=MB.", "Like 'encoder=4' or 'embedding=6.5'."
            )
        budgets.append((part.strip(), whole_bytes(megabytes)))
    return tuple(budgets)


def whole_bytes(megabytes: float) -> int:
    """Bytes in a size in MB of 10^6 bytes, rounded down.

    Decimal megabytes are rarely exact in binary; a millionth of a byte makes 20.123 whole.
    """
    return int(megabytes * 1e6 + 1e-6)


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
