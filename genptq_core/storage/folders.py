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
    """Yield an empty folder beside `folder`; on success it takes that one's place.

    Args:
        folder: where the files shall be. What an earlier delivery put there is replaced.
        mark: name of a file that every delivery has, by which an earlier one is known.

    Raises:
        ExportError: something else is there, or the files cannot be written; then nothing is left
            behind, and what an earlier delivery put there is as it was.
    """
    folder = Path(folder)
    made: list[Path] = []
    beside: Path | None = None
    try:
        _check(folder, mark)
        made = _make_parents(folder.absolute().parent)
        for left in leftovers(folder.absolute().parent, folder.name):
            put_back(left)
            remove(left)
        # Beside the folder, so that renaming never crosses a file system.
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        fresh = beside / "new"
        fresh.mkdir()
        yield fresh
        _flush(fresh)
        if folder.exists():
            folder.rename(beside / "old")
        try:
            fresh.rename(folder)
        except OSError:
            if (beside / "old").exists():
                (beside / "old").rename(folder)
            raise
        made = []
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(
            f"Cannot write {folder}: {reason}.", "Choose a folder with room that you may write to."
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
        for parent in reversed(made):
            with contextlib.suppress(OSError):
                parent.rmdir()


def put_back(left: Path) -> Path | None:
    """Put back what a run, killed between the two renames of a delivery, had moved aside.

    Args:
        left: the folder that it left, `.NAME.*.tmp`.

    Returns:
        The folder that is there again; None if there was nothing to put back.
    """
    folder = left.with_name(left.name[1:].rpartition(".")[0].rpartition(".")[0])
    if folder.exists() or not (left / "old").is_dir():
        return None
    (left / "old").rename(folder)
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
    """Make a folder; returns those that were not there, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as written:
                os.fsync(written.fileno())
