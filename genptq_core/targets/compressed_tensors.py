"""compressed-tensors' `pack-quantized` format: integers in groups, one width per module.

`transformers` loads it, and unpacks Linear modules at 1 to 8 bits; everything else, including the
embedding and the output projection that is tied to it, stays at 16 bit. For a module of `rows` x
`columns` weights at b bits in groups of g,

    rows * ceil(columns * b / 32) * 4       codes, each row padded to 32-bit words
    + 3 * rows * columns / g                scales, float16, and zero points, int8
    + 16                                    the weight's shape

and 2 bytes per weight at 16 bit. Parameters that follow from a formula are stored too.
"""

from __future__ import annotations

from ..options import Option
from ..units import Unit

NAME = "compressed_tensors"
LINEAR = ("attention", "cross-attention", "feed-forward")
"""Kinds of units that are Linear modules."""


def holds(unit: Unit, option: Option) -> bool:
    """Whether a unit can be stored with an option."""
    if option.form == "half":
        return True
    return unit.kind in LINEAR and unit.columns % option.group_size == 0


def unit_bytes(unit: Unit, option: Option) -> int:
    """Bytes of a unit stored with an option, including its scales and padding."""
    if option.form == "half":
        return 2 * unit.weights
    codes = 4 * unit.rows * -(-unit.columns * int(option.bits) // 32)
    return codes + 3 * unit.rows * (unit.columns // option.group_size) + 16
