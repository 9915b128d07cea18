"""From knobs to a scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.page import loaders
from dashboard.page.build import Loaded, scene_of
from dashboard.page.knobs import BY_ACCURACY, Knobs
from dashboard.page.scene import Scene
from genptq_core.measurement.records import Measured
from genptq_core.measurement.store import ship


@pytest.fixture
def loaded(profiles: Path, records: list[Measured]) -> Loaded:
    basic = [replace(r, normalizer="basic", words=r.words // 2) for r in records[1:]]
    ship(profiles / "made-up", [*records, *basic])
    return loaders.load(profiles / "made-up", "native")


def _scene(loaded: Loaded, knobs: Knobs) -> Scene:
    start = loaders.start_of(loaded, loaded.measured.usual)
    return scene_of(loaded, knobs, loaders.constrain(loaded, knobs), start)


def test_the_knobs_choose_speech_and_pick(loaded: Loaded, records: list[Measured]) -> None:
    usual, basic = loaded.measured.sets
    size = loaded.sizes.values[len(loaded.sizes.values) // 2]
    knobs = Knobs("made-up", size_mb=size, max_bits=16)
    scene = _scene(loaded, knobs)
    assert scene.speech == usual and scene.second is None
    assert scene.pick is not None and scene.pick.allocation.bytes <= 1e6 * size
    assert scene.pick_cost is not None and scene.pick_cost.how == "predicted"
    assert [cost.speech for cost in scene.pick_costs] == [usual, basic]
    word = loaded.measured.word(basic)
    both = _scene(loaded, replace(knobs, speech=word, second=loaded.measured.word(usual)))
    assert (both.speech, both.second) == (basic, usual)
    assert _scene(loaded, replace(knobs, speech=word, second=word)).second is None
    picked = _scene(loaded, replace(knobs, pick=records[0].map_digest[:10]))
    assert picked.pick is not None and picked.pick.by_hand
    assert picked.pick_cost is not None and picked.pick_cost.record is not None
    assert [cost.how for cost in picked.pick_costs][1] != "measured"


def test_knobs_that_no_map_satisfies_give_a_scene_without_pick(loaded: Loaded) -> None:
    small = Knobs("made-up", size_mb=loaded.sizes.values[0], min_bits=8, max_bits=16)
    scene = _scene(loaded, small)
    assert scene.pick is None and scene.pick_cost is None and scene.pick_costs == ()
    assert scene.infeasible is not None and scene.infeasible.smallest > 1e6 * small.size_mb
    loose = replace(small, mode=BY_ACCURACY, points=10.0)
    assert _scene(loaded, loose).infeasible is None
