"""GGUF for transcribe.cpp: one of ggml's block types for each matrix, all rows of it alike.

Blocks of 32 or 256 weights must divide a row. For `rows` x `columns` weights in a type whose
blocks of w weights take n bytes,

    rows * columns / w * n

and 2 bytes per weight at 16 bit, which convolutions stay at, those of a Conformer's blocks and its
head among them. All other parameters, norms, biases and positions, are float32: 4 bytes each.
Parameters that follow from a formula are stored too.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..options import BLOCK_WEIGHTS, Option, divides
from ..units import Unit

NAME = "gguf"
FAMILIES = ("whisper", "parakeet_ctc", "parakeet_tdt", "parakeet_rnnt")
CONVOLUTIONS = ("convolution", "conv-module", "output")
"""Kinds of units that transcribe.cpp loads as convolutions, at 16 bit only."""

WIDENED = ("prediction", "joint")
"""Kinds of units, of a transducer, that transcribe.cpp makes float32 when it loads them."""


def holds(unit: Unit, option: Option) -> bool:
    """Whether a unit can be stored with an option."""
    if option.form == "half":
        return True
    return unit.kind not in CONVOLUTIONS and divides(option, unit.columns)


def unit_bytes(unit: Unit, option: Option) -> int:
    """Bytes of a unit stored with an option, including its scales."""
    if option.form == "half":
        return 2 * unit.weights
    size = BLOCK_WEIGHTS[option.block]
    return unit.weights // size * int(size * option.bits / 8)


def fixed_bytes(stored: int, units: Sequence[Unit]) -> int:
    """Bytes of the stored parameters that are in no unit, as float32."""
    return 4 * (stored - sum(unit.weights for unit in units))
