"""A queue of jobs in SQLite, which the page fills and a worker empties.

The page adds jobs and starts `python -m dashboard.jobs.worker` (see `processes`); the worker takes
one job at a time, writes its progress and a heartbeat, and ends when none is left. Since all state
is in the file, a reload of the page shows its jobs again, a restarted server continues with what
waits, and a worker that died is known by its silence. One that was only asleep goes on with its job
unless that was taken over. A damaged row is a job that failed. Only the worker imports torch.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from genptq_core.errors import StoreError
from genptq_core.storage.json_files import sealed, unsealed
from genptq_core.storage.locations import job_queue_file
from genptq_core.storage.sqlite import enter_wal

from . import uploads
from .requests import Request, Transcribe, Unreadable, fault, from_json, kind_of, to_json

VERSION = 3
SILENCE = 20.0
"""Seconds without a heartbeat after which a worker counts as dead."""

ENDED_EARLY = (
    "The process at work ended before it was done, as when a system runs out of memory. "
    "What it finished is kept."
)

DAMAGED = "What came of it was damaged in the queue's file. Run it again."

UNREADABLE = "Forget it, and ask for it again."
"""What to do about a damaged job."""

QUEUED, RUNNING, DONE = "queued", "running", "done"
FAILED, CANCELLED, INTERRUPTED = "failed", "cancelled", "interrupted"
LIVE = (QUEUED, RUNNING)
ENDED = (DONE, FAILED, CANCELLED, INTERRUPTED)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL,
    kind TEXT NOT NULL,
    request TEXT NOT NULL,
    stage TEXT NOT NULL DEFAULT '',
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    stage_started REAL,
    heartbeat REAL,
    finished REAL,
    cancel INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    result TEXT NOT NULL DEFAULT '{}'
)
"""


@dataclass(frozen=True)
class Job:
    """A request, and how far it has come.

    Attributes:
        id: number in the queue.
        request: what to do, unless that is damaged; the job has failed then.
        state: queued, running, done, failed, cancelled or interrupted.
        stage, done, total: progress within the current stage.
        stage_started: time the stage began, seconds since the epoch.
        cancel: whether the user asked to stop it.
        message: what went wrong, one sentence.
        result: what came of it, where no other file keeps that.
    """

    id: int
    request: Request | Unreadable
    state: str
    stage: str
    done: int
    total: int
    stage_started: float | None
    cancel: bool
    message: str
    result: dict[str, Any]

    def seconds_left(self, now: float) -> float | None:
        """Time left in this stage at its pace so far; None while that is a guess."""
        if self.stage_started is None or self.done < 1 or self.total < self.done:
            return None
        seconds = max(0.0, now - self.stage_started)  # a clock may be set back
        return seconds / self.done * (self.total - self.done)


