"""The queue as the page shows it, run without a browser."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dashboard import jobs, uploads
from dashboard.tasks import Measure, Transcribe
from genptq_core.profile import Profile

from .test_app import _errors, _page


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[jobs.Queue]:
    """The queues that workers were started for; none is really started."""
    found: list[jobs.Queue] = []
    monkeypatch.setattr(jobs, "start_worker", found.append)
    return found


def _request(profile: Profile, profiles: Path) -> Measure:
    menu = profile.menu[-1]
    folder = str(profiles / "made-up")
    options = (menu,) * len(profile.units)
    return Measure(folder, profile.digest, "m" * 64, options, "/a/*b*.jsonl", 3, "<b>name</b>")


def test_a_job_cut_off_is_said_and_resumed(
    profile: Profile,
    profiles: Path,
    started: list[jobs.Queue],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = jobs.Queue()
    number = queue.add(_request(profile, profiles))
    queue.claim()
    queue.progress(number, "measuring", 1, 4)
    page = _page(tab="Measure")
    assert _errors(page) == []
    assert page.button(key=f"cancel-{number}")
    later = time.time() + jobs.SILENCE + 1
    monkeypatch.setattr(time, "time", lambda: later)
    page.run()
    lines = [m.value for m in page.markdown if "interrupted" in m.value]
    assert len(lines) == 1
    assert "ended before it was done" in lines[0]
    assert "\\<b\\>name" in lines[0] and "\\*b\\*" in lines[0], "shown letter by letter"
    again = page.button(key=f"again-{number}")
    assert again.label == "Resume"
    again.click().run()
    assert _errors(page) == []
    assert started
    assert [job.state for job in queue.jobs()] == [jobs.QUEUED]


def test_a_damaged_queue_is_a_sentence(profile: Profile) -> None:
    queue = jobs.Queue()
    queue.path.parent.mkdir(parents=True, exist_ok=True)
    queue.path.write_bytes(b"not a database" * 100)
    assert any("cannot be used" in error for error in _errors(_page(tab="Measure")))


def test_what_was_heard_is_shown_to_its_owner_alone(
    profile: Profile, profiles: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    options = (profile.menu[-1],) * len(profile.units)
    queue = jobs.Queue()
    page = _page(tab="Listen")
    owner = uploads.owner(page.session_state["voice_owner"])
    for name, whose in (("mine", owner), ("another's", "somebody")):
        kept = str(uploads.keep(path.read_bytes(), "a.wav"))
        folder = str(profiles / "made-up")
        number = queue.add(
            Transcribe(
                folder, profile.digest, "m" * 64, options, kept, name, "dogs <b>bark</b>", whose
            )
        )
        queue.claim()
        queue.finish(number, jobs.DONE, result={"full": "dogs bark", "picked": "docks bark"})
    page.run()
    assert _errors(page) == []
    text = " ".join(m.value for m in page.markdown)
    assert "**mine**" in text and "another" not in text
    assert ":red-background[**docks**]" in text
    assert "<b>" not in text.replace("\\<b\\>", "")
