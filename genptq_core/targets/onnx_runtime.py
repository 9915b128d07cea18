"""ONNX Runtime: MatMulNBits and GatherBlockQuantized at 2, 4 and 8 bits, a width a node.

Units of Linear modules and of the embedding, row blocks too, are integers in groups of 16, 32, 64
... along a row; what is left of a group would be padded, so groups must divide a row. For `rows` x
`columns` weights at b bits in groups of g,

    rows * columns * b / 8                      codes
    + 2 * rows * columns / g                    scales, float16
    + rows * ceil(columns / g * b / 8)          zero points, each row filled up to bytes

and 2 bytes a weight where it stays at 16 bit. What the architecture computes anew is stored too.
"""

from __future__ import annotations

from ..options import Option
from ..units import Unit
from .compressed_tensors import LINEAR

NAME = "onnx_runtime"
WIDTHS = (2, 4, 8)
_KINDS = (*LINEAR, "embedding")
_LEAST_GROUP = 16


def holds(unit: Unit, option: Option) -> bool:
    """Whether a unit can be stored in a way."""
    if option.form == "half":
        return True
    size = option.group_size
    sound = option.bits in WIDTHS and size >= _LEAST_GROUP and size & (size - 1) == 0
    return sound and unit.kind in _KINDS and unit.columns % size == 0


def unit_bytes(unit: Unit, option: Option) -> int:
    """Bytes of one unit stored in one way, all that it needs included."""
    if option.form == "half":
        return 2 * unit.weights
    bits, groups = int(option.bits), unit.columns // max(option.group_size, 1)
    return unit.weights * bits // 8 + unit.rows * (2 * groups + -(-groups * bits // 8))
