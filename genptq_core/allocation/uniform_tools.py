"""What tools that store every matrix at one width could do: exact bytes, and a predicted loss.

whisper.cpp (ggml) stores two-dimensional weights in blocks of 32 along a row, each with a float16
scale, convolutions in float16, and norms, biases and positions in float32. For `rows` x `columns`
weights at b bits,

    rows * columns / 32 * (4 * b + 2)       q4_0, q5_0, q8_0: 18, 22 and 34 bytes a block

CTranslate2 stores every matrix and every convolution as int8 with a float32 scale a row,

    rows * columns + 4 * rows               int8

and the rest in float32 or float16. It joins Whisper's query, key and value into one layer with one
bias, so the key, which has none, gets zeros. What the architecture computes anew is stored by both.
Vocabulary and headers are not counted, as nowhere here.

The loss is predicted from this program's own rounding at the same width, in groups as near to the
tool's as the profile has them. The tools round to nearest, without calibration, so theirs is
larger; nothing of this is a measurement of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..options import UNQUANTIZED, Option
from ..profile import Profile
from ..units import Unit
from .predicted_loss import quadratic_loss

_BLOCK = 32
_CONVOLUTION = "convolution"


@dataclass(frozen=True)
class UniformTool:
    """A tool with one of its ways to store a whole model.

    Attributes:
        tool: the tool's name.
        way: what the tool calls it.
        bits: width of its integers.
        group_size: weights of a row that share a scale; 0 where the whole row does.
        families: the model families that the tool reads.
        quantizes: whether a unit is stored as integers; float16 if not.
        unit_bytes: bytes of a unit stored as integers, scales included.
        rest: bytes of each parameter that no unit covers.
        filled: whether layers without bias get one of zeros.
    """

    tool: str
    way: str
    bits: int
    group_size: int
    families: tuple[str, ...]
    quantizes: Callable[[Unit], bool]
    unit_bytes: Callable[[Unit], int]
    rest: int
    filled: bool = False


@dataclass(frozen=True)
class UniformPoint:
    """A model as a tool of one width would store it.

    Attributes:
        tool: the tool and its way.
        bytes: size of all parameters.
        exact: whether `bytes` is exact; where not, it is the most that it can be.
        option: this program's option whose rounding the loss is predicted from.
        loss: predicted loss, nats a token.
    """

    tool: UniformTool
    bytes: int
    exact: bool
    option: Option
    loss: float


def _is_no_convolution(unit: Unit) -> bool:
    return unit.kind != _CONVOLUTION


def _is_anything(unit: Unit) -> bool:
    return True


def _ggml(bits: int) -> UniformTool:
    def unit_bytes(unit: Unit) -> int:
        return unit.weights // _BLOCK * (_BLOCK * bits // 8 + 2)

    families = ("whisper",)
    return UniformTool(
        "whisper.cpp", f"q{bits}_0", bits, _BLOCK, families, _is_no_convolution, unit_bytes, 4
    )


def _ctranslate2(way: str, rest: int) -> UniformTool:
    def unit_bytes(unit: Unit) -> int:
        return unit.weights + 4 * unit.rows

    families = ("whisper", "wav2vec2")
    return UniformTool(
        "CTranslate2", way, 8, 0, families, _is_anything, unit_bytes, rest, filled=True
    )


UNIFORM_TOOLS = (
    _ggml(8),
    _ggml(5),
    _ggml(4),
    _ctranslate2("int8_float32", 4),
    _ctranslate2("int8_float16", 2),
)


def uniform_bytes(tool: UniformTool, profile: Profile) -> int | None:
    """Bytes of all parameters in a tool's way; None where the tool cannot store the model."""
    if profile.source.family not in tool.families:
        return None
    units = profile.units
    whole = [unit for unit in units if tool.quantizes(unit)]
    if tool.group_size and any(unit.columns % tool.group_size for unit in whole):
        return None
    rest = profile.source.parameters - sum(unit.weights for unit in units)
    if tool.filled and profile.source.family == "whisper":
        rest += sum(unit.rows for unit in units if unit.parameter.endswith(".k_proj.weight"))
    size = tool.rest * rest
    for unit in units:
        size += tool.unit_bytes(unit) if tool.quantizes(unit) else 2 * unit.weights
    return size


def uniform_points(profile: Profile) -> tuple[UniformPoint, ...]:
    """What tools of one width could do with a profile's model, of each that reads it.

    A tool is left out where the profile has no integers of its width to predict from.
    """
    loss = quadratic_loss(profile)
    found = []
    for tool in UNIFORM_TOOLS:
        size, option = uniform_bytes(tool, profile), _nearest(tool, profile.menu)
        if size is None or option is None:
            continue
        choice = [
            profile.menu.index(option if tool.quantizes(unit) else UNQUANTIZED)
            for unit in profile.units
        ]
        # Grouped and very narrow convolutions of other families are no units; CTranslate2 may
        # store those as int8, and a profile does not say which of the rest they are.
        exact = profile.source.family == "whisper"
        found.append(UniformPoint(tool, size, exact, option, float(loss(np.array(choice)))))
    return tuple(found)


def _nearest(tool: UniformTool, menu: tuple[Option, ...]) -> Option | None:
    """Integers of a tool's width, in groups as near to its own as there are."""
    same = [option for option in menu if option.form == "grid" and option.bits == tool.bits]
    if not tool.group_size:
        return max(same, key=lambda option: option.group_size, default=None)
    return min(same, key=lambda option: abs(option.group_size - tool.group_size), default=None)
