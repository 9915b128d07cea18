"""Runtimes: what runs a folder, what it holds in memory, and what the native folder becomes for it.

A runtime takes a map in one of two ways. *Directly*: the folder is written in types of its own.
By *transport*: the native folder is the download, and `genptq unpack` turns it, once, where it is
installed, into a form of the runtime that has one width for all layers.

Memory is the bytes of all weights as the runtime holds them once it has loaded them. Activations,
caches and the program itself come on top.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..options import UNQUANTIZED, Option
from ..units import Unit
from . import Target, gguf, onnx_runtime, overhead, predicted_bytes

if TYPE_CHECKING:
    from ..profile import Profile

_WHISPER = ("whisper",)
_FLOAT, _HALF = 4, 2  # bytes


@dataclass(frozen=True)
class Form:
    """A form that `genptq unpack` gives the native folder, one width for all layers.

    Attributes:
        name: how the command line names it, after the runtime's name and a colon.
        title: how the page names it.
        unpack: flags of `genptq unpack` that ask for it.
        unit_bytes: bytes of a unit in memory.
        rest: bytes of each weight that is in no unit.
        filled: whether layers without a bias get one.
        families: the model families that can be unpacked into it; all of them if empty.
        written_as: a target: what can be written for it can be unpacked into the form too,
            whatever its family.
    """

    name: str
    title: str
    unpack: tuple[str, ...]
    unit_bytes: Callable[[Unit], int]
    rest: int = _FLOAT
    filled: bool = False
    families: tuple[str, ...] = ()
    written_as: str = ""

    def takes(self, family: str, writable: Container[str]) -> bool:
        """Whether a model can be unpacked into it, by its family and the targets that it can be
        written for."""
        return not self.families or family in self.families or self.written_as in writable

    def memory(self, profile: Profile) -> int:
        """Bytes of all weights in memory; the map does not matter."""
        uncovered = profile.source.parameters - sum(unit.weights for unit in profile.units)
        if self.filled and profile.source.family == "whisper":
            uncovered += unbiased_rows(profile.units)
        return self.rest * uncovered + sum(self.unit_bytes(unit) for unit in profile.units)


@dataclass(frozen=True)
class Runtime:
    """What runs a model.

    Attributes:
        name: how the command line names it.
        title: how the page names it.
        needs: packages that it takes.
        targets: targets whose folders it runs as they are.
        forms: what the native folder can be unpacked into for it, the widest first.
        families: the model families that it runs; all of them if empty.
        unit_memory: bytes of a unit in memory, of a target's folder; None if weights are held as
            the file stores them.
        rest: bytes of each weight that is in no unit, where `unit_memory` is given.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    targets: tuple[str, ...] = ()
    forms: tuple[Form, ...] = ()
    families: tuple[str, ...] = ()
    unit_memory: Callable[[Unit, Option], int] | None = None
    rest: int = _FLOAT

    def runs(self, family: str) -> bool:
        """Whether it runs models of a family."""
        return not self.families or family in self.families

    def memory(self, profile: Profile, target: Target, options: Sequence[Option]) -> int:
        """Bytes of all weights in memory, of a map written for one of its targets."""
        if self.unit_memory is None:
            return predicted_bytes(target, profile, options) - overhead(target, profile)
        uncovered = profile.source.parameters - sum(unit.weights for unit in profile.units)
        pairs = zip(profile.units, options, strict=True)
        return self.rest * uncovered + sum(self.unit_memory(*pair) for pair in pairs)


def in_blocks(unit: Unit, size: int) -> int:
    """Bytes of a unit in ggml's blocks of 32 weights and so many bytes, or, as ggml demands of
    convolutions and rows of another length, in 16 bit."""
    if unit.kind in gguf.WIDENED:
        return _FLOAT * unit.weights
    if unit.kind in gguf.CONVOLUTIONS or unit.columns % 32:
        return _HALF * unit.weights
    return unit.weights // 32 * size


