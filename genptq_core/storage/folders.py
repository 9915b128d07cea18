"""Delivery: a folder of files appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import ExportError, GenPTQError
from .files import DISK_REMEDY, disk_fault, flush, make_parents, remove, remove_empty
from .leftovers import leftovers, target_name, temporary_folder


@contextlib.contextmanager
def atomic_folder(folder: Path, mark: str) -> Iterator[Path]:
    """Yield an empty folder; on success it is renamed to `folder`.

    Args:
        folder: where to put the files. An earlier delivery there is replaced.
        mark: name of a file in every delivery, which shows that a folder is one.

    Raises:
        ExportError: other files are there, or the new ones cannot be written; then no new file
            remains, and an earlier delivery stays as it was.
    """
    folder = Path(folder)
    if folder.name in ("", ".."):
        folder = folder.resolve()
    new_parents: list[Path] = []
    delivered = False
    try:
        check_delivery(folder, mark)
        new_parents = make_parents(folder.absolute().parent)
        for leftover in leftovers(folder.absolute().parent, folder.name):
            put_back(leftover)
            remove(leftover)
        # In the same parent, so that renaming never crosses a file system.
        with temporary_folder(folder) as workspace:
            fresh = workspace / "new"
            fresh.mkdir()
            yield fresh
            _finish(fresh)
            _swap(fresh, folder, workspace / "old")
        delivered = True
    except Exception as error:
        # Of a file that could not be written, the cause: its own name is gone with the folder.
        is_inside = isinstance(error, GenPTQError) and ".genptq-" in error.message
        reason = disk_fault(error.__cause__ if is_inside and error.__cause__ else error)
        if reason is None:
            raise
        raise ExportError(f"Cannot write {folder}: {reason}.", DISK_REMEDY) from error
    finally:
        if not delivered:
            remove_empty(new_parents)


def _swap(fresh: Path, folder: Path, aside: Path) -> None:
    """Put a new folder in the place of an earlier one, which is moved aside."""
    if folder.exists():
        folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise


def put_back(leftover: Path) -> Path | None:
    """Restore the earlier delivery that a run had moved aside when it was killed.

    Args:
        leftover: the folder that the run left.

    Returns:
        The restored folder; None if there was nothing to restore.
    """
    name, earlier = target_name(leftover), leftover / "old"
    folder = leftover.with_name(name or leftover.name)
    if os.path.lexists(folder) or earlier.is_symlink() or not earlier.is_dir():
        return None
    earlier.rename(folder)
    return folder


def check_delivery(folder: Path, mark: str) -> None:
    """Make sure that a delivery may take a place: nothing, an empty folder or an earlier one.

    Raises:
        ExportError: it holds something else.
        OSError: it cannot be looked at.
    """
    if not folder.name:
        raise ExportError(f"{folder} is no folder to write to.", "Name a new or an empty folder.")
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise ExportError(f"{folder} is a file.", "Name a folder.")
    if not (folder / mark).exists() and any(folder.iterdir()):
        raise ExportError(
            f"{folder} holds files that no export wrote.", "Name a new or an empty folder."
        )


def _finish(folder: Path) -> None:
    """Flush the files of a folder, and give all of it the permissions of anything new.

    Files from a library may be private, and copies may be read-only.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue
        if path.is_dir():
            path.chmod(mode)
        elif path.is_file():
            path.chmod(mode & 0o666)
            flush(path)
