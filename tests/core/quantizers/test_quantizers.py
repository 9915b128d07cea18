"""Grids, rounding to the nearest, GPTQ and sketches, on random weights of odd shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from genptq_core.quantizers import (
    Quantized,
    Sketch,
    fit_grid,
    quantize_gptq,
    quantize_grids,
    round_to_nearest,
    sketch,
)
from genptq_core.quantizers.gptq import DAMPING
from genptq_core.quantizers.grid import groups

widths = st.integers(1, 8)
shapes = st.tuples(st.integers(1, 7), st.integers(1, 21), st.sampled_from([1, 2, 3, 8, 64]))
scales = st.sampled_from([0.0, 1e-3, 1.0, 50.0])


def _weight(seed: int, rows: int, columns: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed % 2**63)
    weight = torch.randn(rows, columns, generator=generator)
    weight[torch.rand(rows, columns, generator=generator) < 0.1] = 0.0
    outliers = torch.rand(rows, columns, generator=generator) < 0.05
    return scale * torch.where(outliers, 8 * weight, weight)


def _inputs(seed: int, columns: int, count: int = 200) -> Tensor:
    """Second moment of correlated inputs."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5
    decay = torch.logspace(0, -2, columns)
    x = torch.randn(count, columns, generator=generator) @ (mixing * decay[:, None])
    return x.T @ x + 0.0


def _gptq(seed: int, weight: Tensor, bits: int, group_size: int) -> Quantized:
    return quantize_gptq(weight, _inputs(seed, weight.shape[1]), bits, group_size)


def _rtn(seed: int, weight: Tensor, bits: int, group_size: int) -> Quantized:
    return round_to_nearest(weight, fit_grid(weight, bits, group_size))


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32), shapes, widths, scales, st.sampled_from([_gptq, _rtn]))
def test_codes_and_grids_of_any_shape(seed, shape, bits, scale, method) -> None:  # type: ignore[no-untyped-def]
    rows, columns, group_size = shape
    weight = _weight(seed, rows, columns, scale)
    before = weight.clone()
    quantized = method(seed, weight, bits, group_size)
    assert torch.equal(weight, before), "the weight was changed"
    assert quantized.codes.shape == weight.shape
    assert quantized.codes.dtype == torch.uint8
    assert int(quantized.codes.max()) <= 2**bits - 1
    grid = quantized.grid
    assert (grid.bits, grid.group_size, grid.levels) == (bits, group_size, 2**bits - 1)
    assert grid.scale.shape == grid.zero.shape == (rows, groups(columns, group_size))
    assert (grid.scale > 0).all()
    assert torch.equal(grid.scale, grid.scale.half().float()), "not exact in float16"
    assert torch.equal(grid.zero, grid.zero.round().clamp(0, grid.levels))
    restored = quantized.dequantize()
    assert restored.dtype == torch.float32
    assert torch.isfinite(restored).all()
    for row in range(rows):
        for column in range(columns):
            s, z = (float(t[row, column // group_size]) for t in (grid.scale, grid.zero))
            assert float(restored[row, column]) == pytest.approx(
                s * (int(quantized.codes[row, column]) - z), rel=1e-6
            )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), shapes, widths)
def test_values_stay_within_what_the_group_spans(
    seed: int, shape: tuple[int, int, int], bits: int
) -> None:
    """The grid reaches at most half a step beyond the group's values and zero."""
    rows, columns, group_size = shape
    weight = _weight(seed, rows, columns)
    restored = _rtn(seed, weight, bits, group_size)
    values = restored.dequantize()
    for start in range(0, columns, group_size):
        block, back = (t[:, start : start + group_size] for t in (weight, values))
        step = restored.grid.scale[:, start // group_size, None] * 0.51
        assert (back <= block.amax(1, keepdim=True).clamp(min=0) + step).all()
        assert (back >= block.amin(1, keepdim=True).clamp(max=0) - step).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), shapes, widths, st.sampled_from([_gptq, _rtn]))
def test_groups_of_zeros_stay_zero(seed, shape, bits, method) -> None:  # type: ignore[no-untyped-def]
    rows, columns, group_size = shape
    weight = _weight(seed, rows, columns)
    weight[0] = 0.0
    restored = method(seed, weight, bits, group_size).dequantize()
    assert (restored[0] == 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), shapes, widths)
