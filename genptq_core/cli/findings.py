"""What the doctor looks at: the program's own files in a folder, each with its check."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from .. import profile as profiles
from ..bitmaps import schema
from ..errors import PROGRAM, BitMapError, GenPTQError, ProfileError
from ..formats import export_file, unpacked_file
from ..measurement import store
from ..storage.files import LOCK_NAME, read_text
from ..storage.json_files import read_json, unsealed
from ..storage.leftovers import is_locked, target_name
from ..storage.locations import cache_folder, job_queue_file
from ..storage.sqlite import reading
from .job_rows import check_jobs

_ENTRY = re.compile(
    r"(work|compiled)/[0-9a-f]{32}/.+\.safetensors"
    r"|baselines/[0-9a-f]{32}\.safetensors"
    r"|shards/[0-9a-f]{2}/[0-9a-f]{32}\.safetensors"
    r"|kept/weights\.safetensors"
)
"""Paths in the cache under which only this program writes tensors."""


@dataclass(frozen=True)
class Finding:
    """Something to check.

    Attributes:
        name: what to call it: its path, or that of its folder.
        path: the file.
        kind: "profile", "shipped", "store", "export", "map", "sealed", "queue" or "entry".
        check: raises a GenPTQError where it is wrong.
    """

    name: str
    path: Path
    kind: str
    check: Callable[[], object]


def files_in(root: Path) -> list[Path]:
    """Regular files in a folder and below, or one file.

    Links to folders are not followed, and folders that a run is still writing are left out.
    """
    if root.is_file():
        return [root]
    found = []
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not target_name(Path(name)))
        found += [Path(parent, name) for name in sorted(names)]
    return [path for path in found if _is_regular(path)]


def findings(root: Path) -> Iterator[Finding]:
    """What of a folder, or of one file, is this program's.

    Entries of a work folder that a process has locked are left out.
    """
    files = files_in(root)
    for path in files:
        found = _by_name(path) or _by_content(path, is_named=path == root)
        if found is not None and not (found.kind == "entry" and in_use(path)):
            yield found


def in_use(path: Path) -> bool:
    """Whether a process has locked the folder of an entry of the cache."""
    folders = path.parents
    return any(is_locked(folder / LOCK_NAME) for folder in folders[:3])


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _by_name(path: Path) -> Finding | None:
    name, folder = path.name, path.parent
    if name == profiles.JSON_NAME:
        return Finding(str(folder), path, "profile", partial(_check_profile, folder))
    if name == store.JSON_NAME:
        return Finding(str(path), path, "shipped", partial(store.read_shipped, path))
    if name == export_file.NAME:
        return Finding(str(folder), path, "export", partial(export_file.verify, folder))
    if name == unpacked_file.NAME:
        return Finding(str(folder), path, "export", partial(unpacked_file.verify, folder))
    if name == store.SQLITE_NAME or (path.suffix == ".sqlite" and _is_in_cache(path, "measured")):
        if _is_foreign(path):
            return None
        return Finding(str(path), path, "store", partial(store.read_store, path))
    if _same(path, job_queue_file()):
        return Finding(str(path), path, "queue", partial(check_jobs, path))
    if path.suffix == ".safetensors" and _is_entry(path):
        return Finding(str(path), path, "entry", partial(_check_entry, path))
    return None


def _by_content(path: Path, is_named: bool) -> Finding | None:
    """A JSON file of this program's, whatever its name; one that the user named is a bit map."""
    if (path.parent / export_file.NAME).exists() and not is_named:
        return None  # its digest is in there
    is_json = path.suffix == ".json"
    head = _head(path) if is_json else b""
    may_be_map = is_named and (is_json or b"genptq" in _head(path, 1_000_000))
    if may_be_map or schema.SCHEMA.encode() in head:
        return Finding(str(path), path, "map", partial(_check_map, path))
    if re.search(rb'"schema": *"genptq-', head):
        return Finding(str(path), path, "sealed", partial(_check_seal, path))
    return None


def _head(path: Path, size: int = 200) -> bytes:
    """The beginning of a file, where damage may have made it unreadable; b"" if it is secret."""
    try:
        with path.open("rb") as handle:
            return handle.read(size)
    except OSError:
        return b""


def _is_entry(path: Path) -> bool:
    with contextlib.suppress(ValueError, OSError):
        inside = path.resolve().relative_to(cache_folder().resolve())
        return bool(_ENTRY.fullmatch(inside.as_posix())) and not path.is_symlink()
    return False


def _is_in_cache(path: Path, folder: str) -> bool:
    return _same(path.parent, cache_folder() / folder)


def _same(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()


def _is_foreign(path: Path) -> bool:
    """Whether a database is sound, and another program's: it lacks our table."""
    try:
        with contextlib.closing(reading(path)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            version = connection.execute("PRAGMA user_version").fetchone()[0]
    except (sqlite3.Error, OSError):
        return False
    return bool(tables) and "measured" not in tables and version == 0


def _check_profile(folder: Path) -> None:
    """Check a profile, and that an option's scores are numbers for all utterances or for none."""
    profile = profiles.load_profile(folder)
    finite = np.isfinite(profile.projections)  # (utterances, draws, units, options)
    partial_ones = finite.any(axis=(0, 1)) & ~finite.all(axis=(0, 1))
    hopeless = ~finite.any(axis=(0, 1, 3))
    for index in np.flatnonzero(partial_ones.any(axis=1) | hopeless):
        raise ProfileError(
            f"{folder / profiles.TENSORS_NAME} holds what is no number among the scores of "
            f"{profile.units[index].name}.",
            f"Compute the profile again with: {PROGRAM} profile.",
        )


def _check_entry(path: Path) -> None:
    from ..storage.cache import read_cached

    if read_cached(path) is None and path.exists():  # a running process may have deleted it
        raise GenPTQError(
            f"{path} is damaged, or of an earlier version.",
            "It is computed again when it is needed; doctor --repair deletes it.",
        )


def _check_map(path: Path) -> None:
    schema.parse(
        read_json(path, schema.SCHEMA, schema.VERSIONS, BitMapError, schema.REMEDY),
        path,
    )


def _check_seal(path: Path) -> None:
    remedy = "Move it away; it is made again by the command that made it."
    try:
        document = json.loads(read_text(path))
        unsealed(document if isinstance(document, dict) else {})
    except (OSError, ValueError, RecursionError) as error:
        raise GenPTQError(f"{path} is damaged: {error}.", remedy) from error
