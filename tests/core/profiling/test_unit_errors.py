"""Rounding errors kept as codes or numbers: weights come back, products are the plain ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genptq_core.options import Option
from genptq_core.profiling.unit_errors import UnitErrors, write_errors
from genptq_core.quantizers import Coded, Quantized, Sketch, quantize, restored
from genptq_core.quantizers.near_codes import near_parts, stored_of

WAYS = [Option(2, 16), Option(8, 64), Option(1.5), Option(3), Option(8), Option(4.5, block="q4_0")]


@pytest.mark.parametrize(("columns", "as_numbers"), [(96, False), (37, False), (37, True)])
def test_weights_come_back_and_products_are_plain(
    columns: int, as_numbers: bool, tmp_path: Path
) -> None:
    """Codes to the bit, those too that are further than one from the nearest."""
    torch.manual_seed(columns)
    weight = torch.randn(301, columns) / 8
    weight[0] = 0
    factor = torch.randint(-127, 128, (columns, 12), dtype=torch.int8)
    sketch = Sketch(factor, torch.logspace(0, -4, 12), torch.full((columns,), 1e-3))
    rounded = quantize(weight, sketch, torch.rand(301), WAYS)
    for stored in rounded:
        if isinstance(stored, Coded | Quantized):
            stored.codes[::50, ::20] = 0
    path = tmp_path / "unit.safetensors"
    of_option = dict(zip(WAYS, rounded, strict=True))
    write_errors(path, weight, of_option, as_numbers=as_numbers)
    slopes = torch.randn(3, 301, columns)
    errors, listed = UnitErrors(path, weight), 0
    found = errors.products(list(slopes), WAYS)
    for index, (option, stored) in enumerate(zip(WAYS, rounded, strict=True)):
        again = errors.restored(option)
        if stored is None:
            assert again is None and found[:, index].isnan().all()
            continue
        wanted = restored(stored)
        assert again is not None
        if as_numbers or option.form == "block":  # kept as a float16 error
            torch.testing.assert_close(again, wanted, rtol=1e-3, atol=1e-4)
        else:
            assert torch.equal(again, wanted), option
            parts = near_parts(weight, stored)
            assert torch.equal(stored_of(weight, option, parts).codes, stored.codes)
            listed += len(parts["at"])
        plain = (slopes.double() * (wanted.double() - weight)).sum(dim=(1, 2))
        scale = slopes.norm() * (wanted - weight).norm() / (301 * columns) ** 0.5
        assert float((found[:, index] - plain).abs().max()) < 1e-3 * float(scale)
    assert as_numbers or listed > 0
    assert sum(stored is not None for stored in rounded) >= 4
    with pytest.raises(KeyError):
        errors.restored(Option(7, 64))
