"""How large ONNX graphs are without their weights, and how they are filled up to that size.

A node for integers takes more bytes than one for 16 bit, so a graph of which everything is in
integers, and what numbers may take more, bound the graphs of all bit maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper
from torch import nn

from ..options import Option
from ..quantizers import Grid, Quantized, Stored
from ..targets.onnx_runtime import LEAST_GROUP, holds
from ..units import Unit
from .onnx_graph import LARGEST, Graph, Weights

# Bytes by which lengths of numbers and names can differ from map to map, at most.
_PER_NODE, _PER_TENSOR, _PER_FILE, _PER_EXTERNAL = 16, 32, 128, 192

_FILLING = "padding"


class Outline(Graph):
    """A graph of shapes without weights; everything that can be in integers is."""

    def __init__(self, module: nn.Module, units: Iterable[Unit]) -> None:
        super().__init__(_Shapes(module, units))
        self.length = 0
        """Bytes that the graph takes at most, weights left out, once it is saved."""
        self._most = 0

    def stored(self, name: str, array: np.ndarray) -> str:
        """A parameter's name, type and shape."""
        if name not in self.tensors:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            self.tensors[name] = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
            self._most += 2 * array.size
        return name

    def halves(self, unit: Unit, stored: Stored) -> np.ndarray:
        """Zeros of a weight's shape."""
        return _nothing((unit.rows, unit.columns), np.float16)

    def quantized(self, unit: Unit, stored: Quantized) -> tuple[str, str, str]:
        """Codes, scales and zero points, by name."""
        groups = unit.columns // stored.grid.group_size
        return (
            self.stored(
                f"{unit.name}:codes",
                _nothing((unit.rows, groups, stored.grid.group_size), np.uint8),
            ),
            self.floats(f"{unit.name}:scales", _nothing((unit.rows, groups), np.float16)),
            self.stored(f"{unit.name}:zeros", _nothing((unit.rows, groups), np.uint8)),
        )

    def save(
        self,
        path: Path,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, tuple[str, Sequence[int | str]]],
        notes: Mapping[str, str],
    ) -> None:
        """Write nothing: only note how long the graph is."""
        per_tensor = _PER_TENSOR + (_PER_EXTERNAL if self._most > LARGEST else 0)
        self.length = (
            int(self.model(path.stem, inputs, outputs, notes).ByteSize())
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


class _Shapes(Weights):
    """A model's parameters without their values."""

    def __init__(self, module: nn.Module, units: Iterable[Unit]) -> None:
        super().__init__(module, ((unit, Option(16), _stored(unit)) for unit in units))

    def half(self, name: str) -> np.ndarray:
        """Zeros of a parameter's shape."""
        return _nothing(tuple(self.module.get_parameter(name).shape), np.float16)


def _stored(unit: Unit) -> Stored:
    """A unit in integers if it can be, without values."""
    none = torch.empty(0)
    if holds(unit, Option(8, LEAST_GROUP)):
        return Quantized(none, Grid(8, LEAST_GROUP, none, none))
    return none


def _nothing(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Zeros that take no memory."""
    return np.broadcast_to(np.zeros((), dtype), tuple(shape))
