"""The queue of jobs: what it keeps, in what order, and who empties it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.jobs import processes, worker
from dashboard.jobs.queue import (
    DONE,
    FAILED,
    QUEUED,
    Queue,
)

from .conftest import REQUEST, job_of


def test_an_empty_queue_makes_no_file(queue: Queue) -> None:
    assert queue.jobs() == []
    assert not queue.path.exists()


def test_a_request_is_kept_as_it_was(queue: Queue) -> None:
    number = queue.add(REQUEST)
    assert queue.add(REQUEST) == number
    again = Queue(queue.path).jobs()
    assert [(job.request, job.state) for job in again] == [(REQUEST, QUEUED)]


def test_live_jobs_are_always_listed(queue: Queue) -> None:
    live = [queue.add(replace(REQUEST, label=f"{i}")) for i in range(30)]
    assert queue.claim() is not None
    assert [job.id for job in queue.jobs()] == live[::-1]
    for number in live[1:]:
        queue.cancel(number)
    assert [job.id for job in queue.jobs(5)] == [*live[:24:-1], live[0]]


def test_a_job_is_forgotten_once_it_ended(queue: Queue) -> None:
    number = queue.add(REQUEST)
    queue.forget(number)
    assert [job.id for job in queue.jobs()] == [number]
    queue.cancel(number)
    queue.forget(number)
    assert queue.jobs() == []


def test_waiting_jobs_get_a_worker_after_a_restart(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Queue] = []
    monkeypatch.setattr(processes, "start_worker", started.append)
    processes.resume(queue, queue.jobs())
    assert started == []
    queue.add(REQUEST)
    processes.resume(queue, queue.jobs())
    assert started == [queue]
    queue.claim()
    queue.add(replace(REQUEST, label="another"))
    processes.resume(queue, queue.jobs())
    assert started == [queue], "one is at work"


def test_one_worker_at_a_time(queue: Queue) -> None:
    first = queue.add(REQUEST)
    queue.add(replace(REQUEST, profile="other"))
    taken = queue.claim()
    assert taken is not None and taken.id == first
    assert queue.claim() is None
    queue.finish(first, DONE)
    following = queue.claim()
    assert following is not None and following.request.profile == "other"


def test_time_left_follows_the_stage(queue: Queue) -> None:
    number = queue.add(REQUEST)
    queue.claim()
    queue.progress(number, "measuring", 0, 40)
    assert job_of(queue, number).seconds_left(time.time()) is None
    queue.progress(number, "measuring", 10, 40)
    job = job_of(queue, number)
    assert job.stage_started is not None
    assert job.seconds_left(job.stage_started + 20) == pytest.approx(60)


def test_what_is_wrong_with_a_job_is_said(queue: Queue) -> None:
    number = queue.add(REQUEST)
    assert worker.run_queue(queue) == 1
    job = job_of(queue, number)
    assert job.state == FAILED
    assert "profile.json does not exist" in job.message


def test_the_worker_runs_as_a_process_of_its_own(queue: Queue, tmp_path: Path) -> None:
    number = queue.add(REQUEST)
    command = [sys.executable, "-m", "dashboard.jobs.worker"]
    done = subprocess.run(
        [*command, "--queue", str(queue.path)], cwd=tmp_path, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert job_of(queue, number).state == FAILED
