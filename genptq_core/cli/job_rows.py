"""The page's queue as the doctor reads it: rows of a SQLite file, which the page alone writes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

from ..errors import StoreError
from ..storage.files import require_file
from ..storage.json_files import unsealed
from ..storage.sqlite import reading

VERSION = 3
"""The queue's version that is read; earlier ones are emptied when the page opens."""

STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")

_REMEDY = (
    "Move it away while no job runs, with what begins with its name; the page starts an empty one, "
    "and what was measured or profiled is in other files."
)


def check_jobs(path: Path) -> None:
    """Check every row of a queue, without writing to it; a job that runs is sound.

    Raises:
        StoreError: the file cannot be read, is of a newer version, or holds damaged jobs.
    """
    try:
        require_file(path)
        with contextlib.closing(reading(path)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise StoreError(
                    f"{path} has job queue version {version}; this program reads version "
                    f"{VERSION}.",
                    "Update the program, or move the file away.",
                )
            if version < VERSION:
                return
            verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            query = "SELECT id, state, request, result FROM jobs ORDER BY id"
            rows = connection.execute(query).fetchall()
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The job queue {path} cannot be read ({error}).", _REMEDY) from error
    if verdict != "ok":
        raise StoreError(f"{path} is damaged ({' '.join(str(verdict).split())}).", _REMEDY)
    damaged = [str(row[0]) for row in rows if not _is_sound(*row)]
    if damaged:
        which = f"job {damaged[0]}" if len(damaged) == 1 else f"jobs {', '.join(damaged)}"
        raise StoreError(f"{path} is damaged in {which}.", _REMEDY)


def _is_sound(number: object, state: object, request: object, result: object) -> bool:
    if not isinstance(number, int) or state not in STATES:
        return False
    for text in (request, result):
        try:
            document = json.loads(text) if isinstance(text, str) else None
            if not isinstance(document, dict):
                return False
            unsealed(document)
        except (ValueError, RecursionError):
            return False
    return True
