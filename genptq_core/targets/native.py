"""The native format: dense codes, float16 scales, zero points of the codes' own width.

For a unit of `rows` x `columns` weights at `bits` in groups of `g` along a row:

    bytes = ceil(rows * columns * bits / 8)            codes, dense
          + 2 * rows * ceil(columns / g)               scales, float16
          + ceil(rows * ceil(columns / g) * bits / 8)  zero points, dense

and 2 bytes a weight where the unit stays at 16 bit. Everything else in the model (norms, biases,
convolutions, positions) stays at 16 bit too; tied tensors are stored, and counted, once.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..units import UNQUANTIZED, Unit

NAME = "native"


def unit_bytes(unit: Unit, bits: int, group_size: int) -> int:
    """Bytes of one unit at one width, scales and zero points included."""
    if bits == UNQUANTIZED:
        return 2 * unit.weights
    grids = unit.rows * -(-unit.columns // group_size)
    return -(-unit.weights * bits // 8) + 2 * grids + -(-grids * bits // 8)


def kept_bytes(parameters: int, units: Sequence[Unit]) -> int:
    """Bytes of all that no unit covers, at 16 bit."""
    return 2 * (parameters - sum(unit.weights for unit in units))
