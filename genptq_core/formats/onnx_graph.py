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
_IR = 10  # of ONNX 1.16, which has opset 21
_LARGEST = 1 << 30  # beyond, weights go to a file of their own: protobuf ends at 2 GiB


class Weights:
    """A model's parameters: stored units where a bit map has them, else float16."""

    def __init__(self, module: nn.Module, stored: Iterable[tuple[Unit, Option, Stored]]) -> None:
        self._module = module
        self.units: dict[str, list[tuple[Unit, Stored]]] = {}
        for unit, _, one in stored:
            self.units.setdefault(unit.parameter, []).append((unit, one))

    def __contains__(self, name: str) -> bool:
        return any(name == found for found, _ in self._module.named_parameters())

    def half(self, name: str) -> np.ndarray:
        """A parameter as float16."""
        return np.asarray(half(self._module.get_parameter(name), name).numpy())


class Graph:
    """A graph under construction; methods add nodes and return the names of what they give."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.bytes = 0
        """Of the parameters stored so far."""
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output."""
        output = f"{kind}.{len(self._nodes)}"
        node = helper.make_node(kind, inputs, [output], output, domain=domain, **attributes)
        self._nodes.append(node)
        return output

    def constant(self, value: Any, dtype: type[np.generic] = np.int64) -> str:
        """Something that is no parameter: a shape, an index, a factor."""
        array = np.asarray(value, dtype=dtype)
        name = f"constant.{array.dtype}.{array.tolist()}"
        self._tensors.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def stored(self, name: str, array: np.ndarray) -> str:
        """A parameter, or a part of one, as it is stored; once, however often it is asked for."""
        if name not in self._tensors:
            self._tensors[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
            self.bytes += array.nbytes
        return name

    def floats(self, name: str, array: np.ndarray) -> str:
        """Something stored as float16, as float32; the runtime does that when it loads."""
        return self.op("Cast", self.stored(name, array), to=TensorProto.FLOAT)

    def parameter(self, name: str) -> str:
        """A parameter that stays at 16 bit, as float32."""
        return self.floats(name, self.weights.half(name))

    def linear(self, inputs: str, module: str) -> str:
        """A Linear module on inputs (..., columns)."""
        bias = f"{module}.bias"
        outputs = self.product(inputs, f"{module}.weight")
        if bias not in self.weights:
            return outputs
        return self.op("Add", outputs, self.parameter(bias))

    def product(self, inputs: str, parameter: str) -> str:
        """Inputs (..., columns) times a weight (rows, columns), transposed: (..., rows)."""
        parts = []
        for unit, one in self.weights.units[parameter]:
            if isinstance(one, Quantized):
                sizes = {"K": unit.columns, "N": unit.rows, "bits": one.grid.bits}
                sizes["block_size"] = one.grid.group_size
                codes, *grid = self._quantized(unit, one)
                parts.append(self.op("MatMulNBits", inputs, codes, *grid, domain=CONTRIB, **sizes))
            else:
                weight = self.floats(unit.name, _halves(one, unit))
                parts.append(self.op("MatMul", inputs, self.op("Transpose", weight, perm=[1, 0])))
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=-1)

    def rows(self, indices: str, parameter: str) -> str:
        """Rows of a weight (rows, columns): (..., columns)."""
        parts = self.weights.units[parameter]
        if len(parts) == 1:
            return self._rows_of(indices, *parts[0])
        total = ""
        for unit, one in parts:
            # Each block gives its own rows, and zeros for the others'.
            place = self.op("Sub", indices, self.constant(unit.start))
            after = self.op("Less", place, self.constant(unit.rows))
            before = self.op("GreaterOrEqual", place, self.constant(0))
            mine = self.op("And", before, after)
            found = self._rows_of(self.op("Where", mine, place, self.constant(0)), unit, one)
            factor = self.op("Cast", self.op("Unsqueeze", mine, self.constant([-1])), to=1)
            found = self.op("Mul", found, factor)
            total = self.op("Add", total, found) if total else found
        return total

    def _rows_of(self, indices: str, unit: Unit, stored: Stored) -> str:
        if not isinstance(stored, Quantized):
            table = self.stored(unit.name, _halves(stored, unit))
            return self.op("Cast", self.op("Gather", table, indices), to=TensorProto.FLOAT)
        codes, *grid = self._quantized(unit, stored)
        flat = self.op("Reshape", codes, self.constant([unit.rows, -1]))
        how = {"bits": stored.grid.bits, "block_size": stored.grid.group_size}
        return self.op(
            "GatherBlockQuantized",
            *(flat, indices, *grid),
            domain=CONTRIB,
            **(how | {"gather_axis": 0, "quantize_axis": 1}),
        )

    def _quantized(self, unit: Unit, stored: Quantized) -> tuple[str, str, str]:
        """Codes (rows, groups, bytes), scales and zero points, as MatMulNBits wants them."""
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
            inputs: element type and shape by name.
            outputs: what gives it, and its shape, by name; float32.
            notes: metadata.
        """
        for name, (source, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [source], [name]))
        graph = helper.make_graph(
            self._nodes,
            path.stem,
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
            [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
                for n, (_, shape) in outputs.items()
            ],
            list(self._tensors.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
        helper.set_model_props(model, dict(notes))
        apart = self.bytes > _LARGEST
        onnx.save(
            model,
            path,
            save_as_external_data=apart,
            location=f"{path.name}.data" if apart else None,
        )


def _halves(stored: Stored, unit: Unit) -> np.ndarray:
    if not isinstance(stored, Tensor):
        raise ExportError(f"{unit.name} is entropy-coded.", "Solve with --target onnx.")
    return np.asarray(half(stored, unit.name).numpy())
