"""How large ONNX graphs are without their weights, and how they are filled up to that size.

A node for integers takes more bytes than one for 16 bit, so a graph of which everything is in
integers, and what numbers may take more, bound the graphs of all bit maps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from ..options import Option
from ..targets.onnx_runtime import LEAST_GROUP, holds
from ..units import Unit
from .onnx_file import described
from .onnx_graph import CONSTANT, LARGEST, Graph
from .onnx_weights import Integers, Lazy, Width, by_parameter

# Bytes by which lengths of numbers and names can differ from map to map, at most.
_PER_NODE, _PER_TENSOR, _PER_FILE, _PER_EXTERNAL = 16, 32, 128, 192

_FILLING = "padding"


class Outline(Graph):
    """A graph of shapes without weights; everything that can be in integers is."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], units: Iterable[Unit]) -> None:
        super().__init__(_Shapes(shapes, units))
        self.length = 0
        """Bytes that the graph takes at most, weights left out, once it is saved."""
        self._most = 0

    def stored(self, name: str, tensor: Lazy) -> str:
        """A parameter's name, type and shape."""
        if name not in self.tensors:
            self.tensors[name] = tensor
            self._most += 2 * math.prod(tensor.shape)
        return name

    def save(
        self,
        path: Path,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, tuple[str, Sequence[int | str]]],
        notes: Mapping[str, str],
    ) -> None:
        """Write nothing: only note how long the graph is."""
        per_tensor = _PER_TENSOR + (_PER_EXTERNAL if self._most > LARGEST else 0)
        model = self.model(path.stem, inputs, outputs, notes)
        for name, tensor in self.tensors.items():
            proto = described(name, tensor)
            if name.startswith(CONSTANT):
                proto.raw_data = tensor.make().tobytes()
            model.graph.initializer.append(proto)
        self.length = (
            int(model.ByteSize())
            + _PER_NODE * len(self.nodes)
            + per_tensor * len(self.tensors)
            + _PER_FILE
        )


_SPLIT = 60  # bytes of the first of two entries


def fill(path: Path, missing: int) -> None:
    """Append metadata that take so many bytes; more than 20 of them.

    Bytes that are appended to a serialized message are read as more of its fields. It is one entry,
    or two where the lengths of one would jump over the number.

    Raises:
        ValueError: there are fewer.
    """
    for key in (_FILLING + "." * dots for dots in range(8)):
        room = missing - len(key)
        for blanks in range(max(room - 20, 0), room):
            entry = onnx.StringStringEntryProto(key=key, value=" " * blanks)
            data = onnx.ModelProto(metadata_props=[entry]).SerializeToString()
            if len(data) == missing:
                with path.open("ab") as handle:
                    handle.write(data)
                return
    if missing < 2 * _SPLIT:
        raise ValueError(f"{missing} bytes cannot be filled")
    fill(path, _SPLIT)
    fill(path, missing - _SPLIT)


class _Shapes:
    """A model's parameters without their values."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], units: Iterable[Unit]) -> None:
        self.shapes = shapes
        self.units = by_parameter(units)

    def width(self, unit: Unit) -> Width | None:
        """Integers if they can be."""
        holds_integers = holds(unit, Option(8, LEAST_GROUP))
        return Width(8, LEAST_GROUP) if holds_integers else None

    def integers(self, unit: Unit) -> Integers:
        """Nothing."""
        raise NotImplementedError

    def rows(self, unit: Unit) -> np.ndarray:
        """Nothing."""
        raise NotImplementedError

    def half(self, name: str) -> np.ndarray:
        """Nothing."""
        raise NotImplementedError
