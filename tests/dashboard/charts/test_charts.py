"""Figures, and the words around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from dashboard import wording
from dashboard.charts.front import USABLE, FrontFigure, front_figure
from dashboard.charts.layers import Layers, layers_figure
from dashboard.charts.traces import VERMILION, ChartedSet
from dashboard.page.build import pick_measured
from dashboard.page.costs import cost_on
from dashboard.page.knobs import size_range
from dashboard.page.loaders import load
from dashboard.page.marks import Mark, one_width
from dashboard.page.scene import holds
from dashboard.page.start import recommended
from genptq_core.allocation.front import predicted_front
from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import MeasuredSet, curve_of, measured_sets
from genptq_core.measurement.store import load_measured
from genptq_core.options import Option
from genptq_core.profile import Profile, bundled_profile
from genptq_core.speech.wer import align
from genptq_core.storage.locations import bundled_profiles
from genptq_core.targets import TARGETS
from tests.dashboard.conftest import HOSTILE


def within(menu: Sequence[Option]) -> Callable[[Sequence[Option]], bool]:
    """Whether a map is made of a menu's options."""
    return lambda options: set(options) <= set(menu)


def charted(measured_set: MeasuredSet, curve: bool = True) -> ChartedSet:
    """A set as the front shows it, with its curve or without."""
    known = curve_of(measured_set) if curve else None
    full = measured_set.wer_full_precision
    return ChartedSet(measured_set.name, full, measured_set.records, known)


def mark_of(record: Measured, measured_set: MeasuredSet) -> Mark:
    """A measured map as the pick."""
    cost = cost_on(measured_set, None, record.map_digest, record.predicted_loss)
    return Mark(record.bytes, record.predicted_loss, record.map_digest, cost)


def _trace(figure: Any, name: str) -> Any:
    """A trace of a figure, read and checked by plotly."""
    return next(t for t in go.Figure(figure).data if t.name == name)


def _clickable(figure: Any) -> list[Any]:
    return [t for t in go.Figure(figure).data if t.customdata is not None]


def _layers(profile: Profile, options: Sequence[Option], **more: Any) -> dict[str, Any]:
    count = len(options)
    shown = Layers(options, (), np.ones(count), np.full(count, 0.01), "3 bits")
    return layers_figure(profile, replace(shown, **more))


@pytest.fixture
def drawn(profile: Profile, records: list[Measured]) -> FrontFigure:
    front = predicted_front(problem(profile))
    (measured_set,) = measured_sets(records)
    return front_figure(
        front,
        charted(measured_set),
        pick=mark_of(records[3], measured_set),
        largest=2e6,
        holds=within(profile.menu),
    )


def test_predicted_and_measured_look_unlike(drawn: FrontFigure) -> None:
    line = _trace(drawn.figure, "predicted front")
    assert line.mode == "lines"
    uniform = _trace(drawn.figure, "measured, uniform width")
    mixed = _trace(drawn.figure, "measured, mixed widths")
    assert uniform.marker.symbol != mixed.marker.symbol
    assert "markers" in uniform.mode and "markers" in mixed.mode
    assert len(mixed.error_y.array) == len(mixed.x)


def test_what_is_off_the_axis_is_counted(profile: Profile, records: list[Measured]) -> None:
    awful = [replace(r, wer=1.3, wer_increase=1.2) for r in records[:2]]
    front = predicted_front(problem(profile))
    full = records[0].wer_full_precision
    fair = [r for r in records[3:] if r.wer < full + USABLE]
    assert fair
    (measured_set,) = measured_sets([*awful, *fair])
    shown = charted(measured_set, curve=False)
    drawn = front_figure(front, shown, pick=None, largest=2e6, holds=within(profile.menu))
    assert drawn.above == 2
    top = drawn.figure["layout"]["yaxis"]["range"][1]
    assert top < 100 * (full + USABLE) + 2
    assert all(y <= top for y in _trace(drawn.figure, "measured, above the axis").y)


def test_without_measurements_the_axis_is_predicted_loss(profile: Profile) -> None:
    task = problem(profile)
    solution = solve(task, 2 * task.smallest)
    mark = Mark(solution.bytes, solution.predicted_loss, "0" * 64)
    front = predicted_front(task)
    drawn = front_figure(front, None, pick=mark, largest=2e6, holds=within(task.menu))
    axis = go.Figure(drawn.figure).layout.yaxis
    assert axis.type == "log"
    assert "loss" in axis.title.text


