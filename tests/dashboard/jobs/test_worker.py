"""The queue as the page shows it, run without a browser."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dashboard.jobs import processes, uploads, worker
from dashboard.jobs.queue import DONE, FAILED, QUEUED, SILENCE, Queue
from dashboard.jobs.requests import Explore, Measure, Transcribe
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.extras import install_command
from genptq_core.loading import load_model
from genptq_core.measurement.store import load_measured
from genptq_core.profile import Profile, save
from genptq_core.workers.pool import Workers
from tests.core import synthetic
from tests.core.tiny_models import WAV2VEC2, random_ctc
from tests.dashboard.test_app import _errors, _page


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Queue]:
    """The queues that workers were started for; none is really started."""
    queues: list[Queue] = []
    monkeypatch.setattr(processes, "start_worker", queues.append)
    return queues


def _request(profile: Profile, profiles: Path) -> Measure:
    menu = profile.menu[-1]
    folder = str(profiles / "made-up")
    options = (menu,) * len(profile.units)
    return Measure(
        folder,
        profile.digest,
        "m" * 64,
        options=options,
        manifest="/a/*b*.jsonl",
        utterances=3,
        label="<b>name</b>",
    )


def test_a_job_cut_off_is_said_and_resumed(
    profile: Profile,
    profiles: Path,
    started: list[Queue],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = Queue()
    number = queue.add(_request(profile, profiles))
    queue.claim()
    queue.progress(number, "measuring", 1, 4)
    page = _page(tab="Measure")
    assert _errors(page) == []
    assert page.button(key=f"cancel-{number}")
    later = time.time() + SILENCE + 1
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
    assert [job.state for job in queue.jobs()] == [QUEUED]


def test_a_damaged_queue_is_a_sentence(profile: Profile) -> None:
    queue = Queue()
    queue.path.parent.mkdir(parents=True, exist_ok=True)
    queue.path.write_bytes(b"not a database" * 100)
    assert any("cannot be used" in error for error in _errors(_page(tab="Measure")))


def test_what_was_heard_is_shown_to_its_owner_alone(
    profile: Profile, profiles: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    options = (profile.menu[-1],) * len(profile.units)
    queue = Queue()
    page = _page(tab="Listen")
    owner = uploads.owner(page.session_state["voice_owner"])
    for name, whose in (("mine", owner), ("another's", "somebody")):
        kept = str(uploads.keep(path.read_bytes(), "a.wav"))
        folder = str(profiles / "made-up")
        number = queue.add(
            Transcribe(
                folder,
                profile.digest,
                "m" * 64,
                options=options,
                audio=kept,
                name=name,
                said="dogs <b>bark</b>",
                owner=whose,
            )
        )
        queue.claim()
        queue.finish(number, DONE, result={"full": "dogs bark", "picked": "docks bark"})
    page.run()
    assert _errors(page) == []
    text = " ".join(m.value for m in page.markdown)
    assert "**mine**" in text and "another" not in text
    assert ":red-background[**docks**]" in text
    assert "<b>" not in text.replace("\\<b\\>", "")


def test_a_measurement_goes_to_the_cluster_that_is_named(
    tmp_path: Path, tones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed", reason=install_command("cluster"))
    model = load_model(str(random_ctc(tmp_path / "model", WAV2VEC2)))
    profile = save(synthetic.profile_of(model, group_size=16, bits=(2, 4)), tmp_path / "profile")
    chosen = bit_map(profile, ["4/16"] * len(profile.units))
    request = Measure(
        str(tmp_path / "profile"),
        profile.digest,
        chosen.digest,
        options=chosen.options,
        manifest=str(tones),
        utterances=2,
    )
    queue = Queue()
    schedulers = []
    run = Workers.run

    def noted(self: Workers, *call: Any) -> Any:
        schedulers.append(self.scheduler)
        return run(self, *call)

    monkeypatch.setattr(Workers, "run", noted)
    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp://", dashboard_address=":0"
    ) as cluster:
        monkeypatch.setenv("GENPTQ_SCHEDULER", cluster.scheduler_address)
        queue.add(request)
        worker.run_queue(queue)
    assert schedulers == [cluster.scheduler_address]
    job = queue.jobs()[0]
    assert (job.state, job.done, job.total) == (DONE, 2, 2)
    (record,) = load_measured(tmp_path / "profile", profile.digest)
    assert record.wer == job.result["wer"]
    monkeypatch.setattr("genptq_core.workers.pool.PATIENCE", 1)
    queue.add(replace(request, utterances=3))
    worker.run_queue(queue)
    failed = queue.jobs()[0]
    assert failed.state == FAILED and "No Dask scheduler answers" in failed.message


def test_an_exploration_measures_and_goes_on_where_it_was(tmp_path: Path, tones: Path) -> None:
    model = load_model(str(random_ctc(tmp_path / "model", WAV2VEC2)))
    folder = tmp_path / "profile"
    profile = save(synthetic.profile_of(model, group_size=16, bits=(2, 4)), folder)
    request = Explore(str(folder), profile.digest, "native", str(tones), 2, minutes=1e-3)
    queue = Queue()
    for maps in (1, 2):  # in no time, one map is measured in any case
        queue.add(request)
        worker.run_queue(queue)
        job = queue.jobs()[0]
        assert (job.state, job.result["maps"]) == (DONE, maps), job.message
        assert "map 1, " in job.stage and ", till " in job.stage
        assert len(load_measured(folder, profile.digest)) == maps
        assert job.result["half_width"] > 0


def test_the_page_says_who_decodes(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    def says() -> bool:
        shown = _page(tab="Measure")
        assert _errors(shown) == []
        texts = [m.value.replace("`", "") for m in shown.markdown]
        return any("scheduler at tcp://10.0.0.5:8786 share" in text for text in texts)

    assert not says()
    monkeypatch.setenv("GENPTQ_SCHEDULER", "tcp://10.0.0.5:8786")
    assert says()
