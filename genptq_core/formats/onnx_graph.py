"""ONNX graphs, node by node, with weights as a bit map stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ..errors import ExportError
from ..options import Option
from ..quantizers import Quantized, Stored
from ..quantizers.packing import pack_rows
from ..quantizers.tensors import half
from ..units import Unit

OPSET = 21
CONTRIB = "com.microsoft"
_IR = 10  # the file version of ONNX 1.16, which has opset 21
LARGEST = 1 << 30  # more bytes of weights go to a file of their own: protobuf's limit is 2 GiB


class Weights:
    """A model's parameters: units as a bit map stores them, everything else in float16."""

    def __init__(self, module: nn.Module, stored: Iterable[tuple[Unit, Option, Stored]]) -> None:
        self.module = module
        self.units: dict[str, list[tuple[Unit, Stored]]] = {}
        for unit, _, weight in stored:
            self.units.setdefault(unit.parameter, []).append((unit, weight))

    def __contains__(self, name: str) -> bool:
        return any(name == known for known, _ in self.module.named_parameters())

    def half(self, name: str) -> np.ndarray:
        """A parameter as float16."""
        return np.asarray(half(self.module.get_parameter(name), name).numpy())


class Graph:
    """A graph under construction; methods add nodes and return the names of their outputs."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.bytes = 0
        """Bytes of the parameters stored so far."""
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        output = f"{kind}.{len(self.nodes)}"
        node = helper.make_node(kind, inputs, [output], output, domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, value: Any, dtype: type[np.generic] = np.int64) -> str:
        """A value that is not a parameter: a shape, an index, a factor."""
        array = np.asarray(value, dtype=dtype)
        name = f"constant.{array.dtype}.{array.tolist()}"
        self.tensors.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def stored(self, name: str, array: np.ndarray) -> str:
        """A parameter or a part of one, as it is stored; only once, also for repeated calls."""
        if name not in self.tensors:
            self.tensors[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
            self.bytes += array.nbytes
        return name

    def floats(self, name: str, array: np.ndarray) -> str:
        """Float32 values of a tensor stored as float16; the runtime casts on loading."""
        return self.op("Cast", self.stored(name, array), to=TensorProto.FLOAT)

    def parameter(self, name: str) -> str:
        """A parameter that stays at 16 bit, as float32."""
        return self.floats(name, self.weights.half(name))

    def linear(self, inputs: str, module: str) -> str:
        """Outputs of a Linear module for inputs (..., columns)."""
        bias = f"{module}.bias"
        outputs = self.product(inputs, f"{module}.weight")
        if bias not in self.weights:
            return outputs
        return self.op("Add", outputs, self.parameter(bias))

    def product(self, inputs: str, parameter: str) -> str:
        """Inputs (..., columns) times a weight (rows, columns), transposed: (..., rows)."""
        parts = []
        for unit, stored in self.weights.units[parameter]:
            if isinstance(stored, Quantized):
                codes, scales, zeros = self.quantized(unit, stored)
                part = self.op(
                    "MatMulNBits",
                    inputs,
                    codes,
                    scales,
                    zeros,
                    domain=CONTRIB,
                    K=unit.columns,
                    N=unit.rows,
                    bits=stored.grid.bits,
                    block_size=stored.grid.group_size,
                )
            else:
                weight = self.floats(unit.name, self.halves(unit, stored))
                part = self.op("MatMul", inputs, self.op("Transpose", weight, perm=[1, 0]))
            parts.append(part)
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=-1)

    def rows(self, indices: str, parameter: str) -> str:
        """Rows of a weight (rows, columns): (..., columns)."""
        parts = self.weights.units[parameter]
        if len(parts) == 1:
            ((unit, stored),) = parts
            return self._rows_of(indices, unit, stored)
        total = ""
        for unit, stored in parts:
            # Each block gives its own rows, and zeros for rows of other blocks.
            place = self.op("Sub", indices, self.constant(unit.start))
            before_end = self.op("Less", place, self.constant(unit.rows))
            from_start = self.op("GreaterOrEqual", place, self.constant(0))
            inside = self.op("And", from_start, before_end)
            rows = self._rows_of(self.op("Where", inside, place, self.constant(0)), unit, stored)
            factor = self.op("Cast", self.op("Unsqueeze", inside, self.constant([-1])), to=1)
            rows = self.op("Mul", rows, factor)
            total = self.op("Add", total, rows) if total else rows
        return total

    def _rows_of(self, indices: str, unit: Unit, stored: Stored) -> str:
        if not isinstance(stored, Quantized):
            table = self.stored(unit.name, self.halves(unit, stored))
            return self.op("Cast", self.op("Gather", table, indices), to=TensorProto.FLOAT)
        codes, scales, zeros = self.quantized(unit, stored)
        flat = self.op("Reshape", codes, self.constant([unit.rows, -1]))
        return self.op(
            "GatherBlockQuantized",
            flat,
            indices,
            scales,
            zeros,
            domain=CONTRIB,
            bits=stored.grid.bits,
            block_size=stored.grid.group_size,
            gather_axis=0,
            quantize_axis=1,
        )

    def halves(self, unit: Unit, stored: Stored) -> np.ndarray:
        """A weight that stays at 16 bit, as float16.

        Raises:
            ExportError: it is entropy-coded.
        """
        if not isinstance(stored, Tensor):
            raise ExportError(f"{unit.name} is entropy-coded.", "Solve with --target onnx.")
        return np.asarray(half(stored, unit.name).numpy())

    def quantized(self, unit: Unit, stored: Quantized) -> tuple[str, str, str]:
        """Codes (rows, groups, bytes), scales and zero points, as MatMulNBits reads them."""
        bits = stored.grid.bits
        codes = pack_rows(stored.codes.numpy(), bits)
        groups = stored.grid.scale.shape[1]
        zeros = pack_rows(stored.grid.zero.byte().numpy(), bits)
        return (
            self.stored(f"{unit.name}:codes", codes.reshape(unit.rows, groups, -1)),
            self.floats(f"{unit.name}:scales", stored.grid.scale.half().numpy()),
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
        external = self.bytes > LARGEST
        onnx.save(
            self.model(path.stem, inputs, outputs, notes),
            path,
            save_as_external_data=external,
            location=f"{path.name}.data" if external else None,
        )

    def model(
        self,
        name: str,
        inputs: Mapping[str, tuple[int, Sequence[int | str]]],
        outputs: Mapping[str, tuple[str, Sequence[int | str]]],
        notes: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The graph with its inputs, outputs and metadata, as `save` writes it."""
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
            list(self.tensors.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
        helper.set_model_props(model, dict(notes))
        return model
