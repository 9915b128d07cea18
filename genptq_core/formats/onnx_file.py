"""ONNX files, written one tensor after another: to the byte as `onnx.save` writes them.

A model is a serialized message whose fields follow in the order of their numbers: what comes before
the graph, the graph (nodes and name, then tensors, then inputs and outputs), and what comes after
it. Lengths stand before contents, and follow from types and shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import helper

from ..errors import ExportError
from .onnx_weights import Lazy

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # field numbers of messages of onnx.proto
_DELIMITED = 2  # the wire type of what has a length
_SMALL = 991  # tensors of fewer bytes stay in the file where others have one of their own


def described(name: str, tensor: Lazy) -> onnx.TensorProto:
    """A tensor without its values."""
    kind = helper.np_dtype_to_tensor_dtype(tensor.dtype)
    return onnx.TensorProto(name=name, data_type=kind, dims=tensor.shape)


def write(path: Path, model: onnx.ModelProto, tensors: Mapping[str, Lazy], external: bool) -> None:
    """Write a model.

    Args:
        path: the file.
        model: all of it but its tensors.
        tensors: by name, in the order in which they are stored.
        external: whether values go to a file of their own, with `.data` after the file's name.

    Raises:
        ExportError: values are not of the type or shape that was told, or 16 bit cannot hold them.
    """
    before = onnx.ModelProto(ir_version=model.ir_version)
    after = onnx.ModelProto(opset_import=model.opset_import, metadata_props=model.metadata_props)
    graph = model.graph
    nodes = onnx.GraphProto(node=graph.node, name=graph.name).SerializeToString()
    ends = onnx.GraphProto(input=graph.input, output=graph.output).SerializeToString()
    apart: dict[str, Lazy] = {}
    heads: dict[str, bytes] = {}
    place = 0
    for name, tensor in tensors.items():
        proto = described(name, tensor)
        if external and tensor.nbytes >= _SMALL:
            apart[name] = tensor
            _refer(proto, f"{path.name}.data", place, tensor.nbytes)
            place += tensor.nbytes
            heads[name] = proto.SerializeToString()
        else:
            heads[name] = proto.SerializeToString() + _field(_RAW_DATA, tensor.nbytes)
    lengths = {n: len(h) + (0 if n in apart else tensors[n].nbytes) for n, h in heads.items()}
    starts = {name: _field(_INITIALIZER, length) for name, length in lengths.items()}
    size = sum(len(starts[name]) + length for name, length in lengths.items())
    with path.open("wb") as file:
        file.write(before.SerializeToString() + _field(_GRAPH, len(nodes) + size + len(ends)))
        file.write(nodes)
        for name, tensor in tensors.items():
            file.write(starts[name] + heads[name])
            if name not in apart:
                _write_values(file, name, tensor)
        file.write(ends + after.SerializeToString())
    if external:
        with path.with_name(f"{path.name}.data").open("wb") as file:
            for name, tensor in apart.items():
                _write_values(file, name, tensor)


def _write_values(file: BinaryIO, name: str, tensor: Lazy) -> None:
    array = tensor.make()
    if array.dtype != tensor.dtype:
        raise ExportError(f"{name} is {array.dtype}, not {tensor.dtype}.")
    if array.shape != tensor.shape:
        raise ExportError(f"{name} has shape {array.shape}, not {tensor.shape}.")
    file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _refer(proto: onnx.TensorProto, file: str, offset: int, length: int) -> None:
    """Say in which file a tensor's values are, and where."""
    proto.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", offset), ("length", length)):
        proto.external_data.add(key=key, value=str(value))


def _field(number: int, length: int) -> bytes:
    """What stands before a field's content: its number, its type and its length."""
    return _varint(number << 3 | _DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    """A whole number in groups of seven bits, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def constant(array: np.ndarray[Any, Any]) -> Lazy:
    """A tensor whose values are here already."""
    return Lazy(array.dtype, array.shape, lambda: array)
