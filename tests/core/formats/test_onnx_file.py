"""ONNX files written one tensor after another: to the byte as the library writes them whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from genptq_core.errors import ExportError
from genptq_core.formats import onnx_file
from genptq_core.formats.onnx_weights import Lazy

KINDS = (np.float16, np.float32, np.uint8, np.int64)
TENSORS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 40), max_size=3)), max_size=6
)


def model_of(arrays: dict[str, np.ndarray], notes: dict[str, str]) -> onnx.ModelProto:
    """A graph that does something with each array, and the arrays in it."""
    nodes = [helper.make_node("Identity", [name], [f"{name}.out"], name) for name in arrays]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])]
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "small", ends, ends, stored)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, notes)
    return model


@settings(max_examples=40)
@given(tensors=TENSORS, notes=st.dictionaries(st.text("ab"), st.text()), external=st.booleans())
def test_files_are_those_of_the_library(
    tmp_path_factory: pytest.TempPathFactory,
    tensors: list[tuple[type[np.generic], list[int]]],
    notes: dict[str, str],
    external: bool,
) -> None:
    random = np.random.default_rng(len(tensors))
    arrays = {
        f"t{i}": random.integers(0, 9, size=shape).astype(kind)
        for i, (kind, shape) in enumerate(tensors)
    }
    folder = tmp_path_factory.mktemp("files")
    (folder / "whole").mkdir()
    (folder / "parts").mkdir()
    onnx.save(
        model_of(arrays, notes),
        folder / "whole" / "m.onnx",
        save_as_external_data=external,
        location="m.onnx.data" if external else None,
    )
    bare = model_of(arrays, notes)
    del bare.graph.initializer[:]
    lazy = {name: onnx_file.constant(array) for name, array in arrays.items()}
    onnx_file.write(folder / "parts" / "m.onnx", bare, lazy, external)
    for path in (folder / "whole").iterdir():
        assert (folder / "parts" / path.name).read_bytes() == path.read_bytes()


def test_values_of_another_kind_are_refused(tmp_path: Path) -> None:
    wrong = Lazy(np.dtype(np.float16), (2,), lambda: np.zeros(2, np.float32))
    with pytest.raises(ExportError, match="t is float32, not float16"):
        onnx_file.write(tmp_path / "m.onnx", model_of({}, {}), {"t": wrong}, external=False)
    short = Lazy(np.dtype(np.float16), (2,), lambda: np.zeros(3, np.float16))
    with pytest.raises(ExportError, match=r"t has shape \(3,\), not \(2,\)"):
        onnx_file.write(tmp_path / "m.onnx", model_of({}, {}), {"t": short}, external=False)
