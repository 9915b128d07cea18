"""Measuring and listening begin with the speech that the front is judged on; jobs stay apart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.jobs import processes
from dashboard.jobs.queue import Queue
from dashboard.jobs.requests import Measure
from dashboard.page import loaders
from genptq_core.allocation.wer_curve import LEAST_POINTS
from genptq_core.measurement.records import Measured
from genptq_core.measurement.store import ship
from genptq_core.speech.utterances import SpeechSet, load_manifest

from .conftest import APP, run_command


def _page(*, measure_first_commands: bool = False, **params: str) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=60)
    page.session_state["measure_first_commands"] = measure_first_commands
    for name, value in params.items():
        page.query_params[name] = value
    return page.run()


@pytest.fixture
def readers(profiles: Path, records: list[Measured]) -> SpeechSet:
    """Another speech set that can be read here, on which the same maps were measured."""
    speech = load_manifest(loaders.LIBRISPEECH)
    there = [replace(r, speech=speech.name, speech_digest=speech.digest) for r in records]
    ship(profiles / "made-up", [*records, *there])
    return speech


@pytest.mark.parametrize(("tab", "field"), [("Measure", "manifest_whisper"), ("Listen", "")])
def test_the_speech_is_the_chart_s(
    readers: SpeechSet, records: list[Measured], tab: str, field: str
) -> None:
    page = _page(tab=tab, speech=readers.digest[:10])

    def speech() -> str:
        if field:
            return str(Path(page.text_input(key=field).value).resolve())
        return str(page.selectbox(key="listen_speech").value)

    first = str(loaders.LIBRISPEECH.resolve()) if field else readers.digest
    second = str(loaders.DEMO.resolve()) if field else records[0].speech_digest
    assert not page.exception and speech() == first
    page.selectbox(key="speech").set_value(records[0].speech_digest[:10]).run()
    assert not page.exception and speech() == second


def test_recordings_that_are_not_here_are_named(profiles: Path, records: list[Measured]) -> None:
    ship(profiles / "made-up", [replace(r, speech="far", speech_digest="9" * 64) for r in records])
    for tab in ("Measure", "Listen"):
        said = [c.value for c in _page(tab=tab).caption]
        assert any("judged on far" in text for text in said)


def test_what_was_queued_is_said_where_it_was_asked_for_and_to_no_other_profile(
    records: list[Measured], profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "start_worker", lambda queue: None)
    shutil.copytree(profiles / "made-up", profiles / "other")
    page = _page(tab="Measure", model="made-up")
    next(b for b in page.button if b.label == "Measure this pick").click().run()
    assert not page.exception
    assert any("waiting its turn" in info.value for info in page.info)
    assert page.toast
    assert not any("waiting its turn" in i.value for i in _page(tab="Measure", model="other").info)
    queue = Queue()
    job = queue.jobs()[0]
    assert isinstance(job.request, Measure)
    queue.cancel(job.id)
    assert any(b.key == f"again-{job.id}" for b in _page(tab="Measure", model="made-up").button)
    assert not any(b.key == f"again-{job.id}" for b in _page(tab="Measure", model="other").button)


def test_a_new_profile_measures_what_its_front_needs_by_one_button(
    profiles: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "start_worker", lambda queue: None)
    page = _page(measure_first_commands=True)
    assert not page.exception
    (button,) = [b for b in page.button if b.key == "measure_first"]
    assert button.label == f"Measure {LEAST_POINTS} maps"
    lines = next(c.value for c in page.code if "map-1.json" in c.value).splitlines()
    assert len(lines) == LEAST_POINTS + 1
    run_command(lines[0].replace("map-1", str(tmp_path / "map-1")))
    button.click().run()
    assert not page.exception
    requests = [job.request for job in Queue().jobs()]
    digests = {r.map_digest for r in requests if isinstance(r, Measure)}
    assert len(digests) == LEAST_POINTS
    written = json.loads((tmp_path / "map-1.json").read_text())
    assert written["digest"] in digests
    assert any(f"{LEAST_POINTS} maps left" in info.value for info in page.info)
    assert "measure_first" not in {b.key for b in page.button}


def test_a_measured_profile_needs_no_button(records: list[Measured]) -> None:
    assert "measure_first" not in {b.key for b in _page().button}
