"""A native export of Whisper as ONNX graphs in 8 bits, one tensor after another, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ..errors import ExportError
from ..formats import onnx_folder
from ..formats.native_file import StoredParameter, UnitOfFile
from ..formats.onnx_weights import Integers, Width
from ..formats.parameters import Parameter, array_of, half
from ..formats.whisper_layout import EMBEDDING, POSITIONS, TEXT_POSITIONS, WhisperLayout, check_tied
from ..models.whisper_settings import settings_of
from ..options import Option
from ..progress import Progress, Report, silent
from ..targets import onnx_runtime as target
from ..targets.compressed_tensors import LINEAR
from ..units import Unit

_BITS = 8
_GROUPS = (64, 32, 16)
_ROWS_AT_ONCE = 2048


def write(
    folder: Path,
    layout: WhisperLayout,
    parameters: Mapping[str, Parameter],
    files: Mapping[str, bytes],
    *,
    report: Report = silent,
) -> int:
    """Write the graphs, every matrix that they can hold in 8 bits, and the settings.

    Args:
        folder: where to.
        layout: the model's settings.
        parameters: all of its parameters, by name.
        files: the settings by file name.
        report: called with the progress.

    Returns:
        Bytes of all parameters in the graphs.

    Raises:
        ExportError: a parameter cannot be read, or the graphs cannot be written.
        ModelError: the settings do not say how the model decodes.
    """
    check_tied(layout.config, layout.where, "ONNX Runtime")
    config = SimpleNamespace(**{"scale_embedding": False, **layout.config})
    generation = SimpleNamespace(**layout.generation)
    asked = settings_of(layout.where, config, generation, layout.tokens)
    return onnx_folder.write(folder, FileWeights(parameters, report), config, asked, files)


class FileWeights:
    """The parameters of a file, which are read when they are asked for."""

    def __init__(self, parameters: Mapping[str, Parameter], report: Report = silent) -> None:
        self._parameters = parameters
        self._report = report
        self._begun: set[str] = set()
        self._last: tuple[str, Integers] | None = None
        self.shapes = {name: one.shape for name, one in parameters.items()}
        self.units: dict[str, list[Unit]] = {}
        self._in_file: dict[str, tuple[StoredParameter, UnitOfFile]] = {}
        for name, one in parameters.items():
            if isinstance(one, StoredParameter) and _is_matrix(name, one.shape):
                self.units[name] = [self._unit(one, part) for part in one.units]

    def width(self, unit: Unit) -> Width | None:
        """8 bits in the largest groups that divide a row; None where none do."""
        sizes = (size for size in _GROUPS if target.holds(unit, Option(_BITS, size)))
        size = next(sizes, None)
        return None if size is None else Width(_BITS, size)

    def integers(self, unit: Unit) -> Integers:
        """Codes, scales and zero points: kept until another unit's are asked for."""
        if self._last is None or self._last[0] != unit.name:
            self._last = None
            width = self.width(unit) or Width(_BITS, unit.columns)
            self._last = unit.name, nearest(self._read(unit), width)
        return self._last[1]

    def rows(self, unit: Unit) -> np.ndarray:
        """A unit at 16 bit."""
        return half(self._read(unit), unit.name)

    def half(self, name: str) -> np.ndarray:
        """A parameter at 16 bit."""
        self._begin(name)
        return array_of(self._parameters[name], np.float16)

    def _unit(self, parameter: StoredParameter, part: UnitOfFile) -> Unit:
        self._in_file[part.name] = parameter, part
        return Unit(
            name=part.name,
            parameter=parameter.name,
            start=part.start,
            stop=part.stop,
            columns=parameter.columns,
            part="",
            kind="embedding" if parameter.name == EMBEDDING else LINEAR[0],
            block=0,
            inputs="",
        )

    def _read(self, unit: Unit) -> np.ndarray:
        parameter, part = self._in_file[unit.name]
        self._begin(parameter.name)
        rows = parameter.rows(part)
        if not np.isfinite(rows).all():
            raise ExportError(f"{unit.name} holds what is no number.", "Export it again.")
        return rows

    def _begin(self, name: str) -> None:
        """Report that a parameter is being read."""
        if name not in self._begun:
            self._report(Progress("unpacking", len(self._begun), len(self._parameters)))
            self._begun.add(name)


def nearest(rows: np.ndarray, width: Width) -> Integers:
    """Rows rounded to the nearest of the codes that span each group's range.

    Args:
        rows: shape (rows, columns), float32.
        width: how to store them.
    """
    levels, size = np.float32(2**width.bits - 1), width.group_size
    count, columns = rows.shape
    codes = np.empty((count, columns), np.uint8)
    scales = np.empty((count, columns // size), np.float16)
    zeros = np.empty(scales.shape, np.uint8)
    for start in range(0, count, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        blocks = rows[part].reshape(-1, columns // size, size)
        # Zero stays on the grid, so that exact zeros survive.
        low, high = np.minimum(blocks.min(axis=2), 0), np.maximum(blocks.max(axis=2), 0)
        scale = half((high - low) / levels, "A scale")
        scale[scale == 0] = 1
        step = scale.astype(np.float32)
        zero = np.clip(np.rint(-low / step), 0, levels)
        scaled = blocks / step[..., None]
        scaled += zero[..., None]
        np.clip(np.rint(scaled, out=scaled), 0, levels, out=scaled)
        codes[part] = scaled.reshape(-1, columns)
        scales[part], zeros[part] = scale, zero
    return Integers(codes, scales, zeros)


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and name not in (POSITIONS, TEXT_POSITIONS)