def test_every_click_target_is_a_marker(drawn: FrontFigure) -> None:
    targets = _clickable(drawn.figure)
    assert targets
    assert all("markers" in t.mode for t in targets)
    kinds = {row[0].split(":")[0] for t in targets for row in t.customdata}
    assert kinds == {"map", "size"}


def test_labels_from_files_are_escaped(drawn: FrontFigure) -> None:
    text = " ".join(str(row) for t in _clickable(drawn.figure) for row in t.customdata)
    assert "&lt;b&gt;bold" in text
    assert "<b>bold" not in text


def test_layers_keep_the_networks_order(profile: Profile) -> None:
    options = tuple(profile.menu[i % 3] for i in range(len(profile.units)))
    spent = np.arange(1.0, len(options) + 1)
    figure = _layers(profile, options, bytes=spent, relaxed=[o.bits + 0.2 for o in options])
    bits, share = _trace(figure, "bits"), _trace(figure, "bytes")
    assert list(bits.x) == list(range(len(options)))
    assert list(bits.y) == [option.bits for option in options]
    assert sum(share.y) == pytest.approx(100, abs=0.5)
    assert list(share.y) == sorted(share.y)
    labels = figure["layout"]["xaxis"]["ticktext"]
    assert labels[0] == "E0" and labels[-1] == "embedding"
    assert len(set(labels)) == len(labels)
    assert [row[0] for row in bits.customdata] == [f"layer:{i}" for i in range(len(options))]
    assert _trace(figure, "continuous solution").y[0] == options[0].bits + 0.2


def test_parts_and_kinds_are_told_apart(profile: Profile) -> None:
    figure = _layers(profile, profile.menu[:1] * len(profile.units))
    kinds = {(u.part, u.kind) for u in profile.units}
    colours = dict(
        zip(
            ((u.part, u.kind) for u in profile.units),
            _trace(figure, "bits").marker.color,
            strict=True,
        )
    )
    assert len(set(colours.values())) == len(kinds)
    named = {t.name for t in go.Figure(figure).data if t.showlegend is not False}
    assert len(named) == len(kinds)


def test_the_chosen_layer_and_locks_are_marked(profile: Profile) -> None:
    options = profile.menu[:1] * len(profile.units)
    plain = _layers(profile, options)
    marked = _layers(profile, options, chosen=3, locked=(1, 5))
    boxes = [s for s in marked["layout"]["shapes"] if s["type"] == "rect"]
    assert [(box["x0"], box["x1"]) for box in boxes] == [(2.5, 3.5)]
    assert not [s for s in plain["layout"]["shapes"] if s["type"] == "rect"]
    assert list(_trace(marked, "locked").x) == [1, 5]
    assert "locked" in _trace(marked, "bits").customdata[1][1]


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


def test_maps_of_another_format_are_grey(formats: Profile, profiles: Path) -> None:
    records = load_measured(profiles / "made-up", formats.digest)
    for target, form in (("native", "coded"), ("integer", "grid")):
        task = problem(formats, target=target)
        front, full = predicted_front(task), records[0].wer_full_precision
        (easy,) = measured_sets([replace(r, wer=full + 0.01) for r in records])
        shown = charted(easy, curve=False)
        drawn = front_figure(front, shown, pick=None, largest=2e6, holds=within(task.menu))
        other = _trace(drawn.figure, "measured, other format")
        points = [t for t in go.Figure(drawn.figure).data if str(t.name).startswith("measured, ")]
        assert sum(len(t.x) for t in points) == len(records)
        held = {r.map_digest for r in records if {o.form for o in r.options} <= {form, "half"}}
        assert 1 < len(held) < len(records)
        digests = {
            row[0].removeprefix("map:")
            for t in points
            if t.name != other.name
            for row in t.customdata
        }
        assert digests == held
        assert not {row[0].removeprefix("map:") for row in other.customdata} & held


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


