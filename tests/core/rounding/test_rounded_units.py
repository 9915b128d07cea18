"""Units are rounded once for all maps of a sweep, to the same weights, within a bound."""

from __future__ import annotations

import pytest
import torch

from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.options import Option
from genptq_core.quantizers import Stored
from genptq_core.quantizers.coded import Coded
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.rounding.rounded_units import RoundedUnits
from tests.core import synthetic
from tests.core.tiny_models import WAV2VEC2, random_ctc


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_model(str(random_ctc(tmp_path_factory.mktemp("model"), WAV2VEC2)))


def test_a_second_map_rounds_only_what_differs(model: SpeechModel) -> None:
    profile = synthetic.profile_of(model, group_size=16, bits=(2, 4), rates=(3.0,))
    count = len(profile.units)
    kept = RoundedUnits()
    first = [Option(3.0)] + [Option(4, 16)] * (count - 2) + [Option(16)]
    second = [Option(2, 16), *first[1:]]
    for options, found, missed in (
        (first, 0, count - 1),
        (second, count - 2, 1),
        (first, count, 0),
    ):
        kept.found = kept.missed = 0
        weights = quantized_weights(model, profile, options, kept=kept)
        assert (kept.found, kept.missed) == (min(found, count - 1), missed)
        fresh = quantized_weights(model, profile, options)
        assert weights.keys() == fresh.keys()
        assert all(torch.equal(weights[name], fresh[name]) for name in fresh)
    other = synthetic.profile_of(model, group_size=16, bits=(2, 3))
    kept.found = 0
    quantized_weights(model, other, [Option(2, 16)] * count, kept=kept)
    assert kept.found == 0


def _coded(most: int, rows: int = 10) -> Stored:
    codes = torch.full((rows, 10), most, dtype=torch.int16)
    none = torch.zeros(rows, dtype=torch.int8), torch.zeros(10, dtype=torch.int8)
    return Coded(codes, 0.5, *none)


def test_the_longest_unused_go_first() -> None:
    kept = RoundedUnits(most=300)
    for key in "ab":
        kept.keep(key, _coded(5))
    assert kept.bytes == 2 * 120  # codes in a byte each, and the steps of rows and columns
    assert kept.get("a") is not None
    kept.keep("c", _coded(5))
    assert kept.get("b") is None and kept.get("a") is not None and kept.bytes == 240
    kept.keep("large", _coded(5, rows=40))
    assert kept.get("large") is None and kept.bytes == 240
    kept.keep("a", _coded(5))
    assert kept.bytes == 240
    kept.clear()
    assert kept.bytes == 0 and kept.get("a") is None


@pytest.mark.parametrize(("most", "type_"), [(-127, torch.int8), (128, torch.int16)])
def test_narrow_codes_stand_for_the_same_weight(most: int, type_: torch.dtype) -> None:
    kept, stored = RoundedUnits(), _coded(most)
    kept.keep(0, stored)
    found = kept.get(0)
    assert isinstance(found, Coded) and isinstance(stored, Coded) and found.codes.dtype == type_
    assert torch.equal(found.dequantize(), stored.dequantize())
