"""Health of files: checks every profile, store, export, bit map, queue and cache entry, names what
is wrong, and repairs what it can."""

from __future__ import annotations

import time
from pathlib import Path

from ..errors import GenPTQError, ProfileError
from ..measurement import store
from ..storage import folders
from ..storage.files import remove
from ..storage.leftovers import doubtful_leftovers, leftovers
from ..storage.locations import bundled_profiles, cache_folder
from .findings import Finding, findings

_YOUNG = 10.0
"""Seconds since a file changed within which another process may be at it."""

_MOMENT = 0.05
"""Seconds after which such a file is looked at again."""


def examine(path: Path | None = None) -> tuple[list[str], list[str]]:
    """Names of the files that were checked, and the problems with them.

    Args:
        path: a profile, an export or a bit map, or a folder with some below it; None for the
            profiles and the model that ship, and the cache.

    Returns:
        What was checked, and a sentence for each problem.

    Raises:
        ProfileError: `path` does not exist, or holds nothing of this program's.
    """
    checked: list[str] = []
    problems: list[str] = []
    for root in _roots(path):
        for finding in findings(root):
            checked.append(finding.name)
            problem = _problem(finding)
            if problem:
                problems.append(problem)
        for leftover in leftovers(root, below=True):
            checked.append(str(leftover))
            problems.append(
                f"{leftover} was left by a run that was killed; doctor --repair deletes it."
            )
    if path is not None and not checked:
        raise ProfileError(f"{path} holds no profile, no export and no bit map.", "Check the path.")
    if path is None:
        _check_model(checked, problems)
    return checked, problems


def notes(path: Path | None = None) -> list[str]:
    """A sentence for each file that an earlier version may have left, or another program.

    Args:
        path: as for `examine`.

    Raises:
        ProfileError: `path` does not exist.
    """
    return [
        f"{leftover} may be left by an earlier version of this program; delete it if it is."
        for root in _roots(path)
        for leftover in doubtful_leftovers(root, below=True)
    ]


def repair(path: Path | None = None) -> list[str]:
    """Repair stores, entries of the cache, and what killed runs left; say what was repaired.

    A damaged store is set aside and its sound records are kept; a damaged entry of the cache is
    deleted, for it is computed again when it is needed. Profiles, exports and bit maps cannot be
    repaired, only made again. What this program did not write is not touched, nor what a symbolic
    link leads to.

    Args:
        path: as for `examine`.

    Returns:
        A sentence for each repair.

    Raises:
        ProfileError: `path` does not exist.
        StoreError: a store's folder cannot be written.
    """
    repairs: list[str] = []
    for root in _roots(path):
        for finding in findings(root):
            if finding.kind == "store" and not finding.path.is_symlink():
                repairs += _repair_store(finding.path)
            elif finding.kind == "entry" and _problem(finding):
                remove(finding.path)
                repairs.append(f"{finding.path}: deleted; it is computed again when it is needed.")
        for leftover in leftovers(root, below=True):
            # The old folder of an export that was killed between two renames is moved back.
            moved = folders.put_back(leftover)
            remove(leftover)
            repairs.append(f"{moved}: restored." if moved else f"{leftover}: deleted.")
    return repairs


def _roots(path: Path | None) -> list[Path]:
    if path is None:
        return [bundled_profiles(), cache_folder()]
    if not path.exists():
        raise ProfileError(f"{path} does not exist.", "Check the path.")
    if not (path.is_dir() or path.is_file()):
        raise ProfileError(f"{path} is a device or a pipe.", "Name a folder or a bit map.")
    return [path]


def _problem(finding: Finding) -> str | None:
    """What is wrong with something, if anything is.

    What has just changed is looked at twice: another process may be putting it in its place.
    """
    try:
        finding.check()
    except GenPTQError as error:
        problem = str(error)
    else:
        return None
    try:
        if time.time() - finding.path.stat().st_mtime > _YOUNG:
            return problem
        time.sleep(_MOMENT)
        finding.check()
    except GenPTQError as error:
        return str(error)
    except OSError:  # it is gone
        return None
    return None


def _repair_store(path: Path) -> list[str]:
    try:
        store.read_store(path)
    except store.StoreVersionError:
        return []  # another program's, not damaged
    except GenPTQError:
        return [store.repair_store(path)]
    return []


def _check_model(checked: list[str], problems: list[str]) -> None:
    from ..models import bundled

    for model in bundled.EMBEDDED.values():
        if model is not bundled.TINY_EN and not bundled.installed(model):
            continue  # nothing needs it that was not asked for
        checked.append(model.name)
        try:
            bundled.read(bundled.files(model), model)
        except GenPTQError as error:
            problems.append(str(error))
