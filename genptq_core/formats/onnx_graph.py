"""ONNX graphs, node by node, with weights as a bit map stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..units import Unit
from . import onnx_file
from .onnx_weights import Lazy, Weights, Width, packed

OPSET = 21
CONSTANT = "constant."
"""What names of values begin with that are no parameters."""

CONTRIB = "com.microsoft"
_IR = 10  # the file version of ONNX 1.16, which has opset 21
_HALF = np.dtype(np.float16)
LARGEST = 1 << 30  # more bytes of weights go to a file of their own: protobuf's limit is 2 GiB


class Graph:
    """A graph under construction; methods add nodes and return the names of their outputs."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.bytes = 0
        """Bytes of the parameters stored so far."""
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, Lazy] = {}

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        output = f"{kind}.{len(self.nodes)}"
        node = helper.make_node(kind, inputs, [output], output, domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, value: Any, dtype: type[np.generic] = np.int64) -> str:
        """A value that is not a parameter: a shape, an index, a factor."""
        array = np.asarray(value, dtype=dtype)
        name = f"{CONSTANT}{array.dtype}.{array.tolist()}"
        self.tensors.setdefault(name, onnx_file.constant(array))
        return name

    def stored(self, name: str, tensor: Lazy) -> str:
        """A parameter or a part of one, as it is stored; only once, also for repeated calls."""
        if name not in self.tensors:
            self.tensors[name] = tensor
            self.bytes += tensor.nbytes
        return name

    def floats(self, name: str, tensor: Lazy) -> str:
        """Float32 values of a tensor stored as float16; the runtime casts on loading."""
        return self.op("Cast", self.stored(name, tensor), to=TensorProto.FLOAT)

    def parameter(self, name: str) -> str:
        """A parameter that stays at 16 bit, as float32."""
        weights, shape = self.weights, tuple(self.weights.shapes[name])
        return self.floats(name, Lazy(_HALF, shape, lambda: weights.half(name)))

    def linear(self, inputs: str, module: str) -> str:
        """Outputs of a Linear module for inputs (..., columns)."""
        bias = f"{module}.bias"
        outputs = self.product(inputs, f"{module}.weight")
        if bias not in self.weights.shapes:
            return outputs
        return self.op("Add", outputs, self.parameter(bias))

    def product(self, inputs: str, parameter: str) -> str:
        """Inputs (..., columns) times a weight (rows, columns), transposed: (..., rows)."""
        parts = []
        for unit in self.weights.units[parameter]:
            width = self.weights.width(unit)
            if width is not None:
                codes, scales, zeros = self.quantized(unit, width)
                part = self.op(
                    "MatMulNBits",
                    inputs,
                    codes,
                    scales,
                    zeros,
                    domain=CONTRIB,
                    K=unit.columns,
                    N=unit.rows,
                    bits=width.bits,
                    block_size=width.group_size,
                )
            else:
                weight = self.floats(unit.name, self.halves(unit))
                part = self.op("MatMul", inputs, self.op("Transpose", weight, perm=[1, 0]))
            parts.append(part)
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=-1)

    def rows(self, indices: str, parameter: str) -> str:
        """Rows of a weight (rows, columns): (..., columns)."""
        parts = self.weights.units[parameter]
        if len(parts) == 1:
            return self._rows_of(indices, parts[0])
        total = ""
        for unit in parts:
            # Each block gives its own rows, and zeros for rows of other blocks.
            place = self.op("Sub", indices, self.constant(unit.start))
            before_end = self.op("Less", place, self.constant(unit.rows))
            from_start = self.op("GreaterOrEqual", place, self.constant(0))
            inside = self.op("And", from_start, before_end)
            rows = self._rows_of(self.op("Where", inside, place, self.constant(0)), unit)
            factor = self.op("Cast", self.op("Unsqueeze", inside, self.constant([-1])), to=1)
            rows = self.op("Mul", rows, factor)
            total = self.op("Add", total, rows) if total else rows
        return total

    def _rows_of(self, indices: str, unit: Unit) -> str:
        width = self.weights.width(unit)
        if width is None:
            table = self.stored(unit.name, self.halves(unit))
            return self.op("Cast", self.op("Gather", table, indices), to=TensorProto.FLOAT)
        codes, scales, zeros = self.quantized(unit, width)
        flat = self.op("Reshape", codes, self.constant([unit.rows, -1]))
        return self.op(
            "GatherBlockQuantized",
            flat,
            indices,
            scales,
            zeros,
            domain=CONTRIB,
            bits=width.bits,
            block_size=width.group_size,
            gather_axis=0,
            quantize_axis=1,
        )

    def halves(self, unit: Unit) -> Lazy:
        """A unit that stays at 16 bit."""
        weights = self.weights
        return Lazy(_HALF, (unit.rows, unit.columns), lambda: weights.rows(unit))

    def quantized(self, unit: Unit, width: Width) -> tuple[str, str, str]:
        """Codes, scales and zero points, by name."""
        codes, scales, zeros = packed(self.weights, unit, width)
        return (
            self.stored(f"{unit.name}:codes", codes),
            self.floats(f"{unit.name}:scales", scales),
            self.stored(f"{unit.name}:zeros", zeros),
        )

    def save(
        self,
        path: Path,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, tuple[str, Sequence[int | str]]],
        notes: Mapping[str, str],
    ) -> None:
        """Write the graph.

        Args:
            path: the file.
            inputs: element type and shape of each input, by name.
            outputs: the node output to give and its shape, by name; float32.
            notes: metadata.
        """
        model = self.model(path.stem, inputs, outputs, notes)
        onnx_file.write(path, model, self.tensors, external=self.bytes > LARGEST)

    def model(
        self,
        name: str,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, tuple[str, Sequence[int | str]]],
        notes: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The graph with its inputs, outputs and metadata, without tensors."""
        for output, (source, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [source], [output]))
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
            [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
                for n, (_, shape) in outputs.items()
            ],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
        helper.set_model_props(model, dict(notes))
        return model
