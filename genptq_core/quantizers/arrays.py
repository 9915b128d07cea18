"""Weights from the arrays that a file holds of them: without torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..options import Option
from .codec import decode, multiplied
from .ggml import unpack as unpack_blocks
from .packing import unpack


def restored_array(
    parts: Mapping[str, np.ndarray], option: Option, rows: int, columns: int
) -> np.ndarray:
    """The weight that stored arrays stand for, to the bit as `quantizers.restored` gives it.

    Args:
        parts: by the last part of their names, as `tensors.as_tensors` gives them.
        option: how the weight is stored.
        rows, columns: its shape.

    Returns:
        Shape (rows, columns), float32.

    Raises:
        KeyError: an array is missing.
        ValueError: an array has another size than it should.
        ExportError: codes cannot be read.
    """
    if option.form == "half":
        return parts["half"].astype(np.float32).reshape(rows, columns)
    if option.form == "coded":
        return multiplied(*decode(parts["coded"].tobytes(), rows, columns))
    if option.form == "block":
        return unpack_blocks(option.block, parts["blocks"], columns)
    bits, size = int(option.bits), option.group_size
    groups = -(-columns // size)
    scale = parts["scales"].astype(np.float32).reshape(rows, groups)
    zero = unpack(parts["zeros"], bits, (rows, groups)).astype(np.float32)
    weight = unpack(parts["codes"], bits, (rows, columns)).astype(np.float32)
    for values, combine in ((zero, np.subtract), (scale, np.multiply)):
        # A whole number of groups first, then the shorter one at the end of each row.
        whole = columns // size
        inner = weight[:, : whole * size].reshape(rows, whole, size)
        combine(inner, values[:, :whole, None], out=inner)
        weight[:, : whole * size] = inner.reshape(rows, whole * size)
        if whole < groups:
            combine(weight[:, whole * size :], values[:, whole:], out=weight[:, whole * size :])
    return weight
