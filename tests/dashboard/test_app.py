"""The page, run without a browser."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.jobs import processes
from dashboard.jobs.queue import QUEUED, Queue
from dashboard.page.knobs import size_range
from dashboard.wording import megabytes
from genptq_core.errors import PROGRAM
from genptq_core.export.runtime_configs import RUNTIME_CONFIGS
from genptq_core.measurement.records import Measured
from genptq_core.measurement.store import ship
from genptq_core.options import Option
from genptq_core.profile import Profile, save
from genptq_core.speech.utterances import SpeechSet
from genptq_core.targets import TARGETS, fixed_bytes, predicted_bytes, usable_targets
from genptq_core.targets.ways import way_of

from .conftest import APP, record, run_command


def _page(**params: str) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=60)
    page.session_state["details"] = True  # open
    for name, value in params.items():
        page.query_params[name] = value
    return page.run()


def _screen(page: AppTest) -> dict[str, Any]:
    """What the live screen was sent for the pick."""
    sent = next(c.proto for c in page.get("bidi_component") if c.proto.component_name == "screen")
    return dict(json.loads(sent.bytes))


def _resize(page: AppTest, size_mb: float) -> AppTest:
    """Set the size, as the live screen does when its slider is let go."""
    for key, value in {"by": "size", "mb": size_mb, "pick": ""}.items():
        page.session_state[key] = value
    return page.run()


def _metrics(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def _line(page: AppTest, start: str) -> str:
    """The first line of the page's code that starts so."""
    lines = (line for code in page.code for line in code.value.splitlines())
    return next(line for line in lines if line.startswith(start))


def _map(page: AppTest) -> str:
    caption = next(c.value for c in page.caption if c.value.startswith("Bit map"))
    return caption.split("`")[1]


def _errors(page: AppTest) -> list[str]:
    """What the page says went wrong, as it is read."""
    assert not page.exception
    return [error.value.replace("\\", "").replace("`", "") for error in page.error]


def test_the_page_opens_on_a_recommended_start(profile: Profile) -> None:
    page = _page()
    assert _errors(page) == []
    assert {"Size", "Loss, predicted", "Average bits", "Stored bits"} <= set(_metrics(page))
    start = _screen(page)
    assert page.query_params["mb"] == f"{start['mb']:.10g}"
    assert start["pick"]["bytes"] <= 1e6 * start["mb"]


def test_with_measurements_the_page_predicts_words(records: list[Measured]) -> None:
    page = _page()
    assert _errors(page) == []
    metrics = _metrics(page)
    assert "WER, predicted" in metrics or "WER, measured" in metrics
    assert metrics[next(m for m in metrics if m.startswith("WER"))].endswith("%")


def test_moving_the_slider_changes_the_pick(profile: Profile) -> None:
    page = _page()
    before = _map(page)
    _resize(page, size_range(profile).values[5])
    assert _errors(page) == []
    assert _map(page) != before


