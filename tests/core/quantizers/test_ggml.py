"""Block types of ggml: bit for bit what its own library writes and reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genptq_core.errors import ExportError
from genptq_core.quantizers import ggml
from tests.core.quantizers.ggml_oracle import dequantized, quantized

SMALL = [name for name, kind in ggml.TYPES.items() if not kind.nested]


def weights(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Weights with outliers, a row of zeros, and a row of one sign."""
    random = np.random.default_rng(seed)
    made = random.standard_t(4, size=(rows, columns)).astype(np.float32) * 0.05
    made[0] = 0
    made[1] = np.abs(made[1])
    return made


@pytest.mark.parametrize("name", ggml.TYPES)
def test_bytes_by_ggml_read_as_ggml_reads_them(name: str) -> None:
    kind = ggml.TYPES[name]
    data = quantized(kind, weights(7, 512))
    np.testing.assert_array_equal(ggml.unpack(name, data, 512), dequantized(kind, data, 512))
    codes, scales = ggml.unpack_codes(kind, data, 512)
    np.testing.assert_array_equal(ggml.pack(codes, scales), data)


@pytest.mark.parametrize("name", ggml.TYPES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_all_bytes_survive_the_round_trip_and_read_as_ggml_reads_them(
    name: str, data: st.DataObject
) -> None:
    kind = ggml.TYPES[name]
    rows, blocks = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    cells = data.draw(arrays(np.uint8, (rows, blocks * kind.bytes)))
    columns = blocks * kind.weights
    codes, scales = ggml.unpack_codes(kind, cells, columns)
    assert codes.max() <= kind.most
    np.testing.assert_array_equal(ggml.pack(codes, scales), cells)
    np.testing.assert_array_equal(
        ggml.unpack(name, cells, columns), dequantized(kind, cells, columns)
    )


@pytest.mark.parametrize("name", SMALL)
def test_rounding_is_at_least_as_close_as_ggmls_in_every_block(name: str) -> None:
    kind = ggml.TYPES[name]
    weight = weights(40, 256, seed=1)
    ours = ggml.unpack(name, ggml.nearest(name, weight), 256)
    theirs = dequantized(kind, quantized(kind, weight), 256)
    errors = [
        np.square(read.astype(np.float64) - weight).reshape(40, -1, 32).sum(axis=2)
        for read in (ours, theirs)
    ]
    assert (errors[0] <= errors[1] * (1 + 1e-5)).all()
    assert errors[0].sum() < errors[1].sum()


@pytest.mark.parametrize("name", ["q4_k", "q5_k", "q6_k"])
def test_nested_rounding_is_at_least_as_close_as_ggmls(name: str) -> None:
    kind = ggml.TYPES[name]
    weight = weights(40, 512, seed=2)
    ours = np.square(ggml.unpack(name, ggml.nearest(name, weight), 512) - weight).sum()
    theirs = np.square(dequantized(kind, quantized(kind, weight), 512) - weight).sum()
    assert ours <= theirs


@pytest.mark.parametrize("name", ggml.TYPES)
def test_importance_lowers_the_error_that_it_weighs(name: str) -> None:
    kind = ggml.TYPES[name]
    weight = weights(30, 256, seed=3)
    minds = np.random.default_rng(4).gamma(0.3, size=256).astype(np.float32)

    def error(scales: ggml.Scales) -> float:
        read = ggml.restored(ggml.nearest_codes(weight, scales), scales)
        return float((np.square(read - weight) * minds).sum())

    with_it = error(ggml.choose_scales(kind, weight, minds))
    assert with_it < error(ggml.choose_scales(kind, weight))


@pytest.mark.parametrize("name", ggml.TYPES)
@pytest.mark.parametrize("value", [0.0, 3e-8, 1e6, -1e6])
def test_extreme_weights_give_finite_ones(name: str, value: float) -> None:
    weight = np.full((2, 256), value, dtype=np.float32)
    assert np.isfinite(ggml.unpack(name, ggml.nearest(name, weight), 256)).all()


def test_what_does_not_fit_is_refused() -> None:
    weight = np.zeros((2, 48), dtype=np.float32)
    with pytest.raises(ExportError, match="48 weights are no whole blocks of q4_0"):
        ggml.nearest("q4_0", weight)
    with pytest.raises(ExportError, match="no block type 'q3_k'"):
        ggml.nearest("q3_k", weight)
    with pytest.raises(ExportError, match="not 36 bytes of q4_0"):
        ggml.unpack("q4_0", np.zeros((2, 35), dtype=np.uint8), 64)
    scales = ggml.choose_scales(ggml.TYPES["q4_1"], np.zeros((1, 32), dtype=np.float32))
    with pytest.raises(ExportError, match="does not fit in q4_1"):
        ggml.pack(np.full((1, 32), 16, dtype=np.uint8), scales)
