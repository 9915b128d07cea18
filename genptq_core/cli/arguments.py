"""Lists and constraints as the command line writes them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from ..allocation.constraints import Constraints
from ..errors import ConstraintError
from ..options import Option


def _numbers(text: str, least: float, most: float, example: str) -> tuple[float, ...]:
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or not (least <= found[0] and found[-1] <= most):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list like {example}, from {least:g} to {most:g}"
        )
    return tuple(found)


def _whole(text: str, least: int, most: int, example: str) -> tuple[int, ...]:
    found = _numbers(text, least, most, example)
    if any(number != int(number) for number in found):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers like {example}")
    return tuple(int(number) for number in found)


def widths(text: str) -> tuple[int, ...]:
    """Widths of integer grids; 0 for none."""
    return () if text == "0" else _whole(text, 1, 8, "2,3,4,8")


def sizes(text: str) -> tuple[int, ...]:
    """Group sizes."""
    return _whole(text, 8, 4096, "32,64,128")


def rates(text: str) -> tuple[float, ...]:
    """Rates of entropy codes; 0 for none."""
    found = () if text == "0" else _numbers(text, 1, 8, "2,2.5,3")
    if any(round(rate, 3) != rate for rate in found):
        raise argparse.ArgumentTypeError(f"{text!r}: rates go by thousandths of a bit")
    return found


def pins(texts: Sequence[str]) -> tuple[tuple[str, float | Option], ...]:
    """Pins, `GLOB=BITS` for every option of a width or `GLOB=BITS/GROUP` for one.

    Raises:
        ConstraintError: one is neither.
    """
    found: list[tuple[str, float | Option]] = []
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
        found.append((glob.strip(), option if "/" in bits else option.bits))
    return tuple(found)


def add_constraints(parser: argparse.ArgumentParser) -> None:
    """The flags that `constraints` reads."""
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


def constraints(options: argparse.Namespace) -> Constraints:
    """What the flags of `add_constraints` demand.

    Raises:
        ConstraintError: one is malformed.
    """
    least, some_least = _bounds(options.min_bits, "--min-bits")
    most, some_most = _bounds(options.max_bits, "--max-bits")
    budgets = []
    for text in options.budget:
        part, _, size = text.rpartition("=")
        value = _number(size)
        if not part.strip() or value is None or not 0 < value < 1e9:
            raise ConstraintError(
                f"The budget {text!r} is not PART=MB.", "Like 'encoder=4' or 'embedding=6.5'."
            )
        budgets.append((part.strip(), int(value * 1e6 + 1e-6)))
    return Constraints(
        pins=(*pins(options.pin), *((glob, 16) for glob in options.exclude)),
        min_bits=least,
        max_bits=most,
        limits=(
            *((glob, bits, None) for glob, bits in some_least),
            *((glob, None, bits) for glob, bits in some_most),
        ),
        ties=tuple(options.tie),
        budgets=tuple(budgets),
    )


def _bounds(texts: Sequence[str], flag: str) -> tuple[float | None, list[tuple[str, float]]]:
    """A bound for all layers, the last given, and bounds for some."""
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


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