def test_layers_say_how_they_are_stored(formats: Profile) -> None:
    keys = ("2.25", "3/64", "8/32", "16") * 6
    options = bit_map(formats, keys).options
    bars = _trace(_layers(formats, options), "bits")
    text = " ".join(row[1] for row in bars.customdata)
    for option in options:
        assert option.label in text
    assert list(bars.y) == [option.bits for option in options]


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


def test_tools_of_one_width_are_hollow_and_said_to_be_predicted() -> None:
    tiny = bundled_profile()
    records = load_measured(bundled_profiles() / "whisper-tiny.en", tiny.digest)
    front = predicted_front(problem(tiny))
    known = one_width(tiny)
    for measured_set in (measured_sets(records)[0], None):
        drawn = front_figure(
            front,
            charted(measured_set) if measured_set is not None else None,
            pick=None,
            largest=size_range(tiny).usual,
            holds=within(tiny.menu),
            uniform=known,
        )
        symbols = {t.marker.symbol for t in go.Figure(drawn.figure).data if "measured," in t.name}
        high = 10 ** drawn.figure["layout"]["xaxis"]["range"][1]
        for tool in ("whisper.cpp", "CTranslate2"):
            trace = _trace(drawn.figure, f"{tool}, one width, predicted")
            widths = [u for u in known if u.target == tool]
            assert list(trace.x) == [u.bytes / 1e6 for u in widths] and max(trace.x) < high
            assert trace.marker.symbol.endswith("-open") and trace.marker.symbol not in symbols
            assert list(trace.text) == [u.option for u in widths]
            assert all("predicted, not measured" in row[1] for row in trace.customdata)
            assert all("our own rounding" in row[1] for row in trace.customdata)


def test_no_tool_of_one_width_reads_a_conformer() -> None:
    assert one_width(bundled_profile("conformer-an4")) == ()


def test_two_speech_sets_are_told_apart() -> None:
    small = bundled_profile("conformer-an4")
    records = load_measured(bundled_profiles() / "conformer-an4", small.digest)
    sets = measured_sets(records)
    assert len(sets) == 2
    first, second = sets[0].records, sets[1].records
    hostile = replace(sets[1], name=HOSTILE)
    task = problem(small)
    front = predicted_front(task)
    chosen = next(m for m in first if set(m.options) <= set(task.menu))
    shown = {
        "pick": mark_of(chosen, sets[0]),
        "largest": size_range(small).usual,
        "holds": within(task.menu),
    }
    drawn = front_figure(front, charted(sets[0]), second=charted(hostile), **shown)
    alone = front_figure(front, charted(sets[0]), **shown)
    traces = list(go.Figure(drawn.figure).data)
    seen = {
        row[0].removeprefix("map:")
        for t in traces
        if wording.hover(HOSTILE) in t.name and t.customdata is not None
        for row in t.customdata
    }
    assert seen == {m.map_digest for m in second}
    assert not any("<b>" in t.name for t in traces)
    before = {t.marker.symbol for t in go.Figure(alone.figure).data if t.mode == "markers"}
    name = f"measured, {wording.hover(HOSTILE)}"
    points = _trace(drawn.figure, name)
    assert points.marker.symbol not in before
    held = [m for m in second if set(m.options) <= set(task.menu)]
    assert list(points.y) == [100 * m.wer for m in held]
    picked = [m.map_digest == chosen.map_digest for m in held]
    assert [c == VERMILION for c in points.marker.color] == picked and any(picked)
    for label, group in ((sets[0].name, first), (wording.hover(HOSTILE), held)):
        line = _trace(drawn.figure, f"measured front, {label}")
        assert line.mode == "lines" and line.line.dash == "dot"
        assert list(line.y) == sorted(line.y, reverse=True)
        sizes = [m.bytes / 1e6 for m in group if set(m.options) <= set(task.menu)]
        assert set(line.x) <= set(sizes) and min(sizes) == line.x[0]
    texts = [a.text for a in go.Figure(drawn.figure).layout.annotations]
    assert len(texts) == 2 and wording.percent(hostile.wer_full_precision) in texts[1]
    low, high = drawn.figure["layout"]["yaxis"]["range"]
    assert all(low < 100 * m.wer for m in (*first, *second))
    assert high > 100 * min(m.wer for m in second)
