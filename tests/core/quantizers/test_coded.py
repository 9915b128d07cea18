"""Entropy-coded quantization: what is written fits in its bytes, and is read back the same."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.errors import ExportError
from genptq_core.quantizers.code_sizes import coded_bytes, side_bits
from genptq_core.quantizers.codec import decode, encode
from genptq_core.quantizers.coded import Coded, quantize_coded


def _logs(length: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-9, 10, (length,), generator=generator).to(torch.int8)


def _fits(
    weight: torch.Tensor,
    hessian: torch.Tensor | None,
    importance: torch.Tensor | None,
    rates: list[float],
) -> list[Coded]:
    results = quantize_coded(weight, hessian, importance, rates)
    return [result for result in results if result is not None]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    spread=st.sampled_from([0.0, 0.3, 1.0, 5.0, 80.0, 4000.0]),
    tails=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_codes_survive_the_round_trip(
    rows: int, columns: int, spread: float, tails: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values = random.standard_t(2, (rows, columns)) if tails else random.normal(size=(rows, columns))
    codes = torch.from_numpy(np.clip(np.rint(spread * values), -32767, 32767).astype(np.int16))
    row, column = _logs(rows, seed), _logs(columns, seed + 1)
    data = encode(codes, 0.125, row, column)
    most = coded_bytes(codes.T.contiguous(), side_bits(row) + side_bits(column))
    assert len(data) <= most <= 1.01 * len(data) + 24
    codes_read, step, row_read, column_read = decode(data, rows, columns)
    assert (codes_read == codes.numpy()).all()
    assert step == 0.125
    assert (row_read == row.numpy()).all()
    assert (column_read == column.numpy()).all()


@settings(max_examples=200, deadline=None)
@given(
    cut=st.integers(0, 400),
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=6),
)
def test_damage_is_an_error_of_ours_or_other_codes(cut: int, flips: list[tuple[int, int]]) -> None:
    codes = torch.randint(-4, 5, (16, 24), generator=torch.Generator().manual_seed(0)).short()
    data = bytearray(encode(codes, 0.5, _logs(16, 0), _logs(24, 1)))
    for where, mask in flips:
        data[where % len(data)] ^= mask
    try:
        found, *_ = decode(bytes(data[: len(data) - cut % len(data)]), 16, 24)
    except ExportError:
        return
    assert found.shape == (16, 24)


@pytest.mark.parametrize("rate", [1.5, 2.0, 2.75, 4.0, 6.0, 8.0])
def test_a_weight_fits_in_its_rate_and_nearly_fills_it(rate: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(256, 192, generator=generator)
    inputs = torch.randn(1000, 192, generator=generator) * torch.linspace(0.1, 3, 192)
    coded = _fits(weight, inputs.T @ inputs, torch.rand(256), [rate])[0]
    size = len(encode(coded.codes, coded.step, coded.row, coded.column))
    room = math.ceil(weight.numel() * rate / 8)
    assert 0.97 * room < size <= room


def test_each_bit_is_worth_about_six_decibels() -> None:
    weight = torch.randn(512, 256, generator=torch.Generator().manual_seed(1))
    errors = [
        float((coded.dequantize() - weight).square().mean())
        for coded in _fits(weight, None, None, [2.0, 3.0, 4.0])
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert 3.3 < coarse / fine < 4.8
    # Within half a bit of the Gaussian rate-distortion bound 4^-rate, with steps and tables.
    assert errors[1] < 2 * 4**-3


def test_rounding_minds_correlated_inputs() -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(128, 96, generator=generator)
    inputs = torch.randn(2000, 12, generator=generator) @ torch.randn(12, 96, generator=generator)
    inputs = inputs + 0.1 * torch.randn(2000, 96, generator=generator)
    hessian = inputs.T @ inputs

    def output_error(restored: torch.Tensor) -> float:
        return float((inputs @ (restored - weight).T).square().sum())

    plain = _fits(weight, None, None, [3.0])[0].dequantize()
    minding = _fits(weight, hessian, None, [3.0])[0].dequantize()
    assert output_error(minding) < 0.25 * output_error(plain)


def test_important_rows_are_kept_better() -> None:
    weight = torch.randn(200, 64, generator=torch.Generator().manual_seed(3))
    importance = torch.cat([torch.full((100,), 100.0), torch.full((100,), 0.1)])
    restored = _fits(weight, None, importance, [3.0])[0].dequantize()
    error = (restored - weight).square().mean(dim=1)
    assert float(error[:100].mean()) < 0.6 * float(error[100:].mean())


def test_what_cannot_fit_is_not_offered() -> None:
    assert quantize_coded(torch.randn(4, 4), None, None, [2.0]) == [None]
    assert quantize_coded(torch.zeros(4, 4), None, None, [2.0]) == [None]


def test_a_weight_of_zeros_stays_zero() -> None:
    coded = _fits(torch.zeros(64, 64), None, None, [2.0])[0]
    assert float(coded.dequantize().abs().max()) == 0
    data = encode(coded.codes, coded.step, coded.row, coded.column)
    assert (decode(data, 64, 64)[0] == 0).all()