class Queue:
    """The jobs in one SQLite file.

    Args:
        path: the file; it appears when first written to.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or job_queue_file()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection in one write transaction.

        Raises:
            StoreError: the file is damaged, locked or of another version.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=20, isolation_level=None)
            with contextlib.closing(connection):
                connection.row_factory = sqlite3.Row
                connection.text_factory = lambda data: data.decode(errors="replace")
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > VERSION:
                    raise StoreError(
                        f"{self.path} has job queue version {version}; this program reads "
                        f"version {VERSION}.",
                        "Update the program, or move the file away.",
                    )
                if version == 0:
                    enter_wal(connection)
                connection.execute("BEGIN IMMEDIATE")
                if version < VERSION:
                    # What an older program queued can be queued again; it is not worth converting.
                    connection.execute("DROP TABLE IF EXISTS jobs")
                    connection.execute(_SCHEMA)
                    connection.execute(f"PRAGMA user_version={VERSION}")
                yield connection
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"The job queue {self.path} cannot be used ({error}).",
                "If it is damaged, move it away; what was measured or profiled is in other files.",
            ) from error

    def add(self, request: Request) -> int:
        """Queue a request; an equal one that is still live is not queued twice."""
        with self._open() as connection:
            for job in _jobs(connection, LIVE):
                if job.request == request and not job.cancel:
                    return job.id
            row = connection.execute(
                "INSERT INTO jobs (state, kind, request, created) VALUES (?, ?, ?, ?)",
                (QUEUED, kind_of(request), to_json(request), time.time()),
            )
            return int(row.lastrowid or 0)

    def jobs(self, limit: int = 20) -> list[Job]:
        """All live jobs and the latest others, newest first; silent workers' are interrupted.

        Args:
            limit: how many to list, besides live ones.
        """
        if not self.path.exists():
            return []
        with self._open() as connection:
            _mark_silent(connection)
            _mark_damaged(connection)
            rows = connection.execute(
                "SELECT * FROM jobs WHERE state IN (?, ?)"
                " OR id IN (SELECT id FROM jobs ORDER BY id DESC LIMIT ?) ORDER BY id DESC",
                (*LIVE, limit),
            )
            return [_job(row) for row in rows.fetchall()]

    def cancel(self, number: int) -> None:
        """Ask for a job to stop: at once where it waits, else within a second or so."""
        with self._open() as connection:
            for job in _jobs(connection, (QUEUED,)):
                if job.id == number:
                    _end(connection, number, CANCELLED)
                    _clean(job)
            connection.execute(
                "UPDATE jobs SET cancel = 1 WHERE id = ? AND state = ?", (number, RUNNING)
            )

    def forget(self, number: int) -> None:
        """Take an ended job, and what came of it, off the list."""
        with self._open() as connection:
            _mark_damaged(connection)
            for job in _jobs(connection, ENDED):
                if job.id == number:
                    connection.execute("DELETE FROM jobs WHERE id = ?", (number,))
                    _clean(job)

    def requeue(self, number: int) -> int:
        """Queue again what an ended job asked for, in its place; returns the new job's number."""
        with self._open() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
            if row is None:
                raise StoreError(f"There is no job {number} to run again.", "Reload the page.")
            request = _job(row).request
            if isinstance(request, Unreadable):
                raise StoreError(f"Job {number} is damaged.", "Forget it, and ask for it again.")
            if row["state"] in ENDED:
                connection.execute("DELETE FROM jobs WHERE id = ?", (number,))
        return self.add(request)

    def claim(self) -> Job | None:
        """Take the next queued job, unless another worker is running."""
        with self._open() as connection:
            _mark_silent(connection)
            _mark_damaged(connection)
            waiting = _jobs(connection, (QUEUED,))
            if not waiting or _jobs(connection, (RUNNING,)):
                return None
            now = time.time()
            connection.execute(
                "UPDATE jobs SET state = ?, stage = 'starting', stage_started = ?, heartbeat = ?"
                " WHERE id = ?",
                (RUNNING, now, now, waiting[0].id),
            )
            return waiting[0]

    def beat(self, number: int) -> bool:
        """Note that a job's worker lives; returns whether it should continue.

        One that was taken for dead continues too, unless its job is gone, as where it was queued
        again, or another worker has begun meanwhile.
        """
        with self._open() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, message = '', finished = NULL"
                " WHERE id = ? AND state = ? AND cancel = 0"
                " AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = ?)",
                (RUNNING, number, INTERRUPTED, RUNNING),
            )
            connection.execute(
                "UPDATE jobs SET heartbeat = ? WHERE id = ? AND state = ?",
                (time.time(), number, RUNNING),
            )
            row = connection.execute(
                "SELECT cancel, state FROM jobs WHERE id = ?", (number,)
            ).fetchone()
        return row is not None and row["state"] == RUNNING and not row["cancel"]

    def progress(self, number: int, stage: str, done: int, total: int) -> None:
        """Note how far a job is."""
        with self._open() as connection:
            connection.execute(
                "UPDATE jobs SET stage_started = CASE WHEN stage = ? THEN stage_started ELSE ? END,"
                " stage = ?, done = ?, total = ? WHERE id = ? AND state = ?",
                (stage, time.time(), stage, done, total, number, RUNNING),
            )

    def finish(
        self, number: int, state: str, message: str = "", result: dict[str, Any] | None = None
    ) -> None:
        """Note a job's end; a recording that it no longer needs is deleted.

        Nothing is noted of a job that is gone or has ended already, nor is one cancelled that the
        user did not cancel: it was taken for dead, and stays interrupted.
        """
        with self._open() as connection:
            row = connection.execute(
                "SELECT * FROM jobs WHERE id = ? AND state IN (?, ?) AND (cancel = 1 OR ? <> ?)",
                (number, RUNNING, INTERRUPTED, state, CANCELLED),
            ).fetchone()
            if row is None:
                return
            _end(connection, number, state, message, result)
            if state != INTERRUPTED:
                _clean(_job(row))

    def sweep(self) -> None:
        """Delete recordings that no job waits for."""
        with self._open() as connection:
            waiting = _jobs(connection, (*LIVE, INTERRUPTED))
        uploads.sweep({j.request.audio for j in waiting if isinstance(j.request, Transcribe)})


