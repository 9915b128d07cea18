"""The queue of measurements, and the worker that empties it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dashboard import jobs, worker
from genptq_core.errors import StoreError
from genptq_core.options import Option

from .conftest import ROOT

OPTIONS = (Option(3, 64), Option(2.25), Option(16))
REQUEST = jobs.Request("profile", "d" * 64, "m" * 64, OPTIONS, "manifest.jsonl", 8, "name")


@pytest.fixture
def queue(tmp_path: Path) -> jobs.Queue:
    return jobs.Queue(tmp_path / "jobs.sqlite")


def _state(queue: jobs.Queue, number: int) -> jobs.Job:
    return next(job for job in queue.jobs() if job.id == number)


def test_an_empty_queue_makes_no_file(queue: jobs.Queue) -> None:
    assert queue.jobs() == []
    assert not queue.path.exists()


def test_a_request_is_kept_as_it_was(queue: jobs.Queue) -> None:
    number = queue.add(REQUEST)
    assert queue.add(REQUEST) == number
    again = jobs.Queue(queue.path).jobs()
    assert [(job.request, job.state) for job in again] == [(REQUEST, jobs.QUEUED)]


def test_one_worker_at_a_time(queue: jobs.Queue) -> None:
    first = queue.add(REQUEST)
    queue.add(jobs.Request("other", "d", "m", (Option(2, 8),), "x", None))
    taken = queue.claim()
    assert taken is not None and taken.id == first
    assert queue.claim() is None
    queue.finish(first, jobs.DONE)
    following = queue.claim()
    assert following is not None and following.request.profile == "other"


def test_a_silent_worker_is_interrupted_and_its_job_can_run_again(
    queue: jobs.Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = queue.add(REQUEST)
    assert queue.claim() is not None
    later = time.time() + jobs.SILENCE + 1
    monkeypatch.setattr(time, "time", lambda: later)
    job = _state(queue, number)
    assert job.state == jobs.INTERRUPTED
    assert job.message
    again = queue.requeue(number)
    assert again != number
    taken = queue.claim()
    assert taken is not None and taken.id == again


def test_cancelling(queue: jobs.Queue) -> None:
    waiting = queue.add(REQUEST)
    queue.cancel(waiting)
    assert _state(queue, waiting).state == jobs.CANCELLED
    running = queue.add(REQUEST)
    assert queue.claim() is not None
    assert queue.beat(running)
    queue.cancel(running)
    assert _state(queue, running).cancel
    assert not queue.beat(running)


def test_time_left_follows_the_stage(queue: jobs.Queue) -> None:
    number = queue.add(REQUEST)
    queue.claim()
    queue.progress(number, "measuring", 0, 40)
    assert _state(queue, number).seconds_left(time.time()) is None
    queue.progress(number, "measuring", 10, 40)
    job = _state(queue, number)
    assert job.stage_started is not None
    assert job.seconds_left(job.stage_started + 20) == pytest.approx(60)


def test_another_version_and_a_damaged_file_are_errors(queue: jobs.Queue) -> None:
    queue.add(REQUEST)
    with sqlite3.connect(queue.path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(StoreError, match="version 7"):
        queue.jobs()
    queue.path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        queue.jobs()


def test_what_is_wrong_with_a_job_is_said(queue: jobs.Queue) -> None:
    number = queue.add(REQUEST)
    assert worker.work(queue) == 1
    job = _state(queue, number)
    assert job.state == jobs.FAILED
    assert "profile.json does not exist" in job.message


def test_a_cancelled_job_stops_within_seconds(
    queue: jobs.Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(at: jobs.Queue, job: jobs.Job) -> None:
        at.cancel(job.id)
        time.sleep(30)

    monkeypatch.setattr(worker, "_measure", slowly)
    monkeypatch.setattr(worker, "_BEAT", 0.05)
    number = queue.add(REQUEST)
    # A run in the background of a shell inherits SIGINT ignored, as a worker may.
    stops = (signal.SIGINT, signal.SIGTERM)
    before = {stop: signal.signal(stop, signal.SIG_IGN) for stop in stops}
    try:
        worker.obey_signals()
        started = time.monotonic()
        worker.work(queue)
        assert time.monotonic() - started < 10
    finally:
        for stop, handler in before.items():
            signal.signal(stop, handler)
    assert _state(queue, number).state == jobs.CANCELLED


def test_the_worker_runs_as_a_process_of_its_own(queue: jobs.Queue, tmp_path: Path) -> None:
    number = queue.add(REQUEST)
    command = [sys.executable, str(ROOT / "dashboard" / "jobs.py"), "worker"]
    done = subprocess.run(
        [*command, "--queue", str(queue.path)], cwd=tmp_path, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert _state(queue, number).state == jobs.FAILED
