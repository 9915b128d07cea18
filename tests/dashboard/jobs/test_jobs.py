"""The queue of jobs, and the worker that empties it."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dashboard.jobs import processes, uploads, worker
from dashboard.jobs.queue import (
    CANCELLED,
    DAMAGED,
    DONE,
    FAILED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    SILENCE,
    Job,
    Queue,
)
from dashboard.jobs.requests import (
    ComputeProfile,
    Measure,
    Request,
    Transcribe,
    Unreadable,
    from_json,
    kind_of,
    to_json,
)
from genptq_core.errors import SpeechError, StoreError
from genptq_core.options import Option
from genptq_core.storage.json_files import sealed, unsealed

OPTIONS = (Option(3, 64), Option(2.25), Option(16))
COMPUTE = ComputeProfile(
    "whisper-tiny.en",
    "m.jsonl",
    utterances=8,
    out="out",
    bits=(3, 4),
    group_sizes=(32, 64),
    rates=(2.25,),
    draws=2,
    seed=1,
)
REQUEST = Measure(
    "profile",
    "d" * 64,
    "m" * 64,
    options=OPTIONS,
    manifest="manifest.jsonl",
    utterances=8,
    label="name",
)


def _transcribe(path: Path | str) -> Transcribe:
    return Transcribe("nowhere", "d", "m", options=OPTIONS, audio=str(path), name="my <voice>")


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "jobs.sqlite")


def _state(queue: Queue, number: int) -> Job:
    return next(job for job in queue.jobs() if job.id == number)


def test_an_empty_queue_makes_no_file(queue: Queue) -> None:
    assert queue.jobs() == []
    assert not queue.path.exists()


def test_a_request_is_kept_as_it_was(queue: Queue) -> None:
    number = queue.add(REQUEST)
    assert queue.add(REQUEST) == number
    again = Queue(queue.path).jobs()
    assert [(job.request, job.state) for job in again] == [(REQUEST, QUEUED)]


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        replace(_transcribe("/a/b.wav"), said="what I said", owner="me"),
        COMPUTE,
    ],
)
def test_every_kind_of_request_comes_back(queue: Queue, request_: Request) -> None:
    queue.add(request_)
    taken = queue.claim()
    assert taken is not None and taken.request == request_
    queue.finish(taken.id, DONE, result={"full": "a", "picked": "b"})
    assert queue.jobs()[0].result == {"full": "a", "picked": "b"}


def test_a_damaged_request_is_a_job_that_failed(queue: Queue) -> None:
    queue.add(REQUEST)
    with contextlib.closing(sqlite3.connect(queue.path)) as connection, connection:
        connection.execute("UPDATE jobs SET request = '[1]'")
    job = queue.jobs()[0]
    assert (job.state, job.request) == (FAILED, Unreadable("measure"))
    assert "damaged" in job.message and "\n" not in job.message


@pytest.mark.parametrize(
    ("request_", "field", "value"),
    [
        (REQUEST, "utterances", "8"),
        (REQUEST, "utterances", 8.5),
        (REQUEST, "utterances", True),
        (REQUEST, "label", None),
        (REQUEST, "profile", 7),
        (REQUEST, "options", "3/64"),
        (REQUEST, "options", ["3/64", 4]),
        (REQUEST, "options", ["3/64", "99"]),
        (REQUEST, "unknown", 1),
        (COMPUTE, "rates", [float("nan")]),
        (COMPUTE, "rates", [float("inf")]),
        (COMPUTE, "rates", ["2.25"]),
        (COMPUTE, "rates", [True]),
        (COMPUTE, "bits", [3.0001]),
        (COMPUTE, "draws", float("nan")),
    ],
)
def test_a_request_with_a_wrong_field_is_an_error(
    request_: Request, field: str, value: object
) -> None:
    """Its seal is right: who writes such a file can make that too."""
    kind = kind_of(request_)
    fields = unsealed(json.loads(to_json(request_)))
    assert from_json(kind, json.dumps(sealed(fields))) == request_
    with pytest.raises(StoreError, match=f"kind '{kind}' in the queue is damaged") as caught:
        from_json(kind, json.dumps(sealed({**fields, field: value})))
    assert field in str(caught.value) and "\n" not in str(caught.value)


def test_a_request_without_a_field_or_of_no_kind_is_an_error() -> None:
    fields = unsealed(json.loads(to_json(REQUEST)))
    with pytest.raises(StoreError, match="sing"):
        from_json("sing", to_json(REQUEST))
    del fields["manifest"]
    with pytest.raises(StoreError, match="manifest"):
        from_json("measure", json.dumps(fields))


def test_whole_numbers_stay_whole_when_a_request_is_written_again() -> None:
    text = to_json(ComputeProfile("m", "m.jsonl", None, "out"))
    assert to_json(from_json("profile", text)) == text


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "asleep"),
        ("done", "many"),
        ("done", -1),
        ("total", 2.5),
        ("cancel", 7),
        ("stage_started", float("inf")),
        ("stage_started", "now"),
        ("message", b"bytes"),
        ("stage", b"\xff\xfe"),
        ("kind", "sing"),
        ("request", ""),
        ("request", "[" * 100_000),
        ("request", 7),
        ("request", b"{}"),
    ],
)
def test_a_damaged_row_stops_no_other_job(queue: Queue, column: str, value: object) -> None:
    number = queue.add(REQUEST)
    with contextlib.closing(sqlite3.connect(queue.path)) as connection, connection:
        connection.execute(f"UPDATE jobs SET {column} = ?", (value,))
    following = queue.add(replace(REQUEST, label="another"))
    job = _state(queue, number)
    assert job.state == FAILED
    assert "in the queue is damaged" in job.message and "\n" not in job.message
    if isinstance(job.request, Unreadable):
        with pytest.raises(StoreError, match="damaged"):
            queue.requeue(number)
    queue.sweep()
    taken = queue.claim()
    assert taken is not None and taken.id == following
    queue.forget(number)
    assert [job.id for job in queue.jobs()] == [following]


def test_a_damaged_row_of_a_job_at_work_stops_no_other(queue: Queue) -> None:
    number = queue.add(REQUEST)
    assert queue.claim() is not None
    with contextlib.closing(sqlite3.connect(queue.path)) as connection, connection:
        connection.execute("UPDATE jobs SET request = CAST(x'ff00fe' AS TEXT)")
    following = queue.add(REQUEST)
    taken = queue.claim()
    assert taken is not None and taken.id == following
    assert not queue.beat(number)


def test_live_jobs_are_always_listed(queue: Queue) -> None:
    live = [queue.add(replace(REQUEST, label=f"{i}")) for i in range(30)]
    assert queue.claim() is not None
    assert [job.id for job in queue.jobs()] == live[::-1]
    for number in live[1:]:
        queue.cancel(number)
    assert [job.id for job in queue.jobs(5)] == [*live[:24:-1], live[0]]


@pytest.mark.parametrize("column", ["request", "result"])
def test_no_flipped_digit_or_letter_passes_for_a_job(queue: Queue, column: str) -> None:
    queue.add(REQUEST)
    taken = queue.claim()
    assert taken is not None
    queue.finish(taken.id, DONE, result={"bytes": 12, "heard": "what was said"})
    with contextlib.closing(sqlite3.connect(queue.path)) as connection:
        sound = connection.execute(f"SELECT {column} FROM jobs").fetchone()[0]
    for place in range(len(sound)):
        flipped = sound[:place] + chr(ord(sound[place]) ^ 1) + sound[place + 1 :]
        with contextlib.closing(sqlite3.connect(queue.path)) as connection, connection:
            connection.execute(f"UPDATE jobs SET {column} = ?", (flipped,))
        job = queue.jobs()[0]
        if isinstance(job.request, Unreadable):
            continue
        named = (job.state, job.message, job.result) == (FAILED, DAMAGED, {})
        # A seal's own name that is no longer one makes it a field that nothing reads.
        harmless = job.request == REQUEST and job.result.get("bytes", 12) == 12
        assert named or (harmless and job.result.get("heard", "what was said") == "what was said")


def test_what_an_older_program_queued_is_dropped(queue: Queue) -> None:
    with contextlib.closing(sqlite3.connect(queue.path)) as connection, connection:
        connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, profile TEXT)")
        connection.execute("PRAGMA user_version = 2")
    assert queue.jobs() == []
    assert queue.add(REQUEST) == 1


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


def _recording(seconds: float = 0.5) -> bytes:
    text = io.BytesIO()
    soundfile.write(text, np.zeros(int(16_000 * seconds), dtype=np.float32), 16_000, format="WAV")
    return text.getvalue()


def test_a_recording_is_deleted_when_its_job_ends(queue: Queue) -> None:
    path = uploads.keep(_recording(), "../../my voice.WAV")
    assert path.parent == uploads.folder() and path.stat().st_mode & 0o777 == 0o600
    number = queue.add(_transcribe(path))
    worker.run_queue(queue)
    assert _state(queue, number).state == FAILED
    assert not path.exists()

    path = uploads.keep(_recording(), "again.wav")
    number = queue.add(_transcribe(path))
    queue.cancel(number)
    assert not path.exists()


def test_a_recording_outlives_a_dead_worker_and_no_more(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, stray = uploads.keep(_recording(), "a.wav"), uploads.keep(_recording(), "b.wav")
    number = queue.add(_transcribe(path))
    queue.claim()
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert _state(queue, number).state == INTERRUPTED
    queue.sweep()
    assert path.exists() and not stray.exists()
    queue.forget(number)
    assert not path.exists()


@pytest.mark.parametrize(
    ("data", "name", "sentence"),
    [
        (b"not audio at all", "a.wav", "cannot be decoded"),
        (b"", "a.exe", "type 'exe' is not taken"),
        (b"RIFF", "wav", "type 'unknown'"),
        (b"0" * 8_000_001, "a.mp3", "8 MB is the most"),
        (_recording(30.5), "a.wav", "30 s is the longest"),
        (_recording(0), "a.wav", "no samples"),
    ],
)
def test_what_is_no_short_recording_is_refused(data: bytes, name: str, sentence: str) -> None:
    with pytest.raises(SpeechError, match=sentence) as caught:
        uploads.keep(data, name)
    assert str(uploads.folder()) not in str(caught.value)
    assert not uploads.folder().exists() or not list(uploads.folder().iterdir())


def test_only_our_own_recordings_are_deleted(tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    other.write_bytes(b"")
    uploads.drop(str(other))
    assert other.exists()


def test_one_worker_at_a_time(queue: Queue) -> None:
    first = queue.add(REQUEST)
    queue.add(replace(REQUEST, profile="other"))
    taken = queue.claim()
    assert taken is not None and taken.id == first
    assert queue.claim() is None
    queue.finish(first, DONE)
    following = queue.claim()
    assert following is not None and following.request.profile == "other"


def test_a_silent_worker_is_interrupted_and_its_job_can_run_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = queue.add(REQUEST)
    assert queue.claim() is not None
    later = time.time() + SILENCE + 1
    monkeypatch.setattr(time, "time", lambda: later)
    job = _state(queue, number)
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
    assert _state(queue, number).state == INTERRUPTED
    assert queue.beat(number)
    job = _state(queue, number)
    assert (job.state, job.message) == (RUNNING, "")
    queue.finish(number, DONE)
    assert _state(queue, number).state == DONE
    assert not queue.beat(number)


def test_a_worker_that_wakes_leaves_alone_what_another_took_over(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = uploads.keep(_recording(), "a.wav")
    number = queue.add(_transcribe(path))
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
    job = _state(queue, number)
    assert job.state == INTERRUPTED and "ended before it was done" in job.message
    assert _state(queue, other).state == RUNNING


def test_cancelling(queue: Queue) -> None:
    waiting = queue.add(REQUEST)
    queue.cancel(waiting)
    assert _state(queue, waiting).state == CANCELLED
    running = queue.add(REQUEST)
    assert queue.claim() is not None
    assert queue.beat(running)
    queue.cancel(running)
    assert _state(queue, running).cancel
    assert not queue.beat(running)


def test_time_left_follows_the_stage(queue: Queue) -> None:
    number = queue.add(REQUEST)
    queue.claim()
    queue.progress(number, "measuring", 0, 40)
    assert _state(queue, number).seconds_left(time.time()) is None
    queue.progress(number, "measuring", 10, 40)
    job = _state(queue, number)
    assert job.stage_started is not None
    assert job.seconds_left(job.stage_started + 20) == pytest.approx(60)


def test_another_version_and_a_damaged_file_are_errors(queue: Queue) -> None:
    queue.add(REQUEST)
    with sqlite3.connect(queue.path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(StoreError, match="version 7"):
        queue.jobs()
    queue.path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        queue.jobs()


def test_what_is_wrong_with_a_job_is_said(queue: Queue) -> None:
    number = queue.add(REQUEST)
    assert worker.run_queue(queue) == 1
    job = _state(queue, number)
    assert job.state == FAILED
    assert "profile.json does not exist" in job.message


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
    assert _state(queue, number).state == CANCELLED


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
    assert _state(queue, number).state in (DONE, CANCELLED)
    assert _state(queue, other).state == QUEUED


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
    assert _state(queue, number).state == CANCELLED


def test_the_worker_runs_as_a_process_of_its_own(queue: Queue, tmp_path: Path) -> None:
    number = queue.add(REQUEST)
    command = [sys.executable, "-m", "dashboard.jobs.worker"]
    done = subprocess.run(
        [*command, "--queue", str(queue.path)], cwd=tmp_path, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert _state(queue, number).state == FAILED
