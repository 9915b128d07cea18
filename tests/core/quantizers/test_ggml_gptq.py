"""GPTQ onto block types: outputs change less than by rounding to the nearest code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genptq_core.options import BLOCKS, Option, block_option, block_options
from genptq_core.quantizers import Blocks, quantize, quantize_blocks, restored
from genptq_core.quantizers.ggml import nearest, unpack
from genptq_core.quantizers.tensors import as_tensors, from_tensors


def problem(rows: int = 24, columns: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight, and the second moment of inputs that depend on each other."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(columns, columns // 4, generator=generator)
    inputs = torch.randn(600, columns // 4, generator=generator) @ mix.T
    inputs += 0.3 * torch.randn(600, columns, generator=generator)
    weight = 0.05 * torch.randn(rows, columns, generator=generator)
    return weight, inputs.T @ inputs


@pytest.mark.parametrize("name", BLOCKS)
def test_outputs_change_less(name: str) -> None:
    weight, hessian = problem()

    def error(read: torch.Tensor) -> float:
        difference = read - weight
        return float(((difference @ hessian) * difference).sum())

    (found,) = quantize_blocks(weight, hessian, [name])
    assert found is not None
    plain = torch.from_numpy(unpack(name, nearest(name, weight.numpy()), 256))
    assert error(found.dequantize()) < 0.5 * error(plain)
    data = found.packed()
    np.testing.assert_array_equal(unpack(name, data, 256), found.dequantize().numpy())
    parts = as_tensors("a unit", block_option(name), found)
    again = from_tensors(parts, block_option(name), *weight.shape)
    torch.testing.assert_close(restored(again), found.dequantize(), rtol=0, atol=0)


@pytest.mark.parametrize("hessian", [None, torch.zeros(64, 64)])
def test_without_inputs_weights_go_to_the_nearest_code(hessian: torch.Tensor | None) -> None:
    weight = problem(5, 64)[0]
    options = (*block_options(["q5_1", "q4_k"]), Option(3, 32))
    found, none, grid = quantize(weight, hessian, None, options)
    assert isinstance(found, Blocks) and none is None and grid is not None
    plain = unpack("q5_1", nearest("q5_1", weight.numpy()), 64)
    ours = float((found.dequantize() - weight).square().sum())
    assert ours <= float(np.square(plain - weight.numpy()).sum())


def test_zeros_stay_zero() -> None:
    weight, hessian = problem(3, 32)
    weight[1] = 0
    for found in quantize_blocks(weight, hessian, ["q4_0", "q4_1", "q8_0"]):
        assert found is not None
        assert not found.dequantize()[1].any()
