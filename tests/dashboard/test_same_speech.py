"""Measuring and listening begin with the speech that the front is judged on; jobs stay apart."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.jobs import processes
from dashboard.jobs.queue import DONE, Queue
from dashboard.jobs.requests import Explore, Measure
from dashboard.page import loaders
from genptq_core.cli import explore
from genptq_core.cli.main import build_parser
from genptq_core.measurement.records import Measured
from genptq_core.measurement.store import ship
from genptq_core.speech.utterances import SpeechSet, load_manifest

from .conftest import APP


def _page(*, explore_how: bool = False, **params: str) -> AppTest:
    page = AppTest.from_file(str(APP), default_timeout=60)
    page.session_state["explore_how"] = explore_how
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
    profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "start_worker", lambda queue: None)
    page = _page(explore_how=True)
    assert not page.exception
    page.number_input(key="explore_minutes").set_value(7).run()
    (line,) = [c.value for c in page.code if " explore " in c.value]
    (button,) = [b for b in page.button if b.key == "explore"]
    assert button.label == "Measure maps for 7 min"
    button.click().run()
    assert not page.exception
    (job,) = Queue().jobs()
    asked = job.request
    assert isinstance(asked, Explore) and asked.minutes == 7 and asked.target == "native"
    # The command reads as the program reads it, and asks for the same.
    flags = build_parser().parse_args(shlex.split(line)[1:])
    command = explore.from_flags(flags)
    assert command.profile == profiles / "made-up" == Path(asked.profile)
    assert (command.minutes, command.target) == (asked.minutes, asked.target)
    assert Path(command.speech).resolve() == Path(asked.manifest)
    assert any("Measuring" in info.value for info in page.info)
    assert "explore" not in {b.key for b in page.button}
    queue = Queue()
    queue.claim()
    found = {"maps": 6, "half_width": 0.0042, "enough": True, "bytes": 14_200_000}
    queue.finish(job.id, DONE, result=found)
    said = " ".join(m.value for m in _page(tab="Measure").markdown)
    assert "6 maps measured" in said and "within 0.42 points" in said and "14.2 MB" in said


def test_a_measured_profile_offers_it_under_measure_alone(records: list[Measured]) -> None:
    assert "explore" not in {b.key for b in _page().button}
    assert "explore" in {b.key for b in _page(tab="Measure").button}
