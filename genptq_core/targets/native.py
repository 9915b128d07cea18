"""The native format: entropy-coded weights, or dense integer codes with group scales.

For a unit of `rows` x `columns` weights, bytes are

    entropy-coded at b bits     ceil(rows * columns * b / 8), tables and steps included; codes
                                that take less are padded; the same of a block type
    integers of b bits in       ceil(rows * columns * b / 8)            codes, dense
    groups of g along a row     + 2 * rows * ceil(columns / g)          scales, float16
                                + ceil(rows * ceil(columns / g) * b / 8)  zero points, dense

and 2 bytes per weight if the unit stays at 16 bit. Everything else in the model (norms, biases)
stays at 16 bit too; tied tensors are stored, and counted, once. Parameters that follow from a
formula, such as sinusoidal positions, are not stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..options import Option
from ..units import Unit

NAME = "native"


def unit_bytes(unit: Unit, option: Option) -> int:
    """Bytes of a unit stored with an option, including its scales and padding."""
    if option.form == "half":
        return 2 * unit.weights
    codes = math.ceil(unit.weights * option.bits / 8)
    if option.form in ("coded", "block"):
        return codes
    grids = unit.rows * -(-unit.columns // option.group_size)
    return codes + 2 * grids + math.ceil(grids * option.bits / 8)


def fixed_bytes(stored: int, units: Sequence[Unit]) -> int:
    """Bytes of the stored parameters that are in no unit, at 16 bit."""
    return 2 * (stored - sum(unit.weights for unit in units))
