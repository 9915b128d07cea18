"""Dense codes: every width and odd shape is read back, and takes as few bytes as possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genptq_core.errors import ExportError
from genptq_core.quantizers.packing import pack, packed_bytes, unpack


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 8), st.integers(1, 37), st.integers(1, 41))
def test_codes_survive_the_round_trip(
    data: st.DataObject, bits: int, rows: int, columns: int
) -> None:
    codes = data.draw(arrays(np.uint8, (rows, columns), elements=st.integers(0, 2**bits - 1)))
    packed = pack(codes, bits)
    assert packed.shape == (-(-rows * columns * bits // 8),) == (packed_bytes(codes.size, bits),)
    np.testing.assert_array_equal(unpack(packed, bits, codes.shape), codes)
    # The layout is what the module says, bit by bit.
    whole = int.from_bytes(packed.tobytes(), "little")
    for index, code in enumerate(codes.ravel().tolist()):
        assert whole >> index * bits & 2**bits - 1 == code
    assert whole >> codes.size * bits == 0


@pytest.mark.parametrize("bits", range(1, 8))
def test_a_code_too_wide_is_refused(bits: int) -> None:
    with pytest.raises(ExportError, match=f"fit in {bits} bits"):
        pack(np.array([[0, 2**bits]], dtype=np.uint8), bits)


@pytest.mark.parametrize(("size", "bits"), [(4, 3), (2, 3), (0, 1), (3, 9), (3, 0)])
def test_a_wrong_number_of_bytes_is_refused(size: int, bits: int) -> None:
    with pytest.raises(ExportError, match="are not 8 codes"):
        unpack(np.zeros(size, dtype=np.uint8), bits, (2, 4))