def test_exact_zeros_survive_rounding(seed: int, shape: tuple[int, int, int], bits: int) -> None:
    rows, columns, group_size = shape
    weight = _weight(seed, rows, columns)
    restored = _rtn(seed, weight, bits, group_size).dequantize()
    assert (restored[weight == 0] == 0).all()


def _min_max(weight: Tensor, bits: int, group_size: int) -> Tensor:
    """Plain asymmetric rounding over each group's full range, with a float16 scale."""
    out = torch.empty_like(weight)
    levels = 2**bits - 1
    for row in range(weight.shape[0]):
        for start in range(0, weight.shape[1], group_size):
            block = weight[row, start : start + group_size]
            low, high = min(float(block.min()), 0.0), max(float(block.max()), 0.0)
            scale = float(torch.tensor((high - low) / levels).half()) or 1.0
            zero = min(max(round(-low / scale), 0), levels)
            code = torch.round(block / scale + zero).clamp(0, levels)
            out[row, start : start + group_size] = (code - zero) * scale
    return out


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), shapes, widths, st.sampled_from([1e-3, 1.0, 50.0]))
def test_the_searched_grid_is_never_worse_than_min_max(
    seed: int, shape: tuple[int, int, int], bits: int, scale: float
) -> None:
    rows, columns, group_size = shape
    weight = _weight(seed, rows, columns, scale)
    searched = (_rtn(seed, weight, bits, group_size).dequantize() - weight).square()
    plain = (_min_max(weight, bits, group_size) - weight).square()
    for start in range(0, columns, group_size):
        ours, theirs = (e[:, start : start + group_size].sum(1) for e in (searched, plain))
        # A tie in rounding a zero point may fall either way: half a code, at most.
        assert (ours <= theirs * (1 + 1e-4) + 1e-10 * scale**2).all()


def test_clipping_pays_at_few_bits() -> None:
    weight = _weight(0, 64, 256)
    searched = (_rtn(0, weight, 3, 64).dequantize() - weight).square().sum()
    plain = (_min_max(weight, 3, 64) - weight).square().sum()
    assert searched < 0.95 * plain


def test_importance_moves_the_error_to_where_it_matters_less() -> None:
    weight = _weight(1, 32, 64)
    importance = torch.ones(64)
    importance[:8] = 1000.0
    even = round_to_nearest(weight, fit_grid(weight, 3, 64)).dequantize() - weight
    led = round_to_nearest(weight, fit_grid(weight, 3, 64, importance)).dequantize() - weight
    assert led[:, :8].square().sum() < even[:, :8].square().sum()
    assert (led.square() * importance).sum() < (even.square() * importance).sum()


