"""The doctor: opens every profile, store and export it finds, and names what is wrong."""

from __future__ import annotations

from pathlib import Path

from . import manifest, store
from . import profile as profiles
from .errors import GenPTQError, ProfileError
from .files import cache_folder


def examine(path: Path | None = None) -> tuple[list[str], list[str]]:
    """Check a folder, or everything: the profiles that ship, model and cache.

    Args:
        path: a profile or an export, or a folder with some below it; None for everything.

    Returns:
        What was checked, and a sentence for each problem.

    Raises:
        ProfileError: `path` does not exist.
    """
    checked: list[str] = []
    problems: list[str] = []
    if path is not None and not path.exists():
        raise ProfileError(f"{path} does not exist.", "Check the path.")
    roots = [path] if path is not None else [profiles.bundled_folder(), cache_folder()]
    for root in roots:
        for found in sorted(root.rglob(profiles.JSON_NAME)):
            _check_profile(found.parent, checked, problems)
        for found in sorted(root.rglob(manifest.NAME)):
            _check_export(found.parent, checked, problems)
        for left in sorted(root.rglob(".*.tmp")):
            checked.append(str(left))
            problems.append(f"{left} was left by a run that was killed; it can be deleted.")
    if path is not None and not checked:
        problems.append(f"{path} holds no profile and no export.")
    if path is None:
        _check_model(checked, problems)
    return checked, problems


def _check_profile(folder: Path, checked: list[str], problems: list[str]) -> None:
    checked.append(str(folder))
    try:
        profile = profiles.load_profile(folder)
        store.load_measured(folder, profile.digest)
    except GenPTQError as error:
        problems.append(str(error))


def _check_export(folder: Path, checked: list[str], problems: list[str]) -> None:
    checked.append(str(folder))
    try:
        manifest.verify(folder)
    except GenPTQError as error:
        problems.append(str(error))


def _check_model(checked: list[str], problems: list[str]) -> None:
    from .models import bundled

    checked.append(bundled.NAME)
    try:
        bundled.read(bundled.folder() / "model.bin")
    except GenPTQError as error:
        problems.append(str(error))
