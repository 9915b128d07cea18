"""Figures, and the words beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dashboard import charts, scene, wording
from dashboard.layer_charts import layers_figure
from genptq_core.allocation import problem, solve
from genptq_core.front import predicted_front, wer_curve
from genptq_core.profile import Profile
from genptq_core.store import Measured
from genptq_core.wer import align

from .conftest import HOSTILE


def _trace(figure: Any, name: str) -> Any:
    return next(t for t in figure.data if t.name == name)


@pytest.fixture
def drawn(profile: Profile, records: list[Measured]) -> charts.FrontFigure:
    front = predicted_front(problem(profile))
    curve = wer_curve(records, records[0].speech_digest)
    mark = charts.Mark(records[3].bytes, records[3].predicted_loss, records[3].map_digest, None)
    full = records[0].wer_full_precision
    return charts.front_figure(front, curve, full, records, mark, 2e6)


def test_predicted_and_measured_look_unlike(drawn: charts.FrontFigure) -> None:
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
    drawn = charts.front_figure(front, None, full, [*awful, *records[3:]], None, 2e6)
    assert drawn.above == 2
    top = drawn.figure.layout.yaxis.range[1]
    assert top < 100 * (full + charts.USABLE) + 2
    assert all(y <= top for y in _trace(drawn.figure, "measured, above the axis").y)


def test_without_measurements_the_axis_is_predicted_loss(profile: Profile) -> None:
    task = problem(profile)
    found = solve(task, 2 * task.smallest)
    mark = charts.Mark(found.bytes, found.predicted_loss, "0" * 64, None)
    drawn = charts.front_figure(predicted_front(task), None, None, [], mark, 2e6)
    assert drawn.figure.layout.yaxis.type == "log"
    assert "loss" in drawn.figure.layout.yaxis.title.text


def test_every_click_target_is_a_marker(drawn: charts.FrontFigure) -> None:
    targets = [t for t in drawn.figure.data if t.customdata is not None]
    assert targets
    assert all("markers" in t.mode for t in targets)
    kinds = {row[0].split(":")[0] for t in targets for row in t.customdata}
    assert kinds == {"map", "size"}


def test_labels_from_files_are_escaped(drawn: charts.FrontFigure) -> None:
    text = " ".join(
        str(row[1]) for t in drawn.figure.data if t.customdata is not None for row in t.customdata
    )
    assert "&lt;b&gt;bold" in text
    assert "<b>bold" not in text


def test_layers_keep_the_networks_order(profile: Profile) -> None:
    bits = tuple(profile.menu[i % 3] for i in range(len(profile.units)))
    figure = layers_figure(profile, bits, [float(b) + 0.2 for b in bits])
    order = list(figure.layout.xaxis.categoryarray)
    assert len(set(order)) == len(profile.units)
    heights = {}
    for bar in figure.data:
        if bar.type == "bar" and bar.yaxis == "y":
            heights |= dict(zip(bar.x, bar.y, strict=True))
    assert [heights[label] for label in order] == list(bits)
    assert {b.name for b in figure.data if b.type == "bar" and b.showlegend is not False} == {
        "Encoder",
        "Decoder",
        "Embedding",
    }
    shares = [y for b in figure.data if b.type == "bar" and b.yaxis == "y2" for y in b.y]
    assert sum(shares) == pytest.approx(100)


def test_differences_are_marked_and_text_escaped() -> None:
    text = wording.marked(align("move the dentist appointment", "move a dentist <b>loud</b> *x*"))
    assert ":red-background[" in text
    assert "\\(the\\)" in text
    escaped = wording.markdown(HOSTILE)
    for sign in ("<", "*", "$", ":", "["):
        assert f"\\{sign}" in escaped
    assert wording.hover("<a href='x'>y</a>\n z") == "&lt;a href=&#x27;x&#x27;&gt;y&lt;/a&gt; z"


def test_the_recommendation_says_why(profile: Profile, records: list[Measured]) -> None:
    from dashboard.state import size_range

    task = problem(profile)
    front = predicted_front(task)
    sizes = size_range(profile)
    size, reason = scene.recommended(profile, task, front, None, sizes)
    assert size in sizes.values
    assert "knee" in reason
    curve = wer_curve(records, records[0].speech_digest)
    size, reason = scene.recommended(profile, task, front, curve, sizes)
    assert size in sizes.values
    assert "1 point" in reason or "knee" in reason


def test_a_measured_pick_is_bounded_by_the_best_of_its_size(
    profile: Profile, records: list[Measured]
) -> None:
    task = problem(profile)
    chosen = records[1]
    pick = scene.pick_measured(task, records, chosen.map_digest[:10])
    assert pick is not None and pick.by_hand
    assert pick.map.bits == chosen.bits
    assert pick.allocation.lower_bound <= chosen.predicted_loss
    assert scene.pick_measured(task, records, "nothing") is None
