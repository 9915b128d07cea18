"""ONNX Runtime: MatMulNBits and GatherBlockQuantized at 2, 4 and 8 bits, one width per node.

Linear modules and row blocks of the embedding are integers in groups of 16, 32, 64 ... along a
row; a shorter last group would be padded, so groups must divide a row. For `rows` x `columns`
weights at b bits in groups of g,

    rows * columns * b / 8                      codes
    + 2 * rows * columns / g                    scales, float16
    + rows * ceil(columns / g * b / 8)          zero points, each row padded to bytes

and 2 bytes per weight at 16 bit. Parameters that follow from a formula are stored too.
"""

from __future__ import annotations

from ..options import Option
from ..units import Unit
from .compressed_tensors import LINEAR

NAME = "onnx_runtime"
WIDTHS = (2, 4, 8)
_KINDS = (*LINEAR, "embedding")
LEAST_GROUP = 16


def holds(unit: Unit, option: Option) -> bool:
    """Whether a unit can be stored with an option."""
    if option.form == "half":
        return True
    size = option.group_size
    sound = option.bits in WIDTHS and size >= LEAST_GROUP and size & (size - 1) == 0
    return sound and unit.kind in _KINDS and unit.columns % size == 0


def unit_bytes(unit: Unit, option: Option) -> int:
    """Bytes of a unit stored with an option, including its scales and padding."""
    if option.form == "half":
        return 2 * unit.weights
    bits, groups = int(option.bits), unit.columns // max(option.group_size, 1)
    return unit.weights * bits // 8 + unit.rows * (2 * groups + -(-groups * bits // 8))
