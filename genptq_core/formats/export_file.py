"""The manifest: what an exported folder says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import PROGRAM, ExportError
from ..storage.digests import sha256_file
from ..storage.json_files import read_json, write_json

NAME = "export.json"
SCHEMA = "genptq-export"
VERSION = 1
_REMEDY = f"Export it again with: {PROGRAM} export."


@dataclass(frozen=True)
class ExportFile:
    """What an exported folder holds, and what it was made from.

    Attributes:
        target: name of the target that it was written for.
        model: the model's name.
        family: its family, such as "whisper".
        model_digest: SHA-256 over the original's weights.
        profile_digest: of the profile whose rounding was written.
        map_digest: of the bit map.
        bytes: what all stored parameters take, containers' headers left out.
        files: SHA-256 of every other file, by its name.
        compiled: digest of the compiling, where the map was compiled.
    """

    target: str
    model: str
    family: str
    model_digest: str
    profile_digest: str
    map_digest: str
    bytes: int
    files: Mapping[str, str]
    compiled: str = ""


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but the manifest, by its name from there."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / NAME
    }


def write(folder: Path, manifest: ExportFile) -> None:
    """Write a folder's manifest."""
    write_json(folder / NAME, SCHEMA, VERSION, asdict(manifest))


def read(folder: Path) -> ExportFile:
    """Read a folder's manifest; its files are not looked at.

    Raises:
        ExportError: it is missing, damaged, or of another version.
    """
    path = Path(folder) / NAME
    document: dict[str, Any] = read_json(path, SCHEMA, VERSION, ExportError, _REMEDY)
    del document["schema"], document["version"]
    try:
        found = ExportFile(**document)
    except TypeError as error:
        raise ExportError(f"{path} lacks or misnames a field ({error}).", _REMEDY) from error
    table = found.files
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise ExportError(f"{path} has no table of files.", _REMEDY)
    return found


def verify(folder: Path) -> ExportFile:
    """Read a folder's manifest and check every file against it.

    Raises:
        ExportError: the manifest cannot be read, or a file is missing or altered; the first is
            named.
    """
    found = read(folder)
    for name, digest in found.files.items():
        path = Path(folder) / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ExportError(f"{Path(folder) / NAME} names {name!r}, a file elsewhere.", _REMEDY)
        try:
            actual = sha256_file(path)
        except (OSError, ValueError) as error:  # ValueError: a name with a null character
            raise ExportError(f"{path} cannot be read ({error}).", _REMEDY) from error
        if actual != digest:
            raise ExportError(f"{path} is damaged or altered.", _REMEDY)
    return found
