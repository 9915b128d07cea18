"""The store of measurements: SQLite in write-ahead mode, in the folder of its profile.

What ships with a profile is `measured.json`, plain text that a diff can show. Later measurements
go to `measured.sqlite` in the same folder or, where that cannot be written, to the cache folder
under the profile's digest. Reading joins all three.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import PROGRAM, StoreError
from ..storage.files import require_file
from ..storage.json_files import read_json, sealed, write_json
from ..storage.locations import measured_file
from ..storage.sqlite import enter_wal
from .records import Measured, from_fields, to_fields

SCHEMA = "genptq-measured"
VERSION = 4
VERSIONS = (2, 3, 4)
"""Versions that are read. Records are written as the first that knows all of them (2; 3 has
runaways, 4 long recordings and languages), so that older programs read it, and say of the others
that they are too old."""
POOLED = 5
"""Version of a `measured.json` whose records name texts, and recordings, by their place in a list:
maps write the same for most recordings."""
JSON_NAME = "measured.json"
SQLITE_NAME = "measured.sqlite"


_REMEDY = f"Repair it with: {PROGRAM} doctor --repair; or move it away, and measure again."


_NO_ROOM = "Make room on its disk, and see that it can be written; what it holds is sound."
_OF_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)

_DAMAGE = (ValueError, TypeError, RecursionError)  # of a record that is not text, JSON or sound


class StoreVersionError(StoreError):
    """A store was written by a newer program."""


def load_measured(folder: Path, profile_digest: str) -> list[Measured]:
    """All measurements of a profile by rising size, the latest of each map on each speech set.

    Raises:
        StoreError: a store is damaged or of another version.
    """
    latest: dict[tuple[str, str], Measured] = {}
    shipped = Path(folder) / JSON_NAME
    if shipped.exists():
        latest |= {(m.map_digest, m.set_key): m for m in read_shipped(shipped)}
    for path in _stores(folder, profile_digest):
        if path.exists():
            latest |= {(m.map_digest, m.set_key): m for m in read_store(path)}
    records = [m for m in latest.values() if m.profile_digest == profile_digest]
    return sorted(records, key=lambda m: (m.speech, m.bytes, m.loss))


def read_shipped(path: Path) -> list[Measured]:
    """The records of a `measured.json`.

    Raises:
        StoreError: it is damaged or of another version.
    """
    remedy = "Delete it, or get it again from where it came."
    document = read_json(path, SCHEMA, (*VERSIONS, POOLED), StoreError, remedy)
    listed = document.get("measured")
    if not isinstance(listed, list):
        raise StoreError(f"{path} holds no list of measurements.", remedy)
    if document["version"] == POOLED:
        listed = (_with_texts(fields, document.get("texts")) for fields in listed)
    return _records(listed, path, remedy)


def read_store(path: Path) -> list[Measured]:
    """The records of a `measured.sqlite`, in the order in which they were measured.

    Raises:
        StoreError: it is damaged or of another version.
    """
    with _connection(path) as connection:
        # A damaged page can hide rows: they are in the table and not in its index, or neither.
        verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict != "ok":
            raise StoreError(f"{path} is damaged ({' '.join(verdict.split())}).", _REMEDY)
        rows = connection.execute("SELECT record FROM measured ORDER BY rowid").fetchall()
    return _records((json.loads(text) for (text,) in rows), path, _REMEDY)


def repair_store(path: Path) -> str:
    """Set a damaged `measured.sqlite` aside, and write a new one of its sound records.

    Returns:
        What was done.

    Raises:
        StoreError: the folder cannot be written.
    """
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    try:
        for ending in ("", "-wal", "-shm"):
            part = path.with_name(path.name + ending)
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
    except OSError as error:
        raise StoreError(f"{path} cannot be set aside ({error.strerror}).", _REMEDY) from error
    kept = 0
    with _connection(path) as connection:
        for record in _sound(aside):
            _insert(connection, record)
            kept += 1
    return f"{path}: set aside as {aside.name}; {kept} sound records kept."


def _sound(path: Path) -> Iterator[Measured]:
    """Records of a damaged store that can still be read and match their seals."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as store:
        for (text,) in store.execute("SELECT record FROM measured NOT INDEXED ORDER BY rowid"):
            try:
                yield from_fields(json.loads(text))
            except _DAMAGE:
                continue


