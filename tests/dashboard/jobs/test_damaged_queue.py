"""A queue that was damaged, or is of another version: no other job stops."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace

import pytest

from dashboard.jobs.queue import (
    DAMAGED,
    DONE,
    FAILED,
    Queue,
)
from dashboard.jobs.requests import (
    Unreadable,
)
from genptq_core.errors import StoreError

from .conftest import REQUEST, job_of


def test_a_damaged_request_is_a_job_that_failed(queue: Queue) -> None:
    queue.add(REQUEST)
    with contextlib.closing(sqlite3.connect(queue.path)) as connection, connection:
        connection.execute("UPDATE jobs SET request = '[1]'")
    job = queue.jobs()[0]
    assert (job.state, job.request) == (FAILED, Unreadable("measure"))
    assert "damaged" in job.message and "\n" not in job.message


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
    job = job_of(queue, number)
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
