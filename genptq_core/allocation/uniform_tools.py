"""Bytes and predicted losses of tools that store every matrix at one width.

whisper.cpp (ggml) stores two-dimensional weights in blocks of 32 along a row, each with a float16
scale, convolutions in float16, and norms, biases and positions in float32. For `rows` x `columns`
weights at b bits,

    rows * columns / 32 * (4 * b + 2)       q4_0, q5_0, q8_0: 18, 22 and 34 bytes per block

CTranslate2 stores every matrix and every convolution as int8 with a float32 scale per row,

    rows * columns + 4 * rows               int8

and everything else in float32 or float16. It joins Whisper's query, key and value into one layer
with one bias, so the key, which has none, gets zeros. Both tools also store what the architecture
can compute, such as Whisper's encoder positions. Vocabulary and headers are not counted.

The loss is predicted from this program's own rounding at the same width, in groups as close to the
tool's as the profile offers. The tools round to nearest, without calibration, so their loss is
larger; it is not measured here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..options import UNQUANTIZED, Option
from ..profile import Profile
from ..targets.runtimes import in_integer_rows, unbiased_rows
from ..units import Unit
from .predicted_loss import QuadraticLoss, quadratic_loss

_BLOCK = 32  # weights of a row that share a scale in ggml


@dataclass(frozen=True)
class UniformTool:
    """A tool with one of its ways to store a whole model.

    Attributes:
        tool: the tool's name.
        way: the tool's name for the way.
        bits: width of its integers.
        group_size: weights of a row that share a scale; 0 where the whole row does.
        families: the model families that the tool reads.
        quantizes: whether a unit is stored as integers; float16 if not.
        unit_bytes: bytes of a unit stored as integers, scales included.
        rest: bytes of each weight that no unit covers.
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
        exact: whether `bytes` is exact; if not, the real size may be smaller.
        option: this program's option whose rounding the loss is predicted from.
        loss: predicted loss, nats per token.
    """

    tool: UniformTool
    bytes: int
    exact: bool
    option: Option
    loss: float


def _is_matrix(unit: Unit) -> bool:
    return unit.kind != "convolution"


def _is_anything(unit: Unit) -> bool:
    return True


def _ggml(bits: int) -> UniformTool:
    def unit_bytes(unit: Unit) -> int:
        return unit.weights // _BLOCK * (_BLOCK * bits // 8 + 2)

    return UniformTool(
        tool="whisper.cpp",
        way=f"q{bits}_0",
        bits=bits,
        group_size=_BLOCK,
        families=("whisper",),
        quantizes=_is_matrix,
        unit_bytes=unit_bytes,
        rest=4,
    )


def _ctranslate2(way: str, rest: int) -> UniformTool:
    return UniformTool(
        tool="CTranslate2",
        way=way,
        bits=8,
        group_size=0,
        families=("whisper", "wav2vec2"),
        quantizes=_is_anything,
        unit_bytes=in_integer_rows,
        rest=rest,
        filled=True,
    )


UNIFORM_TOOLS = (
    _ggml(8),
    _ggml(5),
    _ggml(4),
    _ctranslate2("int8_float32", 4),
    _ctranslate2("int8_float16", 2),
)


def uniform_bytes(tool: UniformTool, profile: Profile) -> int | None:
    """Bytes of all parameters as a tool stores them; None where it cannot store the model."""
    if profile.source.family not in tool.families:
        return None
    units = profile.units
    quantized = [unit for unit in units if tool.quantizes(unit)]
    if tool.group_size and any(unit.columns % tool.group_size for unit in quantized):
        return None
    uncovered = profile.source.parameters - sum(unit.weights for unit in units)
    if tool.filled and profile.source.family == "whisper":
        uncovered += unbiased_rows(units)
    size = tool.rest * uncovered
    for unit in units:
        size += tool.unit_bytes(unit) if tool.quantizes(unit) else 2 * unit.weights
    return size


def uniform_points(profile: Profile, loss: QuadraticLoss | None = None) -> tuple[UniformPoint, ...]:
    """A profile's model as every tool that reads it would store it.

    A tool is left out where the profile has no integers of its width to predict from.

    Args:
        profile: the profile.
        loss: predicted loss over the profile's whole menu; `quadratic_loss(profile)` if absent.
    """
    loss = loss or quadratic_loss(profile)
    points = []
    for tool in UNIFORM_TOOLS:
        size, option = uniform_bytes(tool, profile), _nearest(tool, profile.menu)
        if size is None or option is None:
            continue
        choice = [
            profile.menu.index(option if tool.quantizes(unit) else UNQUANTIZED)
            for unit in profile.units
        ]
        # Grouped and very narrow convolutions of other families are not units. CTranslate2 may
        # store them as int8, and a profile does not say how large they are.
        exact = profile.source.family == "whisper"
        predicted = float(loss(np.array(choice)))
        points.append(
            UniformPoint(tool=tool, bytes=size, exact=exact, option=option, loss=predicted)
        )
    return tuple(points)


def _nearest(tool: UniformTool, menu: tuple[Option, ...]) -> Option | None:
    """The menu's integers of a tool's width, in the groups closest to its own; None if none."""
    grids = [option for option in menu if option.form == "grid" and option.bits == tool.bits]
    if not tool.group_size:
        return max(grids, key=lambda option: option.group_size, default=None)
    return min(grids, key=lambda option: abs(option.group_size - tool.group_size), default=None)
