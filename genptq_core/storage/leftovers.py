"""Temporary files and folders: their names, which only this program gives, and killed runs' ones.

A temporary file for NAME is `.NAME.genptq-XXXXXXXX.tmp`, of hexadecimal digits, next to it. Its
process holds a lock on it, so that nobody takes it for a leftover however long it is written.
Versions before this one called it `.NAME.XXXXXXXX.tmp`, as other programs do as well.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .locations import OWN_FOLDERS, cache_folder

if sys.platform != "win32":
    import fcntl

STALE = 3600.0
"""Seconds without a change after which a temporary file is taken for one of a killed run."""

_OURS = re.compile(r"\.(.+)\.genptq-[0-9a-f]{8}\.tmp", re.DOTALL)
_OLDER = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp", re.DOTALL)


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[tuple[Path, int]]:
    """Yield a new file for `path` and its permissions, those of any new file; then delete it.

    Raises:
        OSError: it cannot be made.
    """
    name = _new_name(path)
    handle = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)
    try:
        _hold(handle)
        yield name, stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
        name.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder for what will be at `path`; then delete it.

    Raises:
        OSError: it cannot be made.
    """
    name = _new_name(path)
    name.mkdir()
    handle = None
    try:
        with contextlib.suppress(OSError):  # a folder cannot be opened everywhere
            handle = os.open(name, os.O_RDONLY)
            _hold(handle)
        yield name
    finally:
        if handle is not None:
            os.close(handle)
        shutil.rmtree(name, ignore_errors=True)


def leftovers(folder: Path, name: str | None = None, below: bool = False) -> list[Path]:
    """What killed runs of this program left in a folder; symbolic links are not followed.

    Names of earlier versions count only in the cache, in the folders that this program makes there.

    Args:
        folder: where to look.
        name: only those for a file of this name.
        below: look into folders below as well.
    """
    own = [cache_folder().resolve() / folder for folder in OWN_FOLDERS]

    def is_ours(path: Path) -> bool:
        if _OURS.fullmatch(path.name):
            return True
        where = path.parent.resolve()
        return bool(_OLDER.fullmatch(path.name)) and any(map(where.is_relative_to, own))

    found = [path for path in _temporary(folder, below) if is_ours(path)]
    return [path for path in found if name in (None, target_name(path)) and _is_left(path)]


def doubtful_leftovers(folder: Path, below: bool = False) -> list[Path]:
    """What earlier versions of this program may have left, or another program: not to be deleted.

    Args:
        folder: where to look.
        below: look into folders below as well.
    """
    ours = set(leftovers(folder, below=below))
    found = [path for path in _temporary(folder, below) if not _OURS.fullmatch(path.name)]
    return [path for path in found if path not in ours and _is_left(path)]


def target_name(leftover: Path) -> str:
    """The name of the file or folder that a temporary one was to become."""
    match = _OURS.fullmatch(leftover.name) or _OLDER.fullmatch(leftover.name)
    return match[1] if match else ""


def _new_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.genptq-{secrets.token_hex(4)}.tmp")


def _temporary(folder: Path, below: bool) -> Iterator[Path]:
    """Files and folders with temporary names, of this version or earlier ones."""
    for parent, folders, files in os.walk(folder):
        apart = {name for name in folders if _OLDER.fullmatch(name) or _OURS.fullmatch(name)}
        inside = {name for name in files if _OLDER.fullmatch(name) or _OURS.fullmatch(name)}
        yield from (Path(parent, name) for name in sorted(apart | inside))
        folders[:] = sorted(set(folders) - apart) if below else []


def _is_left(path: Path) -> bool:
    """Whether a file or folder, and no link, has long been left alone and belongs to no process."""
    try:
        status = path.lstat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return False
        changed = status.st_mtime
        for parent, folders, files in os.walk(path):
            changes = [os.lstat(os.path.join(parent, name)).st_mtime for name in folders + files]
            changed = max([changed, *changes])
        return time.time() - changed > STALE and not _is_held(path)
    except OSError:  # another process has deleted it
        return False


def _hold(handle: int) -> None:
    """Show other processes that a file is in use, where the file system has locks."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock on a file; False where there are no locks, or no file."""
    try:
        return _is_held(path)
    except OSError:
        return False


def _is_held(path: Path) -> bool:
    if sys.platform == "win32":
        return False
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here
        return False
    finally:
        os.close(handle)
    return False
