"""Who lends a curve to whom."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from genptq_core.measurement.borrowing import borrowed_curve, curves_of
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import measured_sets
from genptq_core.profile import bundled_profile
from tests.core import synthetic

PROFILE = synthetic.profile(0, units=4)
CONFORMER = bundled_profile("conformer-an4")


def _records(count: int, speech: str) -> list[Measured]:
    digest = f"{len(speech):x}" * 64
    return [
        dataclasses.replace(
            synthetic.measured(PROFILE, bits, wer_increase=0.02 / bits, speech=speech),
            speech_digest=digest,
        )
        for bits in synthetic.BITS[:count]
    ]


def test_a_new_profile_borrows_from_its_family(cache: Path) -> None:
    assert PROFILE.source.family == "whisper"
    curve = borrowed_curve(PROFILE)
    assert "whisper-tiny.en" in curve.borrowed_from and "conformer-an4" not in curve.borrowed_from
    assert curve.interval(0.01)[1] > 0.01  # what costs something is not said to be free
    low, high = curve.interval(0.05)
    assert 0 < float(low) < float(curve.increase(0.05)) < float(high) < 1


def test_no_model_borrows_from_itself() -> None:
    assert "conformer-an4" not in borrowed_curve(CONFORMER).borrowed_from
    assert "whisper-tiny.en" in borrowed_curve(CONFORMER).borrowed_from


@pytest.mark.parametrize("count", [1, 4])
def test_few_maps_narrow_what_is_borrowed_and_five_stand_alone(count: int) -> None:
    few, many = (curves_of(PROFILE, measured_sets(_records(maps, "one"))) for maps in (count, 5))
    (borrowed,), (own,) = few.values(), many.values()
    assert borrowed.points == count and borrowed.borrowed_from
    assert own.points == 5 and own.borrowed_from == ()


def test_a_model_lends_itself_what_it_costs_on_other_speech() -> None:
    sets = measured_sets([*_records(5, "one"), *_records(2, "other")])
    found = {s.name: curves_of(PROFILE, sets)[s.key] for s in sets}
    assert found["one"].borrowed_from == ()
    assert found["other"].borrowed_from == (f"{PROFILE.source.model} on one",)
    assert found["other"].points == 2
