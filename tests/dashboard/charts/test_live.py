"""What the live screen is sent: the table that drags look up, and the pick."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dashboard.charts.live import markup, script
from dashboard.charts.live_pick import pick_of
from dashboard.charts.live_table import REFERENCE_BITS, reference_column, table_of
from dashboard.page import loaders
from dashboard.page.build import Constrained, scene_of
from dashboard.page.knobs import BY_ACCURACY, Knobs, most_points
from dashboard.page.offers import offers
from dashboard.page.scene import Scene
from dashboard.page.verdict import WORDS
from genptq_core.allocation.problem import problem
from genptq_core.measurement.records import Measured
from genptq_core.measurement.store import ship
from genptq_core.measurement.verdict import LIMITS
from genptq_core.profile import JSON_NAME, Profile, load_profile
from genptq_core.speech.utterances import SpeechSet
from genptq_core.storage.locations import bundled_profiles

from ..conftest import record

TINY = bundled_profiles() / "whisper-tiny.en"


def scene(folder: Path, size_mb: float = 0.0, target: str = "native", **more: object) -> Scene:
    """The scene of a folder of one profile."""
    loaded = loaders.load(folder, target)
    start = loaders.start_of(loaded, loaded.measured.usual)
    knobs = Knobs(folder.name, size_mb=size_mb or start.size_mb, target=target)
    knobs = replace(knobs, **more)  # type: ignore[arg-type]
    constrained: Constrained = loaders.constrain(loaded, knobs)
    return scene_of(loaded, knobs, constrained, start)


@pytest.fixture
def shown(profiles: Path, records: list[Measured]) -> Scene:
    return scene(profiles / "made-up")


def test_the_table_says_what_each_size_gets(shown: Scene) -> None:
    table = loaders.drag_of(shown)
    sent = table_of(shown, table)
    count, units = len(table.bytes), len(shown.profile.units)
    choices = np.frombuffer(base64.b64decode(sent["choices"]), np.uint8).reshape(count, units)
    assert np.array_equal(choices, table.choices)
    cost = np.frombuffer(base64.b64decode(sent["cost"]), "<i4").reshape(units, -1)
    sizes = shown.problem.fixed + cost[np.arange(units), choices].sum(axis=1)
    assert sizes.tolist() == sent["bytes"] == sorted(sent["bytes"])
    wer = sent["wer"]
    assert wer["high"] == sorted(wer["high"], reverse=True)
    assert len(sent["verdict"]["level"]) == count == len(wer["more"])
    assert sent["verdict"]["level"] == sorted(sent["verdict"]["level"], reverse=True)
    curve = shown.curve
    assert curve is not None
    assert wer["beyond"] == (table.loss > curve.largest).sum()
    assert max(sent["allowed"]["values"]) <= most_points(curve) + 1e-9
    assert {mark["map"] for mark in sent["marks"]} == {r.map_digest for r in shown.records}
    assert sent["id"] == table_of(shown, table)["id"], "equal content is sent once"
    assert shown.way is not None and sent["memory"] == [
        shown.way.memory(shown.profile, [shown.problem.menu[c] for c in choices[0]])
    ], "float32 in this program, whatever the map"


def test_the_pick_is_the_exact_answer(shown: Scene) -> None:
    sent = pick_of(shown, "x", layer=2, offers=offers(shown, 2))
    assert shown.pick is not None
    assert sent["pick"]["bytes"] == shown.pick.allocation.bytes <= 1e6 * sent["mb"]
    assert sum(sent["pick"]["unitBytes"]) + shown.problem.fixed == sent["pick"]["bytes"]
    assert sent["pick"]["digest"] == shown.pick.map.digest[:10]
    labels = [label for label, _ in sent["offers"]]
    assert labels[0].startswith("Lock at") and any(label.startswith("Tie") for label in labels)
    assert all("points" in price or "costs" in price for _, price in sent["offers"][:1])


def test_without_measurements_the_front_is_borrowed(profiles: Path, profile: Profile) -> None:
    bare = scene(profiles / "made-up")
    table = loaders.drag_of(bare)
    sent = table_of(bare, table)
    assert sent["wer"] is None and sent["verdict"] is None
    guide = bare.guide
    assert bare.curve is None and guide is not None
    assert sent["allowed"]["kind"] == "points"
    assert min(sent["allowed"]["values"]) > 100 * guide.floor
    shown = pick_of(bare, "x")["pick"]
    assert shown["verdict"]["level"] is None and shown["cost"] is None
    # Until then the models that ship lend theirs, and it is never safe.
    assert any("whisper-tiny.en" in name for name in sent["borrowed"]["from"])
    assert min(sent["borrowed"]["level"]) == 1 and shown["borrowed"]["level"] >= 1
    assert shown["borrowed"]["low"] < shown["borrowed"]["high"]
    for end in ("low", "more", "high"):  # a smaller map loses no less
        assert sent["borrowed"][end] == sorted(sent["borrowed"][end], reverse=True)
        assert len(sent["borrowed"][end]) == len(table.bytes)
    asked = scene(profiles / "made-up", mode=BY_ACCURACY, points=2.0)
    assert asked.pick is not None
    assert guide.interval(asked.pick.allocation.predicted_loss)[1] <= 0.02 + 1e-9


def test_nothing_is_borrowed_where_enough_was_measured(shown: Scene) -> None:
    assert table_of(shown, loaders.drag_of(shown))["borrowed"] is None
    assert pick_of(shown, "x")["pick"]["borrowed"] is None


def test_every_level_has_a_word(shown: Scene) -> None:
    assert len(WORDS) == len(LIMITS) + 1
    sent = table_of(shown, loaders.drag_of(shown))
    assert set(sent["verdict"]["level"]) <= set(range(len(WORDS)))


def test_a_map_of_another_format_is_crossed_out(formats: Profile, profiles: Path) -> None:
    other = scene(profiles / "made-up")
    sent = table_of(other, loaders.drag_of(other))
    kinds = {mark["map"]: mark["kind"] for mark in sent["marks"]}
    for known in other.records:
        assert (kinds[known.map_digest] == "other") != other.holds(known.options)


def test_a_verdict_says_whose_maps_it_rests_on(
    formats: Profile, profiles: Path, demo: SpeechSet
) -> None:
    folder = profiles / "made-up"
    pairs = ("44", "66", "46", "36", "34", "64")
    ship(folder, [record(formats, tuple(pair) * 12, demo) for pair in pairs])
    for target, stand_in in (("native", False), ("integer", True)):
        shown = scene(folder, target=target)
        sent = table_of(shown, loaders.drag_of(shown))
        assert sent["verdict"]["others"] == (sent["verdict"]["sets"] if stand_in else [])


@pytest.mark.skipif(not (TINY / JSON_NAME).is_file(), reason="the bundled profile is not here")
@pytest.mark.parametrize("target", ["native", "onnx", "mlx", "gguf", "compressed-tensors"])
def test_sensitivities_are_there_for_each_format(target: str) -> None:
    task = problem(load_profile(TINY), target=target)
    column = reference_column(task)
    known = task.allowed[:, column] & (task.loss.separable[:, column] > 0)
    assert known.sum() >= 40, "all but what the format leaves as it is"
    assert abs(task.widths[column] - REFERENCE_BITS) <= 2


def test_the_modules_fit_together() -> None:
    """No name is defined twice, and none is imported that another module does not export."""
    for entry in ("carried.js", "report.js"):
        text = script(entry)
        names = re.findall(r"^(?:const|let|class|function|async function) (\w+)", text, re.M)
        assert len(set(names)) == len(names)
        assert not re.search(r"^import ", text, re.M)
    assert "<script" not in markup()
