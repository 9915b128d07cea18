"""What is measured next, when it is enough, and what is recommended; and all of it on a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from genptq_core.allocation.front import Front
from genptq_core.allocation.wer_curve import fit_wer_curve
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.loading import load_model
from genptq_core.measurement.exploration import Explored, explore
from genptq_core.measurement.exploring import ENOUGH, half_width, next_point, recommended
from genptq_core.measurement.records import Measured
from genptq_core.measurement.runaways import RanAway
from genptq_core.measurement.store import load_measured
from genptq_core.profile import save
from genptq_core.speech.utterances import load_manifest
from tests.core import synthetic
from tests.core.tiny_models import WAV2VEC2, random_ctc

LOSS = np.geomspace(0.2, 0.0005, 30)
FRONT = Front(np.zeros((30, 1), np.int64), np.arange(30) + 10, LOSS, 15, 0.5)
PROFILE = synthetic.profile(0, units=4)


def _record(point: int, increase: float, new: tuple[str, ...] = ()) -> Measured:
    made = synthetic.measured(PROFILE, 4, wer_increase=increase)
    return dataclasses.replace(
        made,
        predicted_loss=float(LOSS[point]),
        ci95=(increase - 0.001, increase + 0.001),
        runaways=RanAway(new, (), (), (), None),
    )


def _known(noise: float) -> list[Measured]:
    points = np.arange(1, 30, 3)
    signs = np.where(np.arange(10) % 2, 1, -1)
    return [_record(int(p), float(LOSS[p] + s * noise)) for p, s in zip(points, signs, strict=True)]


def _curve(records: list[Measured]):  # type: ignore[no-untyped-def]
    return fit_wer_curve([m.predicted_loss for m in records], [m.wer_increase for m in records])


def test_a_narrow_band_is_enough_once_the_pick_is_measured() -> None:
    records = _known(0.0002)
    curve = _curve(records)
    assert half_width(FRONT, curve) < ENOUGH
    pick = recommended(FRONT, curve, records)
    assert pick is not None
    assert FRONT.loss[pick] < 0.01 < FRONT.loss[pick - 2]
    assert next_point(FRONT, curve, records) == pick
    measured = [*records, _record(pick, float(LOSS[pick]))]
    assert next_point(FRONT, curve, measured) is None


@pytest.mark.parametrize(("increase", "new"), [(0.02, ()), (0.005, ("a",))])
def test_a_pick_that_proved_bad_makes_room_for_the_next(
    increase: float, new: tuple[str, ...]
) -> None:
    records = _known(0.0002)
    curve = _curve(records)
    pick = recommended(FRONT, curve, records)
    assert pick is not None
    assert recommended(FRONT, curve, [*records, _record(pick, increase, new=new)]) == pick + 1


def test_a_wide_band_asks_for_another_map_and_for_none_twice() -> None:
    records = _known(0.01)
    curve = _curve(records)
    assert half_width(FRONT, curve) > ENOUGH
    seen: set[int] = set()
    for _ in range(6):
        point = next_point(FRONT, curve, records)
        assert point is not None and point not in seen and point % 3 != 1
        seen.add(point)
        records.append(_record(point, float(LOSS[point])))


def test_a_front_is_explored_in_turns(tones: Path, tmp_path: Path, cache: Path) -> None:
    model = load_model(str(random_ctc(tmp_path / "model", WAV2VEC2)))
    profile = synthetic.profile_of(model, group_size=16, bits=(2, 3, 4, 8))
    profile = save(profile, tmp_path / "profile")
    speech = load_manifest(tones, 3)
    now = [0.0]

    def clock() -> float:
        now[0] += 10
        return now[0]

    def steps(seconds: float) -> list[Explored]:
        found = explore(
            model, tmp_path / "profile", speech, seconds=seconds, target="integer", clock=clock
        )
        return list(found)

    first = steps(0)  # no time: one map all the same
    assert [len(known.records) for known in first] == [0, 1]
    assert first[-1].curve.points == 1 and first[-1].curve.borrowed_from
    second = steps(40)
    assert [len(known.records) for known in second][:2] == [1, 2]
    digests = [record.map_digest for record in load_measured(tmp_path / "profile", profile.digest)]
    assert len(digests) == len(set(digests)) == len(second[-1].records)
    point = second[-1].next
    if point is not None:
        assert second[-1].record_of(second[-1].map_at(point)) is None
    assert second[-1].record_of(bit_map(profile, ["16"] * len(profile.units))) is None