def _end(
    connection: sqlite3.Connection,
    number: int,
    state: str,
    message: str = "",
    result: dict[str, Any] | None = None,
) -> None:
    connection.execute(
        "UPDATE jobs SET state = ?, message = ?, result = ?, finished = ? WHERE id = ?",
        (state, message, json.dumps(sealed(result or {})), time.time(), number),
    )


def _clean(job: Job) -> None:
    if isinstance(job.request, Transcribe):
        uploads.drop(job.request.audio)


def _mark_silent(connection: sqlite3.Connection) -> None:
    now = time.time()
    # A clock set back leaves heartbeats in the future; from now on silence counts again.
    connection.execute(
        "UPDATE jobs SET heartbeat = ? WHERE state = ? AND heartbeat > ?", (now, RUNNING, now)
    )
    connection.execute(
        "UPDATE jobs SET state = ?, finished = ?, message = ? WHERE state = ? AND heartbeat < ?",
        (INTERRUPTED, now, ENDED_EARLY, RUNNING, now - SILENCE),
    )


def _mark_damaged(connection: sqlite3.Connection) -> None:
    """End the jobs that cannot be read, so that none stands in the way of others."""
    marks = ", ".join("?" * len(ENDED))
    rows = connection.execute(f"SELECT * FROM jobs WHERE state NOT IN ({marks})", ENDED)
    for row in rows.fetchall():
        job = _job(row)
        if isinstance(job.request, Unreadable):
            connection.execute(
                "UPDATE jobs SET state = ?, message = ?, finished = ? WHERE id = ?",
                (FAILED, job.message, time.time(), job.id),
            )


def _jobs(connection: sqlite3.Connection, states: Sequence[str]) -> list[Job]:
    marks = ", ".join("?" * len(states))
    rows = connection.execute(f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY id", states)
    return [_job(row) for row in rows.fetchall()]


@dataclass(frozen=True)
class _Row:
    """A row of the table, as far as a job needs it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, allow_inf_nan=False)

    id: int
    state: Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
    kind: str
    request: str
    stage: str
    done: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]
    stage_started: float | None
    cancel: Literal[0, 1]
    message: str
    result: str


_ROW = TypeAdapter(_Row)
_COLUMNS = [field.name for field in fields(_Row)]


def _job(row: sqlite3.Row) -> Job:
    """The job of a row; one that failed where the row is damaged."""
    columns = {name: row[name] for name in _COLUMNS}
    try:
        # As JSON, for a strict dataclass is read from nothing else.
        sound = _ROW.validate_json(json.dumps(columns))
        request = from_json(sound.kind, sound.request)
    except (ValidationError, TypeError, StoreError) as error:
        reason = fault(error) if isinstance(error, ValidationError) else str(error)
        named = isinstance(error, StoreError)
        message = f"Job {row['id']} in the queue is damaged ({reason}). {UNREADABLE}"
        return Job(
            id=row["id"],
            request=Unreadable(str(row["kind"])),
            state=FAILED,
            stage="",
            done=0,
            total=0,
            stage_started=None,
            cancel=False,
            message=str(error) if named else message,
            result={},
        )
    state, message = str(sound.state), sound.message
    try:
        result = unsealed(json.loads(sound.result))
    except (ValueError, TypeError):
        # What it says cannot be trusted, and the job can run again.
        state, message, result = FAILED, DAMAGED, {}
    return Job(
        id=sound.id,
        request=request,
        state=state,
        stage=sound.stage,
        done=sound.done,
        total=sound.total,
        stage_started=sound.stage_started,
        cancel=bool(sound.cancel),
        message=message,
        result=result,
    )
