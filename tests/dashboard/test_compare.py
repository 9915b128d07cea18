"""Comparing two maps on the page, run without a browser."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.charts.compare import changes_figure, transition_figure
from dashboard.page.knobs import size_range
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.measurement.comparison import compare
from genptq_core.measurement.records import Measured
from genptq_core.profile import Profile

from .test_app import _errors, _map, _page, _resize


def test_figures_show_every_layer(profile: Profile) -> None:
    count = len(profile.units)
    left, right = bit_map(profile, [4] * count), bit_map(profile, [3, 4] * (count // 2))
    comparison = compare(profile, left, right)
    matrix = transition_figure(comparison)["data"][0]
    assert matrix["x"] == matrix["y"] == ["3", "4"]
    assert matrix["text"] == [["", ""], [str(count // 2), str(count // 2)]]
    assert matrix["z"][0] == [None, None] and sum(matrix["z"][1]) == pytest.approx(100)
    drawn = {trace.get("name"): trace for trace in changes_figure(profile, comparison)["data"]}
    assert set(drawn["bits in A"]["y"]) == {4} and set(drawn["bits in B"]["y"]) == {3}
    assert len(set(drawn["bits in A"]["x"])) == count // 2
    json.dumps(changes_figure(profile, comparison), allow_nan=False)


def _texts(page: AppTest) -> str:
    return " ".join(m.value for m in page.markdown)


def test_two_measured_maps_are_compared_in_pairs(profile: Profile, records: list[Measured]) -> None:
    worst, best = records[0], records[2]
    page = _page(tab="Compare", pick=best.map_digest[:10])
    page.selectbox(key="compare_left").set_value(f"measured:{worst.map_digest}").run()
    assert _errors(page) == []
    verdict = next(m.value for m in page.markdown if m.value.startswith("**B is"))
    assert "**more than chance**" in verdict and "resampling utterances in pairs" in verdict
    table = page.table[0].value
    assert table.loc["Size"].iloc[0] == f"{worst.bytes / 1e6:.2f} MB"
    assert any("measured" in cell for cell in table.iloc[-1])
    # The label comes from a file, and is shown letter by letter.
    assert "<b>" not in table.columns[0].replace("\\<b\\>", "")


def test_a_kept_pick_is_compared_and_shown_again(profile: Profile) -> None:
    sizes = size_range(profile)
    page = _page(tab="Compare")
    assert any("only one map so far" in info.value for info in page.info)
    first = _map(page)
    page.text_input(key="keep_name").set_value("*mine*").run()
    page.button(key="keep").click().run()
    _resize(page, sizes.values[4])
    assert _errors(page) == []
    assert _map(page) != first
    assert page.selectbox(key="compare_left").value == f"kept:{_kept(page)}"
    assert "have not been measured on the same speech set" in _texts(page)
    page.button(key=f"show-{first}").click().run()
    assert _errors(page) == []
    assert _map(page) == first
    page.button(key=f"drop-{first}").click().run()
    assert any("only one map so far" in info.value for info in page.info)
    page.button(key="undo_kept").click().run()
    assert f"Bit map `{first}`" in " ".join(c.value for c in page.caption)


def _kept(page: AppTest) -> str:
    return str(page.session_state["kept_picks"].now[0].map.digest)


def test_kept_picks_outlive_a_reload_and_stay_with_their_window(profile: Profile) -> None:
    sizes = size_range(profile)
    page = _page(tab="Compare")
    kept = _map(page)
    page.text_input(key="keep_name").set_value("*mine*").run()
    page.button(key="keep").click().run()
    _resize(page, sizes.values[4])
    address = {"kept": str(page.query_params["kept"]), "mb": sizes.text(sizes.values[4])}
    again = _page(tab="Compare", **address)
    assert _errors(again) == []
    assert _map(again) == _map(page) != kept
    again.button(key=f"show-{kept}").click().run()
    assert _errors(again) == []
    assert _map(again) == kept
    assert "kept: *mine*" in again.selectbox(key="compare_right").options
    other = _page(tab="Compare", mb=address["mb"])
    assert f"show-{kept}" not in {button.key for button in other.button}
    again.button(key=f"drop-{kept}").click().run()
    assert "kept" not in again.query_params
    damaged = _page(tab="Compare", kept=address["kept"][:-9] + "AAAAAAAAA")
    assert _errors(damaged) == []


def test_knobs_are_undone_and_redone(profile: Profile) -> None:
    sizes = size_range(profile)
    page = _page()
    start, seen = page.session_state["mb"], [_map(page)]
    assert page.button(key="undo").disabled and page.button(key="redo").disabled
    _resize(page, sizes.values[len(sizes.values) // 2])
    page.text_area(key="pins").set_value("*fc1* = 4").run()
    seen.append(_map(page))
    page.button(key="undo").click().run()
    assert page.text_area(key="pins").value == ""
    page.button(key="undo").click().run()
    assert _errors(page) == []
    assert page.session_state["mb"] == start
    assert _map(page) == seen[0]
    page.button(key="redo").click().run()
    page.button(key="redo").click().run()
    assert _map(page) == seen[1]
    assert page.text_area(key="pins").value == "*fc1* = 4"
    assert page.button(key="redo").disabled
