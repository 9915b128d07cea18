"""Health of files: opens every profile, store, export, bit map and cache entry, names what is
wrong, and repairs what it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .. import profile as profiles
from ..bitmaps import schema
from ..errors import BitMapError, GenPTQError, ProfileError
from ..formats import export_file
from ..measurement import store
from ..storage import folders
from ..storage.files import leftovers, remove
from ..storage.json_files import read_json
from ..storage.locations import TENSOR_FOLDERS, bundled_profiles, cache_folder

Check = Callable[[], object]


def examine(path: Path | None = None) -> tuple[list[str], list[str]]:
    """Names of the files that were checked, and the problems with them.

    Args:
        path: a profile, an export or a bit map, or a folder with some below it; None for the
            profiles and the model that ship, and the cache.

    Returns:
        What was checked, and a sentence for each problem.

    Raises:
        ProfileError: `path` does not exist.
    """
    checked: list[str] = []
    problems: list[str] = []
    for root in _roots(path):
        for name, check in _checks(root):
            checked.append(name)
            try:
                check()
            except GenPTQError as error:
                problems.append(str(error))
        for leftover in leftovers(root, below=True):
            checked.append(str(leftover))
            problems.append(
                f"{leftover} was left by a run that was killed; doctor --repair deletes it."
            )
    if path is not None and not checked:
        problems.append(f"{path} holds no profile, no export and no bit map.")
    if path is None:
        _check_model(checked, problems)
    return checked, problems


def repair(path: Path | None = None) -> list[str]:
    """Repair stores, entries of the cache, and what killed runs left; say what was repaired.

    A damaged store is set aside and its sound records are kept; a damaged entry of the cache is
    deleted, for it is computed again when it is needed. Profiles, exports and bit maps cannot be
    repaired, only made again.

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
        for database in _stores(root):
            try:
                store.read_store(database)
            except store.StoreVersionError:
                continue  # another program's, not damaged
            except GenPTQError:
                repairs.append(store.repair_store(database))
        for entry in _entries(root):
            try:
                _check_entry(entry)
            except GenPTQError:
                remove(entry)
                repairs.append(f"{entry}: deleted; it is computed again when it is needed.")
        for leftover in leftovers(root, below=True):
            # The old folder of an export that was killed between two renames is moved back.
            moved = folders.put_back(leftover)
            remove(leftover)
            repairs.append(f"{moved}: restored." if moved else f"{leftover}: deleted.")
    return repairs


def _roots(path: Path | None) -> list[Path]:
    if path is not None and not path.exists():
        raise ProfileError(f"{path} does not exist.", "Check the path.")
    return [path] if path is not None else [bundled_profiles(), cache_folder()]


def _checks(root: Path) -> Iterator[tuple[str, Check]]:
    """Everything to check in a folder or of a file: a name and what raises where it is wrong."""
    if root.is_file():
        yield str(root), partial(_check_map, root)
        return
    for file in sorted(root.rglob(profiles.JSON_NAME)):
        yield str(file.parent), partial(profiles.load_profile, file.parent)
    for file in sorted(root.rglob(store.JSON_NAME)):
        yield str(file), partial(store.read_shipped, file)
    for file in _stores(root):
        yield str(file), partial(store.read_store, file)
    for file in sorted(root.rglob(export_file.NAME)):
        yield str(file.parent), partial(export_file.verify, file.parent)
    for file in sorted(root.rglob("*.json")):
        if not (file.parent / export_file.NAME).exists() and _is_map(file):
            yield str(file), partial(_check_map, file)
    for file in _entries(root):
        yield str(file), partial(_check_entry, file)


def _stores(root: Path) -> list[Path]:
    """Databases of measurements: of profiles, and in the cache for profiles that are read-only."""
    of_profiles = root.rglob(store.SQLITE_NAME)
    in_cache = (path for path in root.rglob("*.sqlite") if path.parent.name == "measured")
    return sorted({*of_profiles, *in_cache})


def _entries(root: Path) -> list[Path]:
    """Entries of the cache in a folder that is the cache or in it, or has it below."""
    folders = [cache_folder() / name for name in TENSOR_FOLDERS]
    files = (path for folder in folders for path in folder.rglob("*.safetensors"))
    here = root.resolve()
    return sorted(path for path in files if path.resolve().is_relative_to(here))


def _check_entry(path: Path) -> None:
    from ..storage.cache import read_cached

    if read_cached(path) is None:
        raise GenPTQError(
            f"{path} is damaged, or of an earlier version.",
            "It is computed again when it is needed; doctor --repair deletes it.",
        )


def _is_map(path: Path) -> bool:
    """Whether a file was a bit map: damage may have made it unreadable."""
    try:
        with path.open("rb") as handle:
            return schema.SCHEMA.encode() in handle.read(200)
    except OSError:
        return False


def _check_map(path: Path) -> None:
    schema.parse(
        read_json(path, schema.SCHEMA, schema.VERSIONS, BitMapError, schema.REMEDY),
        path,
    )


def _check_model(checked: list[str], problems: list[str]) -> None:
    from ..models import bundled

    checked.append(bundled.NAME)
    try:
        bundled.read(bundled.folder() / "model.bin")
    except GenPTQError as error:
        problems.append(str(error))
