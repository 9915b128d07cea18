"""The native file, read one parameter after another, without torch.

`weights.safetensors` holds, for a unit named U (a parameter, or `parameter@start:stop` for rows),

    U:coded    uint8    an entropy-coded weight as `quantizers.codec` lays it out, then zeros to
                        the promised size
    U:codes    uint8    integer codes, dense, row by row (`quantizers.packing`)
    U:scales   float16  (rows, groups)
    U:zeros    uint8    zero points, dense, row by row; a weight is scale * (code - zero)
    U:half     float16  (rows, columns), left as it is

and every other stored parameter as float16 under its own name. Its one metadata entry, `layout`,
is JSON: "parameters" gives the shape of every parameter, "units" the parameter, rows and option
of every unit. Parameters that follow from a formula of the architecture are not stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from ..errors import ExportError
from ..options import Option
from ..quantizers.arrays import restored_array
from ..storage.files import require_file

NAME = "weights.safetensors"

_REMEDY = "The file is damaged: export again."
_MOST_SIZE = 2**31
_MOST_WEIGHTS_PER_BYTE = 64  # far more than any entropy code reaches
_BYTES = {"F16": 2, "U8": 1}


@dataclass(frozen=True)
class UnitOfFile:
    """Rows of a parameter that are stored alike.

    Attributes:
        name: the unit's.
        start: first row.
        stop: one past the last row.
        option: how they are stored.
        parts: names of its tensors by their last part.
    """

    name: str
    start: int
    stop: int
    option: Option
    parts: dict[str, str]


@dataclass(frozen=True)
class StoredParameter:
    """A parameter of a file, which is read when it is asked for.

    Attributes:
        name: its name.
        shape: its shape.
        units: its rows in order, each once; none where it is float16 as a whole.
    """

    name: str
    shape: tuple[int, ...]
    units: tuple[UnitOfFile, ...]
    path: Path

    @property
    def columns(self) -> int:
        """Numbers in a row."""
        return math.prod(self.shape[1:])

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and float32 values (rows, columns) of each part of a parameter with rows.

        Raises:
            ExportError: the file is damaged.
        """
        if not self.units:
            with _explained(self.path), safe_open(self.path, framework="np") as handle:
                whole = handle.get_tensor(self.name).astype(np.float32)
            yield 0, whole.reshape(self.shape[0] if self.shape else 1, -1)
        for unit in self.units:
            yield unit.start, self.rows(unit)

    def rows(self, unit: UnitOfFile) -> np.ndarray:
        """Float32 values (rows, columns) of one of its units.

        Raises:
            ExportError: the file is damaged.
        """
        with _explained(self.path), safe_open(self.path, framework="np") as handle:
            arrays = {part: handle.get_tensor(name) for part, name in unit.parts.items()}
            return restored_array(arrays, unit.option, unit.stop - unit.start, self.columns)

    def array(self, dtype: Any = np.float32) -> np.ndarray:
        """All of it: float32, or another type of numbers.

        Raises:
            ExportError: the file is damaged.
        """
        found = np.empty(self.shape, dtype=dtype)
        flat = found.reshape(self.shape[0] if self.shape else 1, -1)
        for start, rows in self.blocks():
            flat[start : start + len(rows)] = rows
        return found


def parameters(path: Path) -> list[StoredParameter]:
    """What a file holds, told from its header: every stored parameter, by name.

    Raises:
        ExportError: the file is missing or damaged: of another form, a shape is impossible, a
            tensor is missing, misshapen or one too many, or units do not cover all rows of their
            parameter once.
    """
    with _explained(path):
        require_file(path)
        with safe_open(path, framework="np") as handle:
            said = json.loads(handle.metadata()["layout"])
            slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
            held = {
                name: (tuple(part.get_shape()), str(part.get_dtype()))
                for name, part in slices.items()
            }
        return _parameters(path, said, held)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what goes wrong into one sentence."""
    try:
        yield
    except ExportError as error:
        if error.message.startswith(str(path)):
            raise
        raise ExportError(f"{path} is not a native export: {error.message}", _REMEDY) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(f"{path} cannot be read ({reason}).", _REMEDY) from error
    except Exception as error:  # of safetensors, JSON, and tensors that do not fit together
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ExportError(f"{path} is not a native export ({reason}).", _REMEDY) from error


def _parameters(
    path: Path, said: Any, held: dict[str, tuple[tuple[int, ...], str]]
) -> list[StoredParameter]:
    shapes = {str(name): tuple(shape) for name, shape in said["parameters"].items()}
    for name, shape in shapes.items():
        if not all(type(size) is int and 0 <= size <= _MOST_SIZE for size in shape):
            raise ExportError(f"{name} has an impossible shape.")
    units = _units(said["units"], shapes)
    covered = {parameter for parameter, _ in units.values()}
    for name, (shape, kind) in held.items():
        unit, colon, part = name.rpartition(":")
        if kind not in _BYTES:
            raise ExportError(f"{name} is of type {kind}.")
        if colon and unit in units:
            units[unit][1].parts[part] = name
        elif name not in shapes or name in covered:
            raise ExportError(f"it holds {name}, which its layout does not name.")
        elif shape != shapes[name]:
            raise ExportError(f"{name} is of another shape than its layout says.")
    of_parameter: dict[str, list[UnitOfFile]] = {n: [] for n in shapes if n in held or n in covered}
    for name, (parameter, unit_of_file) in units.items():
        rows, columns = unit_of_file.stop - unit_of_file.start, math.prod(shapes[parameter][1:])
        stored = (held[part] for part in unit_of_file.parts.values())
        size = sum(math.prod(shape) * _BYTES[kind] for shape, kind in stored)
        if rows * columns > _MOST_WEIGHTS_PER_BYTE * size:
            raise ExportError(f"{name} has too few bytes for its weights.")
        of_parameter[parameter].append(unit_of_file)
    return [
        StoredParameter(name, shapes[name], tuple(sorted(parts, key=lambda u: u.start)), path)
        for name, parts in sorted(of_parameter.items())
    ]


def _units(
    said: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> dict[str, tuple[str, UnitOfFile]]:
    """Every unit with its parameter, by name.

    Raises:
        ExportError: they do not cover all rows of their parameter, each once.
    """
    units: dict[str, tuple[str, UnitOfFile]] = {}
    rows: dict[str, list[tuple[int, int]]] = {}
    for name, (parameter, start, stop, key) in said.items():
        if type(start) is not int or type(stop) is not int or parameter not in shapes:
            raise ExportError(f"{name} is no part of a parameter.")
        units[name] = (parameter, UnitOfFile(name, start, stop, Option.parse(key), {}))
        rows.setdefault(parameter, []).append((start, stop))
    for parameter, parts in rows.items():
        reached = 0
        for start, stop in sorted(parts):
            if start != reached or stop <= start:
                raise ExportError(f"its units do not cover every row of {parameter} once.")
            reached = stop
        if not shapes[parameter] or reached != shapes[parameter][0]:
            raise ExportError(f"its units do not cover every row of {parameter} once.")
    return units
