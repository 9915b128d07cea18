"""Lists and pins as the command line writes them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .errors import ConstraintError
from .options import Option


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