def save_measured(folder: Path, profile_digest: str, record: Measured) -> None:
    """Add one measurement, replacing an earlier one of the same map on the same set.

    Raises:
        StoreError: no store can be written.
    """
    local, cached = _stores(folder, profile_digest)
    path = local if os.access(folder, os.W_OK) else cached
    with _connection(path) as connection:
        _insert(connection, record)


def _insert(connection: sqlite3.Connection, record: Measured) -> None:
    text = json.dumps(sealed(to_fields(record)), allow_nan=False)
    with connection:
        connection.execute(
            "INSERT OR REPLACE INTO measured (map, speech, record) VALUES (?, ?, ?)",
            (record.map_digest, record.set_key, text),
        )
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version < _version_of(record):
            connection.execute(f"PRAGMA user_version={_version_of(record)}")


def ship(folder: Path, records: list[Measured]) -> None:
    """Write records as the profile's `measured.json`."""
    listed = [to_fields(record) for record in records]
    version = max(map(_version_of, records), default=VERSIONS[0])
    content: dict[str, Any] = {"measured": listed}
    places: dict[str, int] = {}
    for fields in listed:
        fields["transcripts"] = [
            [places.setdefault(text, len(places)) for text in row] for row in fields["transcripts"]
        ]
    if places:
        version, content["texts"] = POOLED, list(places)
    write_json(Path(folder) / JSON_NAME, SCHEMA, version, content)


def _with_texts(fields: Any, texts: Any) -> dict[str, Any]:
    """A record's fields with its transcripts as texts.

    Raises:
        ValueError, TypeError: they name texts that are not there.
    """
    if not isinstance(fields, dict) or not isinstance(texts, list):
        raise TypeError("it is not a JSON object with texts")
    rows = fields.get("transcripts", [])
    if not all(type(place) is int and 0 <= place < len(texts) for row in rows for place in row):
        raise ValueError("wrong in transcripts: a text is not there")
    return {**fields, "transcripts": [[texts[place] for place in row] for row in rows]}


def _version_of(record: Measured) -> int:
    """The first version whose readers know all of a record."""
    if record.long is not None or record.asked:
        return VERSION
    return VERSIONS[0] if record.runaways is None else VERSIONS[1]


def _stores(folder: Path, profile_digest: str) -> tuple[Path, Path]:
    """The stores in the profile's folder and in the cache."""
    return Path(folder) / SQLITE_NAME, measured_file(profile_digest)


def _records(documents: Iterable[Any], path: Path, remedy: str) -> list[Measured]:
    """Records from their JSON fields; a StoreError names the file and the first wrong field."""
    try:
        return [from_fields(document) for document in documents]
    except _DAMAGE as error:
        raise StoreError(f"{path} holds a damaged record ({error}).", remedy) from error


@contextlib.contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a store, which is created if it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            require_file(path)
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                enter_wal(connection)
                with connection:
                    connection.execute(
                        "CREATE TABLE IF NOT EXISTS measured"
                        " (map TEXT, speech TEXT, record TEXT, PRIMARY KEY (map, speech))"
                    )
                    connection.execute(f"PRAGMA user_version={VERSIONS[0]}")
            elif version not in VERSIONS:
                raise StoreVersionError(
                    f"{path} has store version {version}; this program reads version {VERSION}.",
                    "Update the program, or move the file away and measure again.",
                )
            yield connection
    except (sqlite3.Error, OSError) as error:
        remedy = _NO_ROOM if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_DISK else _REMEDY
        raise StoreError(f"The store {path} cannot be used ({error}).", remedy) from error
