"""Delivery: a folder of files appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import ExportError
from .files import leftovers, remove


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
    new_parents: list[Path] = []
    workspace: Path | None = None
    try:
        _check(folder, mark)
        new_parents = _make_parents(folder.absolute().parent)
        for leftover in leftovers(folder.absolute().parent, folder.name):
            put_back(leftover)
            remove(leftover)
        # In the same parent, so that renaming never crosses a file system.
        name = tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent)
        workspace = Path(name)
        fresh = workspace / "new"
        fresh.mkdir()
        yield fresh
        _flush(fresh)
        if folder.exists():
            folder.rename(workspace / "old")
        try:
            fresh.rename(folder)
        except OSError:
            if (workspace / "old").exists():
                (workspace / "old").rename(folder)
            raise
        new_parents = []
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(
            f"Cannot write {folder}: {reason}.", "Choose a folder with room that you may write to."
        ) from error
    finally:
        if workspace is not None:
            shutil.rmtree(workspace, ignore_errors=True)
        for parent in reversed(new_parents):
            with contextlib.suppress(OSError):
                parent.rmdir()


def put_back(leftover: Path) -> Path | None:
    """Restore the earlier delivery that a run had moved aside when it was killed.

    Args:
        leftover: the folder that the run left, `.NAME.*.tmp`.

    Returns:
        The restored folder; None if there was nothing to restore.
    """
    folder = leftover.with_name(leftover.name[1:].rpartition(".")[0].rpartition(".")[0])
    if folder.exists() or not (leftover / "old").is_dir():
        return None
    (leftover / "old").rename(folder)
    return folder


def _check(folder: Path, mark: str) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ExportError(f"{folder} is a file.", "Name a folder.")
    if not (folder / mark).exists() and any(folder.iterdir()):
        raise ExportError(
            f"{folder} holds files that no export wrote.", "Name a new or an empty folder."
        )


def _make_parents(folder: Path) -> list[Path]:
    """Create a folder; returns it and its parents that did not exist, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as written:
                os.fsync(written.fileno())