def test_equal_links_give_equal_maps(profile: Profile) -> None:
    sizes = size_range(profile)
    middle = sizes.text(sizes.values[len(sizes.values) // 3])
    first = _page(mb=middle, pins="*fc1* = 4")
    assert first.session_state["mb"] == float(middle)
    assert first.text_area(key="pins").value == "*fc1* = 4"
    assert _map(first) == _map(_page(mb=middle, pins="*fc1* = 4"))
    assert _map(first) != _map(_page(mb=middle, pins="*fc1* = 8"))


def test_a_link_keeps_the_size_that_it_names(profile: Profile) -> None:
    """Also between two steps of the slider, and as a whole number."""
    sizes = size_range(profile)
    typed = round((sizes.values[4] + sizes.values[5]) / 2, 6)
    page = _page(mb=f"{typed}")
    assert _errors(page) == []
    assert page.session_state["mb"] == _screen(page)["mb"] == typed
    assert page.query_params["mb"] == f"{typed:.10g}"
    assert _screen(_page(mb="1"))["mb"] == max(1.0, sizes.values[0])
    for wrong in ("many", "nan", "1e999"):
        assert _errors(_page(mb=wrong)) == []


@pytest.mark.parametrize(
    ("pins", "sentence"),
    [("foo", "is not pattern = bits"), ("*=7", "no such width"), ("nothing*=4", "no layer")],
)
def test_a_bad_pin_is_a_sentence(profile: Profile, pins: str, sentence: str) -> None:
    page = _page()
    before = _screen(page)
    page.text_area(key="pins").set_value(pins).run()
    assert any(sentence in error for error in _errors(page))
    assert _screen(page)["pick"] == before["pick"], "the charts stay, without the demand"


def test_an_infeasible_width_is_a_sentence_with_a_way_out(profile: Profile) -> None:
    page = _page()
    page.select_slider(key="widths").set_value((8, 16))
    _resize(page, size_range(profile).values[0])
    assert any("not feasible" in error for error in _errors(page))
    page.button(key="use_smallest").click().run()
    assert _errors(page) == []
    assert float(_metrics(page)["Average bits"]) >= 8


def test_by_accuracy_takes_the_smallest_map(records: list[Measured]) -> None:
    page = _page(by="accuracy")
    assert _errors(page) == []
    before = _screen(page)["pick"]["bytes"]
    page.session_state["points"] = 10.0
    page.run()
    assert _errors(page) == []
    assert _screen(page)["pick"]["bytes"] <= before
    assert page.query_params["by"] == "accuracy"
    assert page.query_params["points"] == f"{_screen(page)['allowed']:.10g}"


def test_by_accuracy_without_a_curve_uses_the_predicted_loss(profile: Profile) -> None:
    page = _page(by="accuracy")
    assert _errors(page) == []
    assert float(_metrics(page)["Loss, predicted"]) <= 0.1


def test_a_measured_map_can_be_picked_and_heard(profile: Profile, records: list[Measured]) -> None:
    chosen = records[0]
    page = _page(pick=chosen.map_digest[:10])
    assert _errors(page) == []
    assert _map(page) == chosen.map_digest[:10]
    assert _metrics(page)["WER, measured"] == f"{100 * chosen.wer:.1f} %"
    text = " ".join(m.value for m in page.markdown)
    assert ":red-background[" in text
    assert "Your pick" in text
    assert "<b>" not in text.replace("\\<b\\>", "")
    # Turning a knob goes back to the solver.
    _resize(page, size_range(profile).values[3])
    assert page.session_state["pick"] == ""


@pytest.mark.parametrize("tab", ["Listen", "Compare", "Measure", "Export", "Profiles", "Table"])
def test_every_tab_draws(records: list[Measured], tab: str) -> None:
    assert _errors(_page(tab=tab)) == []
    assert _errors(_page(tab=tab, pins="*=2", widths="2")) == []


def test_the_export_says_how_to_get_the_same_map(
    profile: Profile, profiles: Path, tmp_path: Path
) -> None:
    sizes = size_range(profile)
    middle = sizes.text(sizes.values[len(sizes.values) // 2])
    page = _page(tab="Export", mb=middle, pins="*fc1* = 4")
    command = _line(page, f"{PROGRAM} solve")
    run_command(command, "--out", str(tmp_path / "map.json"))
    written = json.loads((tmp_path / "map.json").read_text())
    assert written["digest"][:10] == _map(page)


def test_formats_that_are_one_are_offered_once(profile: Profile) -> None:
    offered = _page().selectbox(key="runs").options
    for name in usable_targets(profile.menu, "whisper"):
        assert sum(option.endswith(TARGETS[name].title) for option in offered) == 1
    assert offered[0] == f"this program: {TARGETS['native'].title}"
    assert not any("groups" in option for option in offered if "ONNX" not in option)
    assert any("transcribe.cpp" in o and "entropy-coded download" in o for o in offered)
    assert len(set(offered)) == len(offered)


def test_formats_have_maps_of_their_own(formats: Profile) -> None:
    page = _page(tab="Table")
    assert _errors(page) == []
    box = page.selectbox(key="runs")
    assert box.value == "native"
    assert page.select_slider(key="widths").value == (1.5, 16)
    native = _map(page)
    page.select_slider(key="widths").set_value((2.25, 4)).run()
    assert _errors(page) == []
    assert _map(page) != native
    before = page.session_state["mb"]
    page.selectbox(key="runs").set_value("integer").run()
    assert _errors(page) == []
    assert page.select_slider(key="widths").value == (2, 16)
    sizes = size_range(formats, "integer")
    assert page.session_state["mb"] == min(max(before, sizes.values[0]), sizes.values[-1])
    assert page.query_params["target"] == "integer"
    layers = page.dataframe[-1].value
    assert set(layers["group size"]) <= {0, 32, 64}
    integer = _map(page)
    page.selectbox(key="runs").set_value("native").run()
    assert _errors(page) == []
    assert "target" not in page.query_params
    assert integer not in (native, _map(page))


def test_a_link_restores_the_format(formats: Profile) -> None:
    sizes = size_range(formats, "integer")
    size = sizes.text(sizes.values[len(sizes.values) // 3])
    page = _page(target="integer", mb=size, pins="*fc1* = 4/32")
    assert _errors(page) == []
    assert page.selectbox(key="runs").value == "integer"
    again = _page(target="integer", mb=size, pins="*fc1* = 4/32")
    assert _map(page) == _map(again) != _map(_page(target="integer", mb=size))
    assert _errors(_page(target="toaster")) == []
    refused = _page(target="native", pins="*fc1* = 4/32")
    assert any("no such width" in error for error in _errors(refused))


@pytest.mark.parametrize("target", ["native", "integer"])
def test_the_exported_command_knows_the_format(
    formats: Profile, tmp_path: Path, target: str
) -> None:
    sizes = size_range(formats, target)
    middle = sizes.text(sizes.values[len(sizes.values) // 2])
    pin = {"native": "*fc1* = 2.25", "integer": "*fc1* = 4/32"}[target]
    page = _page(tab="Export", mb=middle, target=target, pins=pin)
    command = _line(page, f"{PROGRAM} solve")
    assert ("--target" in shlex.split(command)) == (target != "native")
    run_command(command, "--out", str(tmp_path / "map.json"))
    written = json.loads((tmp_path / "map.json").read_text())
    assert written["digest"][:10] == _map(page)
    assert (set(written["group_sizes"].values()) <= {0}) == (target == "native")


def test_measuring_queues_a_job(records: list[Measured], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Queue] = []
    monkeypatch.setattr(processes, "start_worker", started.append)
    page = _page(tab="Measure")
    next(b for b in page.button if b.label == "Measure this pick").click().run()
    assert _errors(page) == []
    assert started
    queued = Queue().jobs()
    assert [job.state for job in queued] == [QUEUED]
    assert queued[0].request.map_digest[:10] == _map(page)


def test_a_missing_manifest_is_a_sentence(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = _page(tab="Measure")
    page.text_input(key="manifest_whisper").set_value("/nowhere/at/all.jsonl")
    next(b for b in page.button if b.label == "Measure this pick").click().run()
    assert any("does not exist" in error for error in _errors(page))
    assert Queue().jobs() == []


def test_without_profiles_the_page_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENPTQ_PROFILES", str(tmp_path / "none"))
    page = _page()
    assert _errors(page) == []
    assert any(f"{PROGRAM} profile" in code.value for code in page.code)


def test_a_damaged_profile_is_a_sentence(profiles: Path) -> None:
    (profiles / "made-up" / "profile.json").write_text('{"schema": "genptq-profile"')
    page = _page()
    assert any("profile.json" in error for error in _errors(page))


def test_the_page_never_imports_torch(profiles: Path, records: list[Measured]) -> None:
    script = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        f"page = AppTest.from_file({str(APP)!r}, default_timeout=60); "
        "page.session_state['details'] = True; "
        "page.run(); assert not page.exception, page.exception; "
        "print('metrics', len(page.metric)); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split()[-3:] == ["metrics", "6", "False"]


def test_a_target_that_cannot_hold_the_pick_says_why_and_is_solved_for(formats: Profile) -> None:
    page = _page(tab="Export")
    assert _errors(page) == []
    assert page.button(key="export-integer").disabled
    assert not page.button(key="export-native").disabled
    assert any("This map cannot be written for it" in m.value for m in page.markdown)
    native = _map(page)
    page.button(key="solve-integer").click().run()
    assert _errors(page) == []
    assert page.selectbox(key="runs").value == "integer"
    assert _map(page) != native
    assert not page.button(key="export-integer").disabled


def test_what_runs_the_map_changes_its_memory_and_how_it_is_run(formats: Profile) -> None:
    page = _page(tab="Export")
    sentence = next(m.value for m in page.markdown if "in memory" in m.value)
    assert "GenPTQ itself" in sentence and megabytes(4 * formats.source.parameters) in sentence
    assert "not know" in sentence, "this profile says nothing of headers and settings"
    first = _map(page)
    assert _line(page, f"{PROGRAM} transcribe").endswith("talk.wav")
    page.selectbox(key="runs").set_value("native transcribe.cpp:q5_1").run()
    assert _errors(page) == []
    assert page.query_params["runtime"] == "transcribe.cpp:q5_1"
    assert _map(page) == first, "memory does not change the map here"
    again = _page(tab="Export", runtime="transcribe.cpp:q5_1")
    for shown in (page, again):
        sentence = next(m.value for m in shown.markdown if "in memory" in m.value)
        way = way_of(formats, runs_in="transcribe.cpp:q5_1")
        assert f"**{megabytes(way.memory(formats, ()))}**" in sentence
        assert "--to gguf --width q5_1" in _line(shown, f"{PROGRAM} unpack")
        assert "transcribe_cpp" in _line(shown, "python -c")
    again.selectbox(key="runs").set_value("integer").run()
    assert "runtime" not in again.query_params
    assert _errors(_page(runtime="toaster")) == []


def test_where_the_folder_is_known_sizes_are_downloads(
    formats: Profile, profiles: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = replace(formats.source, overhead={"native": 2_000_000})
    known = replace(formats, source=source)
    save(known, tmp_path / "known")
    monkeypatch.setenv("GENPTQ_PROFILES", str(tmp_path))
    page = _page(tab="Export")
    assert _errors(page) == []
    gained = size_range(known).values[0] - size_range(formats).values[0]
    assert gained == pytest.approx(2, abs=0.02)
    assert any("to download**, of which" in m.value for m in page.markdown)
    assert any("MB to download" in m.value for m in page.markdown)


def test_a_second_speech_set_is_drawn_into_the_same_chart(
    profile: Profile, profiles: Path, records: list[Measured]
) -> None:
    alone = _page()
    assert "beside" not in {box.key for box in alone.selectbox}
    assert not any("On other speech" in c.value for c in alone.caption)
    on_other_speech = [
        replace(r, speech="<i>other</i>", speech_digest="9" * 64, wer=r.wer + 0.02) for r in records
    ]
    ship(profiles / "made-up", [*records, *on_other_speech[1:]])
    shown, missed = records[1], records[0]
    page = _page(pick=shown.map_digest[:10], speech=shown.speech_digest[:10])
    assert _errors(page) == []
    (cost,) = [c.value for c in page.caption if c.value.startswith("On other speech")]
    assert f"**{100 * on_other_speech[1].wer:.1f} %** measured" in cost and "<i>" not in cost
    assert not any("Orange" in c.value for c in page.caption)
    page.selectbox(key="beside").set_value("9" * 10).run()
    assert _errors(page) == []
    assert page.query_params["beside"] == "9" * 10
    assert any("Orange" in c.value for c in page.caption)
    page.selectbox(key="pick").set_value(missed.map_digest[:10]).run()
    (cost,) = [c.value for c in page.caption if c.value.startswith("On other speech")]
    assert "% measured" not in cost
    page.selectbox(key="speech").set_value("9" * 10).run()
    assert _errors(page) == []
    assert page.session_state["beside"] == ""
    again = _page(beside="9" * 10, speech=shown.speech_digest[:10])
    assert again.selectbox(key="beside").value == "9" * 10


def test_the_same_speech_counted_in_two_ways_has_two_curves(
    profile: Profile, profiles: Path, records: list[Measured]
) -> None:
    """One curve through both would say neither what the one nor what the other measured."""
    basic = [
        replace(
            r,
            normalizer="basic",
            words=r.words - 1,
            wer=r.wer_full_precision + r.wer_increase / 4,
            wer_increase=r.wer_increase / 4,
        )
        for r in records
    ]
    sizes = size_range(profile)
    middle = sizes.text(sizes.values[len(sizes.values) // 3])
    shown = {}
    for name, alone in (("whisper-english", records), ("basic", basic)):
        ship(profiles / "made-up", alone)
        shown[name] = _metrics(_page(mb=middle))["WER, predicted"]
    assert shown["basic"] != shown["whisper-english"]

    ship(profiles / "made-up", [*records, *basic])
    short = records[0].speech_digest[:10]
    page = _page(mb=middle, speech=short)  # as links were written before
    assert _errors(page) == []
    box = page.selectbox(key="speech")
    assert box.value == f"{short}:whisper-english"
    assert ["basic" in label for label in box.options] == [False, True]
    assert _metrics(page)["WER, predicted"] == shown["whisper-english"]
    box.set_value(f"{short}:basic").run()
    assert _errors(page) == []
    assert _metrics(page)["WER, predicted"] == shown["basic"]
    assert page.query_params["speech"] == f"{short}:basic"
    (cost,) = [c.value for c in page.caption if c.value.startswith("On other speech")]
    assert shown["whisper-english"] in cost
    again = _page(mb=middle, speech=f"{short}:basic", beside=short)
    assert _metrics(again)["WER, predicted"] == shown["basic"]
    assert again.selectbox(key="beside").value == f"{short}:whisper-english"


@pytest.mark.parametrize("name", ["integer", "onnx", "compressed-tensors"])
def test_bytes_are_those_of_the_format(
    formats: Profile, profiles: Path, demo: SpeechSet, name: str
) -> None:
    target = TARGETS[name]
    widths = ["8/64" if target.holds(u, Option(8, 64)) else "16" for u in formats.units]
    measured_map = record(formats, widths, demo)
    ship(profiles / "made-up", [measured_map])
    page = _page(tab="Table", target=name, pick=measured_map.map_digest[:10])
    assert _errors(page) == []
    size = predicted_bytes(target, formats, measured_map.options)
    assert (size != measured_map.bytes) == (name != "integer")
    assert _metrics(page)["Size"] == f"{size / 1e6:.1f} MB"
    layers, measured = page.dataframe[-1].value, page.dataframe[0].value
    assert layers["bytes"].sum() + fixed_bytes(target, formats) == size
    row = measured[measured["map"] == measured_map.map_digest[:10]].iloc[0]
    assert row["size, MB"] == round(size / 1e6, 2)


def test_configurations_say_what_followed_them_and_what_they_hold(formats: Profile) -> None:
    page = _page(tab="Export", target="native", widths="2.25")
    assert _errors(page) == []

    def rows() -> dict[str, str]:
        texts = [m.value for m in page.markdown]
        return {
            n: next(t for t in texts if t.startswith(f"**{r.title}**"))
            for n, r in RUNTIME_CONFIGS.items()
        }

    def disabled() -> list[bool]:
        buttons = [b.proto for b in page.get("download_button")]
        return [b.disabled for b in buttons if "config-get-" in b.id]

    assert all(f"**{r.title}**, {r.status}" in rows()[n] for n, r in RUNTIME_CONFIGS.items())
    assert all(
        "it can hold nothing" in text and "entropy-coded" in text for text in rows().values()
    )
    assert disabled() == [True] * len(RUNTIME_CONFIGS)
    page.button(key="config-solve-hqq").click().run()
    assert _errors(page) == []
    assert page.selectbox(key="runs").value == "integer"
    for text in rows().values():
        assert "Of this map it holds" in text
    assert disabled() == [False] * len(RUNTIME_CONFIGS)
    assert "config-solve-hqq" not in {button.key for button in page.button}