@pytest.mark.parametrize("method", [_gptq, _rtn])
def test_error_falls_with_bits_and_is_small_at_eight(method) -> None:  # type: ignore[no-untyped-def]
    weight = torch.randn(32, 100, generator=torch.Generator().manual_seed(0))
    errors = [
        float((method(0, weight, bits, 32).dequantize() - weight).norm() / weight.norm())
        for bits in range(1, 9)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01
    assert errors[3] < 0.15


def test_rounding_a_weight_that_is_on_the_grid_changes_nothing() -> None:
    weight = _weight(2, 8, 48)
    grid = fit_grid(weight, 4, 16)
    once = round_to_nearest(weight, grid)
    again = round_to_nearest(once.dequantize(), grid)
    assert torch.equal(once.codes, again.codes)


def test_many_rows_are_like_few() -> None:
    """More rows than are searched at once."""
    weight = torch.randn(8192 + 5, 4, generator=torch.Generator().manual_seed(0))
    whole, part = fit_grid(weight, 3, 4), fit_grid(weight[-9:], 3, 4)
    assert torch.equal(whole.scale[-9:], part.scale)
    assert torch.equal(whole.zero[-9:], part.zero)


# GPTQ


def _loss(error: Tensor, hessian: Tensor) -> float:
    return float((error.double() @ hessian.double() * error.double()).sum())


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_gptq_beats_rounding_in_the_hessians_norm(bits: int) -> None:
    ratios = []
    for seed in range(10):
        weight, hessian = _weight(seed, 24, 70), _inputs(seed, 70)
        plain = _loss(_rtn(seed, weight, bits, 32).dequantize() - weight, hessian)
        compensated = _loss(quantize_gptq(weight, hessian, bits, 32).dequantize() - weight, hessian)
        ratios.append(compensated / plain)
    assert np.mean(ratios) < 0.8
    assert max(ratios) < 1.05


def _reference(weight: Tensor, hessian: Tensor, bits: int, group_size: int) -> Tensor:
    """Codes of GPTQ as it is defined: one column at a time, with the inverse Hessian itself."""
    diagonal = hessian.diagonal()
    grid = fit_grid(weight, bits, group_size, diagonal)
    remaining = weight.double().clone()
    codes = torch.zeros(weight.shape, dtype=torch.uint8)
    columns = torch.argsort(diagonal, descending=True).tolist()
    damped = hessian.double() + DAMPING * float(diagonal.mean()) * torch.eye(len(hessian))
    while columns:
        inverse = torch.linalg.inv(damped[columns][:, columns])
        column, group = columns[0], columns[0] // group_size
        scale, zero = grid.scale[:, group], grid.zero[:, group]
        code = torch.round(remaining[:, column] / scale + zero).clamp(0, grid.levels)
        codes[:, column] = code.to(torch.uint8)
        error = (remaining[:, column] - (code - zero) * scale) / inverse[0, 0]
        remaining[:, columns] -= error[:, None] * inverse[0]
        columns = columns[1:]
    return codes


@pytest.mark.parametrize(("columns", "group_size"), [(7, 3), (64, 16), (65, 64), (150, 64)])
def test_gptq_is_the_textbooks(columns: int, group_size: int) -> None:
    """Across blocks of columns too; a tie may fall either way, and then later codes follow it."""
    weight, hessian = _weight(11, 12, columns), _inputs(11, columns)
    codes = quantize_gptq(weight, hessian, 3, group_size).codes
    wanted = _reference(weight, hessian, 3, group_size)
    assert (codes == wanted).float().mean() > 0.99


def test_grids_at_once_are_those_alone() -> None:
    """They share a factor, and no grid changes the next one."""
    weight, hessian = _weight(5, 12, 40), _inputs(5, 40)
    grids = [(2, 8), (4, 16), (2, 40), (4, 16)]
    for moments in (hessian, torch.zeros(40, 40)):
        together = quantize_grids(weight, moments, grids)
        for quantized, (bits, size) in zip(together, grids, strict=True):
            alone = quantize_gptq(weight, moments, bits, size)
            assert torch.equal(quantized.codes, alone.codes)
            assert torch.equal(quantized.grid.scale, alone.grid.scale)
    nothing = torch.zeros(40, 40)
    plain = quantize_grids(weight, None, grids)
    for quantized, (bits, size) in zip(plain, grids, strict=True):
        assert torch.equal(quantized.codes, quantize_gptq(weight, nothing, bits, size).codes)


def test_gptq_rows_are_independent() -> None:
    weight, hessian = _weight(4, 40, 96), _inputs(4, 96)
    whole = quantize_gptq(weight, hessian, 3, 32)
    part = quantize_gptq(weight[11:23], hessian, 3, 32)
    assert torch.equal(whole.grid.scale[11:23], part.grid.scale)
    assert torch.equal(whole.grid.zero[11:23], part.grid.zero)
    # The order of sums depends on the shape, so a tie may fall either way, very rarely.
    assert (whole.codes[11:23] == part.codes).float().mean() > 0.995


def test_gptq_of_a_permuted_problem_is_permuted() -> None:
    weight, hessian = _weight(5, 12, 16), _inputs(5, 16)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    # One group, so that groups permute too.
    plain = quantize_gptq(weight, hessian, 4, 16).dequantize()
    shuffled = quantize_gptq(weight[:, order], hessian[order][:, order], 4, 16).dequantize()
    assert (plain[:, order] == shuffled).float().mean() > 0.98


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_a_hessian_that_says_nothing_means_rounding(bits: int) -> None:
    weight = _weight(6, 5, 30)
    quantized = quantize_gptq(weight, torch.zeros(30, 30), bits, 16)
    plain = round_to_nearest(weight, fit_grid(weight, bits, 16))
    assert torch.equal(quantized.codes, plain.codes)
    assert torch.equal(quantized.grid.scale, plain.grid.scale)


def test_a_diagonal_hessian_means_weighted_rounding() -> None:
    """Without correlations no column can make up for another's error."""
    weight = _weight(7, 6, 40)
    diagonal = torch.rand(40, generator=torch.Generator().manual_seed(0)) + 0.1
    quantized = quantize_gptq(weight, torch.diag(diagonal), 3, 8)
    plain = round_to_nearest(weight, fit_grid(weight, 3, 8, diagonal))
    assert torch.equal(quantized.codes, plain.codes)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_hessians_scale_does_not_matter(scale: float) -> None:
    weight, hessian = _weight(8, 10, 64), _inputs(8, 64)
    plain, scaled = (quantize_gptq(weight, h, 3, 32) for h in (hessian, scale * hessian))
    assert (plain.codes == scaled.codes).float().mean() > 0.995


def test_dead_inputs_and_rank_one() -> None:
    weight = _weight(9, 6, 20)
    hessian = torch.zeros(20, 20)
    hessian[3, 3] = 5.0
    restored = quantize_gptq(weight, hessian, 4, 8).dequantize()
    assert torch.isfinite(restored).all()
    vector = torch.randn(20, generator=torch.Generator().manual_seed(0))
    restored = quantize_gptq(weight, torch.outer(vector, vector), 4, 8).dequantize()
    assert torch.isfinite(restored).all()


def test_gptq_takes_parameters_and_half_precision() -> None:
    weight = torch.nn.Parameter(_weight(10, 4, 16))
    quantized = quantize_gptq(weight, _inputs(0, 16), 4, 8)
    assert not quantized.dequantize().requires_grad
    halved = quantize_gptq(weight.detach().half(), _inputs(0, 16), 4, 8)
    assert halved.dequantize().dtype == torch.float32


# Sketches


def _error(found: Sketch, hessian: Tensor) -> float:
    return float((found.dense() - hessian).norm() / hessian.norm())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 20),
    st.integers(1, 30),
    st.integers(1, 25),
    st.sampled_from([1e-4, 1.0, 1e6]),
)
def test_sketch_is_psd_and_keeps_the_diagonal(
    seed: int, columns: int, count: int, rank: int, scale: float
) -> None:
    hessian = scale * _inputs(seed, columns, count)
    small = sketch(hessian, rank)
    kept = min(rank, columns)
    assert small.factor.shape == (columns, kept)
    assert small.factor.dtype == torch.int8
    assert small.scale.shape == (kept,)
    assert (small.diagonal >= 0).all()
    dense = small.dense()
    assert torch.allclose(dense, dense.T)
    top = float(torch.linalg.eigvalsh(hessian.double()).max())
    assert float(torch.linalg.eigvalsh(dense.double()).min()) >= -1e-5 * top
    # Never below; above by what rounding the factor adds: half a step on each entry.
    difference = dense.diagonal() - hessian.diagonal()
    assert (difference >= -1e-5 * hessian.diagonal().abs().max()).all()
    step = (small.factor.float().abs() * small.scale**2).sum(1) + 0.25 * small.scale.square().sum()
    assert (difference <= step + 1e-5 * hessian.diagonal().abs().max()).all()


