"""Computing a profile from the page, run without a browser."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.jobs import processes, worker
from dashboard.jobs.queue import DONE, Queue
from dashboard.jobs.requests import ComputeProfile
from dashboard.views.profiles import command
from genptq_core.cli.main import build_parser
from genptq_core.errors import PROGRAM
from genptq_core.profile import Profile, load_profile

from .conftest import ROOT, run_command
from .test_app import _errors, _page


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Queue]:
    """The queues that workers were started for; none is really started."""
    queues: list[Queue] = []
    monkeypatch.setattr(processes, "start_worker", queues.append)
    return queues


def _command(page: AppTest) -> str:
    return next(c.value for c in page.code if f"{PROGRAM} profile" in c.value)


def test_the_page_computes_what_its_command_line_computes(
    profile: Profile, profiles: Path, random_whisper: Path, tones: Path, started: list[Queue]
) -> None:
    page = _page(tab="Profiles")
    assert page.button(key="profile_start").disabled
    for key, value in (
        ("profile_model", str(random_whisper)),
        ("profile_speech", str(tones)),
        ("profile_name", "mine"),
        ("pf_bits", "3,4"),
        ("pf_groups", "8"),
        ("pf_rates", "3"),
    ):
        page.text_input(key=key).set_value(value)
    page.number_input(key="profile_limit").set_value(2)
    page.run()
    assert _errors(page) == []
    line = _command(page)
    page.button(key="profile_start").click().run()
    assert _errors(page) == []
    assert started
    queue = Queue()
    assert worker.run_queue(queue) == 1
    job = queue.jobs()[0]
    assert (job.state, job.message) == (DONE, "")
    made = load_profile(profiles / "mine")
    assert {option.key for option in made.menu} == {"3/8", "4/8", "3", "16"}
    assert made.digest == job.result["digest"]
    # Run from the command line, it finds all of it done.
    assert made.digest in run_command(line, "--json")
    again = _page(tab="Profiles")
    assert "mine" in again.selectbox(key="model").options


def test_what_is_usual_is_left_out_of_the_command() -> None:
    plain = ComputeProfile("m", str(ROOT / "a.jsonl"), None, str(ROOT / "out"))
    assert command(plain) == f"{PROGRAM} profile --model m --speech a.jsonl --out out"
    none = ComputeProfile("m", "/a b.jsonl", 3, "/out", bits=(), rates=(2.25, 3))
    options = build_parser().parse_args(shlex.split(command(none).removeprefix(PROGRAM)))
    assert (options.bits, options.rates, options.limit) == ((), (2.25, 3), 3)
    assert options.speech == "/a b.jsonl"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("profile_name", "../evil", "begins with a letter"),
        ("profile_name", "made-up", "already"),
        ("pf_bits", "3,99", "is no list"),
        ("pf_rates", "0.1", "is no list"),
    ],
)
def test_what_cannot_be_computed_is_said(
    profile: Profile, key: str, value: str, sentence: str
) -> None:
    page = _page(tab="Profiles")
    page.text_input(key=key).set_value(value).run()
    assert any(sentence in error for error in _errors(page))
    assert page.button(key="profile_start").disabled


def test_a_missing_manifest_is_said_before_it_is_queued(
    profile: Profile, started: list[Queue]
) -> None:
    page = _page(tab="Profiles")
    page.text_input(key="profile_name").set_value("mine")
    page.text_input(key="profile_speech").set_value("/nowhere.jsonl").run()
    page.button(key="profile_start").click().run()
    assert any("does not exist" in error.replace("\\", "") for error in _errors(page))
    assert Queue().jobs() == []
