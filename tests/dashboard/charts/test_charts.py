"""Picks, recommendations, and the words around the charts."""

from __future__ import annotations

from pathlib import Path

from dashboard import wording
from dashboard.page.build import pick_measured
from dashboard.page.knobs import size_range
from dashboard.page.loaders import load
from dashboard.page.marks import one_width
from dashboard.page.scene import holds
from dashboard.page.start import recommended
from genptq_core.allocation.front import predicted_front
from genptq_core.allocation.problem import problem
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import curve_of, measured_sets
from genptq_core.options import Option
from genptq_core.profile import Profile, bundled_profile
from genptq_core.speech.wer import align
from genptq_core.targets import TARGETS
from tests.dashboard.conftest import HOSTILE


def test_differences_are_marked_and_text_escaped() -> None:
    text = wording.marked(align("move the dentist appointment", "move a dentist <b>loud</b> *x*"))
    assert ":red-background[" in text
    assert "\\(the\\)" in text
    escaped = wording.markdown(HOSTILE)
    for sign in ("<", "*", "$", ":", "["):
        assert f"\\{sign}" in escaped
    assert wording.hover("<a href='x'>y</a>\n z") == "&lt;a href=&#x27;x&#x27;&gt;y&lt;/a&gt; z"


def test_the_recommendation_says_why(profile: Profile, records: list[Measured]) -> None:
    task = problem(profile)
    front = predicted_front(task)
    sizes = size_range(profile)
    start = recommended(task, front, None, sizes)
    assert start.size_mb in sizes.values
    assert "knee" in start.reason
    curve = curve_of(measured_sets(records)[0])
    start = recommended(task, front, curve, sizes)
    assert start.size_mb in sizes.values
    assert "1 point" in start.reason or "knee" in start.reason


def test_a_measured_pick_is_bounded_by_the_best_of_its_size(
    profiles: Path, records: list[Measured]
) -> None:
    loaded = load(profiles / "made-up", "native")
    chosen = records[1]
    pick = pick_measured(loaded, loaded.free, chosen.map_digest[:10])
    assert pick is not None and pick.by_hand
    assert pick.map.options == chosen.options
    assert pick.allocation.lower_bound <= chosen.predicted_loss
    assert pick_measured(loaded, loaded.free, "nothing") is None


def test_a_pick_of_another_format_is_not_bounded(formats: Profile, profiles: Path) -> None:
    loaded = load(profiles / "made-up", "integer")
    for record in loaded.measured.records:
        pick = pick_measured(loaded, loaded.free, record.map_digest[:10])
        assert pick is not None and pick.map.options == record.options
        assert pick.bounded == holds(formats, loaded.free, "integer", record.options)


def test_a_format_holds_a_map_only_if_it_holds_every_unit(formats: Profile) -> None:
    task, target = problem(formats, target="compressed-tensors"), TARGETS["compressed-tensors"]
    whole = (Option(8, 64),) * len(formats.units)
    assert set(whole) <= set(task.menu)  # the menu alone would have it held, the embedding too
    assert not holds(formats, task, target.name, whole)
    fits = [whole[0] if target.holds(unit, whole[0]) else Option(16) for unit in formats.units]
    assert holds(formats, task, target.name, fits)


def test_maps_in_a_few_words() -> None:
    def of(*keys: str) -> list[Option]:
        return [Option.parse(key) for key in keys]

    assert wording.widths(of("4/64", "4/64")) == "uniform 4"
    assert wording.widths(of("2.25", "2.25")) == "uniform 2.25"
    assert wording.widths(of("16", "16")) == "16 bit"
    assert wording.widths(of("4/64", "4/32")) == "4 bits"
    assert wording.widths(of("2.25", "16", "6")) == "2.25 to 16 bits"
    assert wording.layout(of("4/64", "16")) == "groups of 64"
    assert wording.layout(of("4/128", "4/32", "4/64")) == "groups of 32 to 128"
    assert wording.layout(of("2.25", "16")) == "entropy-coded"
    assert wording.layout(of("2.25", "4/64")) == "entropy-coded and groups of 64"
    assert wording.layout(of("16", "16")) == "16 bit"


def test_no_tool_of_one_width_reads_a_conformer() -> None:
    assert one_width(bundled_profile("conformer-an4")) == ()
