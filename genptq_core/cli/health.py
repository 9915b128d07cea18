"""The doctor: opens every profile, store, export, bit map and cache entry it finds, names what is
wrong, and repairs what can be."""

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
    """Check a folder, or everything: the profiles that ship, model and cache.

    Args:
        path: a profile, an export or a bit map, or a folder with some below it; None for
            everything.

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
        for left in leftovers(root, below=True):
            checked.append(str(left))
            problems.append(
                f"{left} was left by a run that was killed; doctor --repair deletes it."
            )
    if path is not None and not checked:
        problems.append(f"{path} holds no profile, no export and no bit map.")
    if path is None:
        _check_model(checked, problems)
    return checked, problems


def repair(path: Path | None = None) -> list[str]:
    """Repair what can be: stores, entries of the cache, and what killed runs left.

    A damaged store is set aside and its sound records are kept; a damaged entry of the cache is
    deleted, for it is computed again when it is needed. Profiles, exports and bit maps cannot be
    repaired, only made again.

    Args:
        path: as for `examine`.

    Returns:
        A sentence for each thing done.

    Raises:
        ProfileError: `path` does not exist.
        StoreError: a store's folder cannot be written.
    """
    done: list[str] = []
    for root in _roots(path):
        for found in _stores(root):
            try:
                store.read_store(found)
            except store.StoreVersionError:
                continue  # another program's, not damaged
            except GenPTQError:
                done.append(store.repair_store(found))
        for found in _entries(root):
            try:
                _check_entry(found)
            except GenPTQError:
                remove(found)
                done.append(f"{found}: deleted; it is computed again when it is needed.")
        for left in leftovers(root, below=True):
            # The old folder of an export that was killed between two renames is moved back.
            moved = folders.put_back(left)
            remove(left)
            done.append(f"{moved}: restored." if moved else f"{left}: deleted.")
    return done


def _roots(path: Path | None) -> list[Path]:
    if path is not None and not path.exists():
        raise ProfileError(f"{path} does not exist.", "Check the path.")
    return [path] if path is not None else [bundled_profiles(), cache_folder()]


def _checks(root: Path) -> Iterator[tuple[str, Check]]:
    """Everything to check in a folder or of a file: a name and what raises where it is wrong."""
    if root.is_file():
        yield str(root), partial(_check_map, root)
        return
    for found in sorted(root.rglob(profiles.JSON_NAME)):
        yield str(found.parent), partial(profiles.load_profile, found.parent)
    for found in sorted(root.rglob(store.JSON_NAME)):
        yield str(found), partial(store.read_shipped, found)
    for found in _stores(root):
        yield str(found), partial(store.read_store, found)
    for found in sorted(root.rglob(export_file.NAME)):
        yield str(found.parent), partial(export_file.verify, found.parent)
    for found in sorted(root.rglob("*.json")):
        if not (found.parent / export_file.NAME).exists() and _is_map(found):
            yield str(found), partial(_check_map, found)
    for found in _entries(root):
        yield str(found), partial(_check_entry, found)


def _stores(root: Path) -> list[Path]:
    beside = list(root.rglob(store.SQLITE_NAME))
    return sorted({*beside, *(p for p in root.rglob("*.sqlite") if p.parent.name == "measured")})


def _entries(root: Path) -> list[Path]:
    """Entries of the cache in a folder that is the cache or in it, or has it below."""
    folders = [cache_folder() / name for name in TENSOR_FOLDERS]
    found = (p for folder in folders for p in folder.rglob("*.safetensors"))
    here = root.resolve()
    return sorted(p for p in found if p.resolve().is_relative_to(here))


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
