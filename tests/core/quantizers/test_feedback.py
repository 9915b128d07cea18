"""GPTQ's loop: the factor of a sketch is that of its matrix, and nothing in a batch meets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genptq_core.options import Option
from genptq_core.quantizers import Sketch, quantize, quantize_together, restored
from genptq_core.quantizers.feedback import Feedback, batches_of, feedback

WAYS = [Option(3, 16), Option(8, 64), Option(2.5), Option(6), Option(16)]


def sketched(columns: int, rank: int) -> Sketch:
    random = torch.Generator().manual_seed(columns)
    factor = torch.randint(-127, 128, (columns, rank), generator=random, dtype=torch.int8)
    scale = torch.logspace(-1, -3, rank)
    return Sketch(factor, scale, torch.rand(columns, generator=random))


def pull(passed: Feedback) -> Tensor:
    return passed.within(0, len(passed.order)).triu(1)


@pytest.mark.parametrize("columns", [5, 64, 65, 200])
def test_a_sketch_and_its_matrix_pass_errors_on_alike(columns: int) -> None:
    """200 columns of rank 1 are too many for a matrix to be made."""
    small = sketched(columns, 1)
    found, wanted = (feedback(h, 0.1, torch.device("cpu")) for h in (small, small.dense()))
    assert (found.left is not None) == (columns > 4)
    assert torch.equal(found.order, wanted.order)
    torch.testing.assert_close(found.diagonal, wanted.diagonal)
    torch.testing.assert_close(pull(found), pull(wanted), rtol=1e-4, atol=1e-6)
    steps = torch.rand(columns) + 0.5
    one, other = (passed.in_steps(steps) for passed in (found, wanted))
    torch.testing.assert_close(pull(one), pull(other), rtol=1e-4, atol=1e-6)
    # R R^T is the damped matrix.
    dense = small.dense()[found.order][:, found.order].double()
    damped = dense + 0.1 * dense.diagonal().mean() * torch.eye(columns)
    unit = pull(found).double() + torch.eye(columns)
    root = unit / found.diagonal.double()
    torch.testing.assert_close(root @ root.T, damped, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [8, 40])
def test_weights_together_are_rounded_as_each_alone(rank: int) -> None:
    """At every option, with a sketch that is used as it is, and with one whose matrix is."""
    torch.manual_seed(0)
    weights = [torch.randn(rows, 130) / 9 for rows in (70, 3, 64)]
    importance = [torch.rand(len(weight)) for weight in weights]
    small = sketched(130, rank)
    together = quantize_together(weights, small, importance, WAYS)
    for weight, rows, found in zip(weights, importance, together, strict=True):
        for option, stored in zip(WAYS, found, strict=True):
            (alone,) = quantize(weight, small, rows, [option])
            assert (stored is None) == (alone is None)
            if stored is not None and alone is not None:
                # A sum in another order may round a weight elsewhere, and later ones follow it.
                same = (restored(stored) == restored(alone)).float().mean()
                assert same > 0.97, option
    assert sum(stored is not None for found in together for stored in found) >= 12


def test_batches_hold_all_in_order() -> None:
    sizes = [3000, 2000, 5000, 96, 4000]
    batches = batches_of(sizes, lambda rows: rows, torch.device("cpu"))
    assert batches == [[3000], [2000], [5000], [96, 4000]]
