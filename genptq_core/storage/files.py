"""Files: atomic writes that clean up after killed runs, locks, and reads that end."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors import SafetensorError

from ..errors import GenPTQError
from .leftovers import leftovers, temporary_file

LARGEST_TEXT = 256_000_000
"""Largest file that is read as text or JSON, bytes."""

LOCK_NAME = ".lock"
"""The file in a folder that a process locks to have the folder to itself."""

DISK_REMEDY = "Choose a folder with room that you may write to."


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success flush it and rename it to `path`.

    Temporary files that killed runs left for the same path are deleted first.

    Raises:
        GenPTQError: the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    new_parents: list[Path] = []
    written = False
    try:
        _check_replaceable(path)
        new_parents = make_parents(path.absolute().parent)
        for leftover in leftovers(path.parent, path.name):
            remove(leftover)
        with temporary_file(path) as (temporary, mode):
            yield temporary
            flush(temporary)
            # A library may have put a private file in its place.
            temporary.chmod(mode)
            temporary.replace(path)
        written = True
    except Exception as error:
        reason = disk_fault(error)
        if reason is None:
            raise
        raise GenPTQError(f"Cannot write {path}: {reason}.", DISK_REMEDY) from error
    finally:
        if not written:
            remove_empty(new_parents)


def make_parents(folder: Path) -> list[Path]:
    """Create a folder; returns it and its parents that did not exist, outermost first.

    Raises:
        OSError: it cannot be created.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: Sequence[Path]) -> None:
    """Delete folders, given outermost first, as far as they are empty."""
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _check_replaceable(path: Path) -> None:
    """Make sure that a file may take a path: a device there would be gone.

    Raises:
        OSError: a folder, a device or a pipe is there, or a link to one.
    """
    if path.name in ("", "..") or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    is_device = path.exists() and not path.is_file()
    if is_device or path.absolute().parent == Path("/dev"):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))


def require_folder(folder: Path) -> None:
    """Make sure, before long work, that files can be written to a folder, which may be missing.

    Raises:
        GenPTQError: something else is there, or it may not be written.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise GenPTQError(f"Cannot write {folder}: {existing} is no folder.", DISK_REMEDY)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise GenPTQError(f"Cannot write {folder}: {existing} is read-only.", DISK_REMEDY)


def flush(path: Path) -> None:
    """Make sure that a file's content is on the disk.

    Raises:
        OSError: it is not: the disk is full, or fails.
    """
    with path.open("rb") as written:
        os.fsync(written.fileno())


def disk_fault(error: BaseException) -> str | None:
    """Why something could not be written; None if the error is about something else.

    Libraries in Rust say it with exceptions of their own, others with one that hides the cause.
    """
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, GenPTQError):
        text = " ".join((getattr(seen, "strerror", None) or str(seen)).split())
        is_first = seen is error or seen is error.__cause__
        if isinstance(seen, OSError | SafetensorError) and (is_first or _is_full(seen)):
            return text
        if "(os error " in text:
            return text
        seen = seen.__cause__ or seen.__context__
    return None


def _is_full(error: BaseException) -> bool:
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
    return getattr(error, "errno", None) in codes


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder while it is used; waits until it is free.

    The system drops the lock of a killed process. On a file system without locks there is no wait.

    Raises:
        GenPTQError: the folder cannot be written.
    """
    from filelock import FileLock  # which takes a moment

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
