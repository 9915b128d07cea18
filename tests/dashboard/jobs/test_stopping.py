"""Workers that are cancelled, fall silent, or wake beside another."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from dashboard.jobs import uploads, worker
from dashboard.jobs.queue import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    SILENCE,
    Job,
    Queue,
)

from .conftest import REQUEST, job_of, recording, transcribe_request


def test_a_silent_worker_is_interrupted_and_its_job_can_run_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = queue.add(REQUEST)
    assert queue.claim() is not None
    later = time.time() + SILENCE + 1
    monkeypatch.setattr(time, "time", lambda: later)
    job = job_of(queue, number)
    assert job.state == INTERRUPTED
    assert job.message
    again = queue.requeue(number)
    assert again != number
    taken = queue.claim()
    assert taken is not None and taken.id == again


def test_a_worker_that_was_only_asleep_goes_on(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = queue.add(REQUEST)
    assert queue.claim() is not None
    later = time.time() + SILENCE + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert job_of(queue, number).state == INTERRUPTED
    assert queue.beat(number)
    job = job_of(queue, number)
    assert (job.state, job.message) == (RUNNING, "")
    queue.finish(number, DONE)
    assert job_of(queue, number).state == DONE
    assert not queue.beat(number)


def test_a_worker_that_wakes_leaves_alone_what_another_took_over(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = uploads.keep(recording(), "a.wav")
    number = queue.add(transcribe_request(path))
    assert queue.claim() is not None
    later = time.time() + SILENCE + 1
    monkeypatch.setattr(time, "time", lambda: later)
    queue.jobs()
    again = queue.requeue(number)
    assert not queue.beat(number)
    queue.progress(number, "measuring", 1, 2)
    for state in (DONE, CANCELLED, FAILED, INTERRUPTED):
        queue.finish(number, state)
    assert [(job.id, job.state) for job in queue.jobs()] == [(again, QUEUED)]
    assert path.exists()


def test_a_worker_that_wakes_beside_another_stays_interrupted(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(at: Queue, job: Job) -> dict[str, str]:
        if job.id != number:
            return {}
        monkeypatch.setattr(time, "time", lambda: later)
        following = at.claim()
        assert following is not None and following.id == other
        time.sleep(30)
        return {}

    number, other = queue.add(REQUEST), queue.add(replace(REQUEST, label="another"))
    later = time.time() + SILENCE + 1
    monkeypatch.setattr(worker, "_carry_out", slowly)
    monkeypatch.setattr(worker, "_BEAT", 0.05)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert worker.run_queue(queue) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    job = job_of(queue, number)
    assert job.state == INTERRUPTED and "ended before it was done" in job.message
    assert job_of(queue, other).state == RUNNING


def test_cancelling(queue: Queue) -> None:
    waiting = queue.add(REQUEST)
    queue.cancel(waiting)
    assert job_of(queue, waiting).state == CANCELLED
    running = queue.add(REQUEST)
    assert queue.claim() is not None
    assert queue.beat(running)
    queue.cancel(running)
    assert job_of(queue, running).cancel
    assert not queue.beat(running)


def test_a_cancelled_job_stops_within_seconds(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(at: Queue, job: Job) -> dict[str, str]:
        at.cancel(job.id)
        time.sleep(600)
        return {}

    monkeypatch.setattr(worker, "_carry_out", slowly)
    monkeypatch.setattr(worker, "_BEAT", 0.05)
    number = queue.add(REQUEST)
    # A run in the background of a shell inherits SIGINT ignored, as a worker may.
    stops = (signal.SIGINT, signal.SIGTERM)
    before = {stop: signal.signal(stop, signal.SIG_IGN) for stop in stops}
    try:
        worker.obey_signals()
        started = time.monotonic()
        worker.run_queue(queue)
        assert time.monotonic() - started < 300, "it slept to its end"
    finally:
        for stop, handler in before.items():
            signal.signal(stop, handler)
    assert job_of(queue, number).state == CANCELLED


def test_after_a_cancelled_job_another_process_takes_the_next(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stubborn(at: Queue, job: Job) -> dict[str, str]:
        at.cancel(job.id)
        with contextlib.suppress(KeyboardInterrupt):  # as a library may
            time.sleep(5)
        return {}

    monkeypatch.setattr(worker, "_carry_out", stubborn)
    monkeypatch.setattr(worker, "_BEAT", 0.05)
    number, other = queue.add(REQUEST), queue.add(replace(REQUEST, label="another"))
    successors: list[Queue] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert worker.run_queue(queue, successors.append) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert successors == [queue]
    assert job_of(queue, number).state in (DONE, CANCELLED)
    assert job_of(queue, other).state == QUEUED


_DEAF = """
import sys, time
from pathlib import Path
from dashboard.jobs import worker
from dashboard.jobs.queue import Queue

def deaf(queue, job):
    queue.cancel(job.id)
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass

worker._carry_out, worker._BEAT, worker._PATIENCE = deaf, 0.05, 0.2
worker.obey_signals()
worker.run_queue(Queue(Path(sys.argv[1])), lambda queue: print("next", flush=True))
"""


def test_a_job_that_hears_nothing_is_cancelled_all_the_same(queue: Queue) -> None:
    number = queue.add(REQUEST)
    command = [sys.executable, "-c", _DEAF, str(queue.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "next\n"), done.stderr
    assert job_of(queue, number).state == CANCELLED