def test_a_full_sketch_is_close_and_a_small_one_less_so() -> None:
    hessian = _inputs(0, 40)
    errors = [_error(sketch(hessian, rank), hessian) for rank in (1, 5, 20, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01


def test_sketch_of_nothing_and_of_rank_one() -> None:
    empty = sketch(torch.zeros(6, 6), 3)
    assert (empty.dense() == 0).all()
    assert (empty.scale > 0).all()
    vector = torch.arange(1.0, 7.0)
    hessian = torch.outer(vector, vector)
    assert _error(sketch(hessian, 1), hessian) < 0.01
    tiny = sketch(torch.diag(torch.tensor([1.0, 1e-90], dtype=torch.float64)), 2)
    assert torch.isfinite(tiny.dense()).all()


def test_sketch_of_rank_zero_is_the_diagonal() -> None:
    hessian = _inputs(1, 6)
    empty = sketch(hessian, 0)
    assert empty.factor.shape == (6, 0)
    assert torch.allclose(empty.dense(), torch.diag(hessian.diagonal()))


def test_gptq_under_a_sketch_is_nearly_as_good() -> None:
    ratios = []
    for seed in range(6):
        weight, hessian = _weight(seed, 16, 64), _inputs(seed, 64)
        full = quantize_gptq(weight, hessian, 3, 32).dequantize() - weight
        small = quantize_gptq(weight, sketch(hessian, 32).dense(), 3, 32).dequantize() - weight
        ratios.append(_loss(small, hessian) / _loss(full, hessian))
    assert np.mean(ratios) < 1.15
