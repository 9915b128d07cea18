"""Files: atomic writes that clean up after killed ones, locks, and reads that end."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from ..errors import GenPTQError

STALE = 3600.0
"""Seconds without a change after which a temporary file is taken for one of a killed run."""

LARGEST_TEXT = 256_000_000
"""Largest file that is read as text or JSON, bytes."""

LOCK_NAME = ".lock"
"""The file in a folder that a process locks to have the folder to itself."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success flush it and rename it to `path`.

    Temporary files that killed runs left for the same path are deleted first.

    Raises:
        GenPTQError: the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        delete_leftovers(path.parent, path.name)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes private files; a shared profile should be readable like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise GenPTQError(
            f"Cannot write {path}: {reason}.", "Choose a folder with room that you may write to."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder while it is used; waits until it is free.

    The system drops the lock of a killed process. On a file system without locks there is no wait.

    Raises:
        GenPTQError: the folder cannot be written.
    """
    # The library's other kind of lock, a file that exists, would outlive a killed process.
    lock = FileLock(folder / LOCK_NAME, fallback_to_soft=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK_NAME).touch()
    except OSError as error:
        raise GenPTQError(
            f"Cannot write {folder}: {error.strerror}.",
            "Choose a folder that you may write to; $GENPTQ_CACHE names that of the cache.",
        ) from error
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # the file system has no locks
            stack.enter_context(lock)
        yield


def leftovers(folder: Path, name: str = "*", below: bool = False) -> list[Path]:
    """Temporary files and folders that killed runs left in a folder.

    Args:
        folder: where to look.
        name: only those for a file of this name.
        below: look into folders below as well.
    """
    pattern = f".{name if name == '*' else glob.escape(name)}.*.tmp"
    candidates = sorted(folder.rglob(pattern) if below else folder.glob(pattern))
    stale = []
    for path in candidates:
        with contextlib.suppress(OSError):  # another process has deleted it
            if time.time() - path.lstat().st_mtime > STALE:
                stale.append(path)
    return stale


def delete_leftovers(folder: Path, name: str) -> None:
    """Delete the temporary files that killed runs left for a file."""
    for path in leftovers(folder, name):
        remove(path)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def require_file(path: Path, largest: int | None = None) -> None:
    """Make sure that reading a path will end: it is a regular file, and not too large.

    Raises:
        OSError: it is not; the reason is its `strerror`.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))
    if largest is not None and status.st_size > largest:
        raise OSError(errno.EFBIG, f"it has more than {largest / 1e6:.0f} MB", str(path))


def read_text(path: Path) -> str:
    """Read UTF-8 text, without a byte order mark.

    Raises:
        OSError: it is not a regular file, or larger than `LARGEST_TEXT`.
        UnicodeDecodeError: it is not UTF-8.
    """
    require_file(Path(path), LARGEST_TEXT)
    return Path(path).read_text(encoding="utf-8-sig")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