def _ggml_memory(unit: Unit, option: Option) -> int:
    """As the file stores it, but for what becomes float32."""
    return _FLOAT * unit.weights if unit.kind in gguf.WIDENED else gguf.unit_bytes(unit, option)


def in_integer_rows(unit: Unit) -> int:
    """Bytes of a unit in 8-bit integers with a float32 scale for each row, as in CTranslate2."""
    return unit.weights + _FLOAT * unit.rows


def unbiased_rows(units: Sequence[Unit]) -> int:
    """Rows of Whisper's layers without a bias, which CTranslate2 gives one of zeros."""
    return sum(unit.rows for unit in units if unit.parameter.endswith(".k_proj.weight"))


def _block_form(name: str, size: int) -> Form:
    bits = 8 * size / 32
    return Form(
        name,
        f"{name.upper()}, {bits:g} bits a weight",
        ("--to", "gguf", "--width", name),
        lambda unit: in_blocks(unit, size),
        families=_WHISPER,
        written_as="gguf",
    )


def _onnx_memory(unit: Unit, option: Option) -> int:
    """Codes and zero points as they are stored, scales and 16-bit weights as float32.

    A 16-bit embedding is held twice: its rows are looked up in 16 bit, and multiplied in 32.
    """
    if option.form == "half":
        table = _HALF * unit.weights if unit.kind == "embedding" else 0
        return _FLOAT * unit.weights + table
    groups = unit.rows * (unit.columns // max(option.group_size, 1))
    return onnx_runtime.unit_bytes(unit, option) + (_FLOAT - _HALF) * groups


def _onnx_form(unit: Unit) -> int:
    eight = (Option(8, size) for size in (64, 32, 16))
    held = (option for option in eight if onnx_runtime.holds(unit, option))
    return _onnx_memory(unit, next(held, UNQUANTIZED))


def _ctranslate2_form(unit: Unit) -> int:
    if unit.kind == "convolution":
        return _FLOAT * unit.weights
    return in_integer_rows(unit)


def _unpacked(unit: Unit, option: Option) -> int:
    return _FLOAT * unit.weights


GENPTQ = "genptq"
"""The runtime that is meant where none is named: this program."""

RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            GENPTQ,
            "GenPTQ itself",
            (),
            targets=("native", "integer"),
            unit_memory=_unpacked,
        ),
        Runtime(
            "transcribe.cpp",
            "transcribe.cpp",
            ("transcribe-cpp", "soundfile"),
            targets=("gguf",),
            forms=(_block_form("q8_0", 34), _block_form("q5_1", 24), _block_form("q5_0", 22)),
            families=gguf.FAMILIES,
            unit_memory=_ggml_memory,
        ),
        Runtime(
            "faster-whisper",
            "faster-whisper",
            ("faster-whisper",),
            forms=(
                Form(
                    "int8",
                    "8-bit integers, a scale for each row",
                    ("--to", "ctranslate2"),
                    _ctranslate2_form,
                    filled=True,
                ),
            ),
            families=_WHISPER,
        ),
        Runtime(
            "onnxruntime",
            "ONNX Runtime",
            ("onnxruntime",),
            targets=("onnx",),
            forms=(Form("int8", "8-bit integers in groups", ("--to", "onnx"), _onnx_form),),
            families=_WHISPER,
            unit_memory=_onnx_memory,
        ),
        Runtime("mlx", "MLX", ("mlx", "mlx-audio"), targets=("mlx",), families=_WHISPER),
        Runtime(
            "transformers",
            "transformers",
            ("transformers", "compressed-tensors"),
            targets=("compressed-tensors",),
            forms=(
                Form(
                    "float16",
                    "float16, as it was before",
                    ("--to", "transformers"),
                    lambda unit: _HALF * unit.weights,
                    rest=_HALF,
                ),
            ),
            unit_memory=_unpacked,
        ),
    )
}
"""What runs a model, by name."""
