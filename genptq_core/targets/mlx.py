"""MLX: affine integers of 2, 3, 4, 5, 6 and 8 bits in groups of 32, 64 and 128.

Linear modules and the embedding are integers; the embedding is one tensor, so all its row blocks
have one option. Convolutions and everything else stay at 16 bit. For `rows` x `columns` weights at
b bits in groups of g, which must divide a row,

    rows * columns * b / 8                      codes, in 32-bit words
    + 4 * rows * columns / g                    scales and biases, float16

and 2 bytes per weight at 16 bit. The encoder's positions are a formula and are not stored.
"""

from __future__ import annotations

from ..options import Option
from ..units import Unit
from .compressed_tensors import LINEAR

NAME = "mlx"
WIDTHS = (2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)
_KINDS = (*LINEAR, "embedding")


def holds(unit: Unit, option: Option) -> bool:
    """Whether a unit can be stored with an option."""
    if option.form == "half":
        return True
    sound = option.form == "grid" and option.bits in WIDTHS and option.group_size in GROUPS
    return sound and quantizable(unit) and unit.columns % option.group_size == 0


def quantizable(unit: Unit) -> bool:
    """Whether a unit can be stored in integers of some width."""
    return unit.kind in _KINDS and unit.columns % min(GROUPS) == 0


def unit_bytes(unit: Unit, option: Option) -> int:
    """Bytes of a unit stored with an option, including its scales and biases."""
    if option.form == "half":
        return 2 * unit.weights
    groups = -(-unit.columns // option.group_size)
    return -(-unit.weights * int(option.bits) // 8) + 4 * unit.rows * groups
