"""The measurement that teaches most."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from genptq_core.allocation.front import predicted_front
from genptq_core.measurement.next_map import USEFUL, suggest_maps, suggest_next_map
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import curve_of, measured_sets
from tests.core import synthetic

PROFILE = synthetic.profile(3, units=12)
FRONT = predicted_front(synthetic.problem(3, units=12))


def _at(loss: float) -> Measured:
    record = synthetic.measured(PROFILE, 4)
    return dataclasses.replace(record, predicted_loss=loss, wer_increase=0.3 * loss)


def _ends() -> tuple[float, float]:
    useful = FRONT.loss[(FRONT.loss > 0) & (FRONT.loss <= 1)]
    return float(useful.min()), float(useful.max())


def test_with_nothing_measured_it_is_the_middle() -> None:
    found = suggest_next_map(FRONT, None, [])
    assert found is not None
    low, high = _ends()
    assert low < found.loss < high
    assert FRONT.bytes[found.point] == found.bytes
    assert 0 < found.share < 1


def test_what_is_known_is_not_asked_again() -> None:
    records: list[Measured] = []
    asked, shares = [], []
    for _ in range(4):
        found = suggest_next_map(FRONT, None, records)
        assert found is not None
        asked.append(np.log(found.loss))
        shares.append(found.share)
        records.append(_at(found.loss))
    # Each is a factor of loss away from all before it.
    gaps = [min(abs(a - b) for b in asked[:i]) for i, a in enumerate(asked) if i]
    assert min(gaps) > 0.5


def test_several_are_spread_over_the_useful_losses() -> None:
    found = suggest_maps(FRONT, None, [], 5)
    assert len(found) == 5 and found[0] == suggest_next_map(FRONT, None, [])
    losses = np.sort(np.log([one.loss for one in found]))
    assert np.diff(losses).min() > 0.5
    low, high = np.log(_ends())
    assert losses[-1] - losses[0] > 0.4 * (high - low)


def test_with_a_curve_it_stays_where_maps_are_useful() -> None:
    low, high = _ends()
    records = [_at(loss) for loss in np.geomspace(low, high, 6)]
    curve = curve_of(measured_sets(records)[0])
    assert curve is not None
    found = suggest_next_map(FRONT, curve, records)
    assert found is not None
    assert curve.increase(found.loss) <= USEFUL
    assert 0 <= found.share < 1


def test_a_measurement_lowers_what_the_next_can_teach() -> None:
    first = suggest_next_map(FRONT, None, [])
    assert first is not None
    again = suggest_next_map(FRONT, None, [_at(first.loss)] * 3)
    assert again is not None and again.loss != pytest.approx(first.loss)


def test_a_front_without_losses_teaches_nothing() -> None:
    flat = dataclasses.replace(FRONT, loss=np.zeros(len(FRONT.bytes)), knee=0, hypervolume=1.0)
    assert suggest_next_map(flat, None, []) is None
