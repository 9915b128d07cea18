"""`export.json`: what an exported folder holds, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, Strict
from pydantic.dataclasses import dataclass

from ..errors import PROGRAM, ExportError
from ..storage.digests import sha256_file
from ..storage.json_files import read_json, validated, write_json

NAME = "export.json"
SCHEMA = "genptq-export"
VERSION = 1
_REMEDY = f"Export it again with: {PROGRAM} export."


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
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

    Raises:
        pydantic.ValidationError: a field is of another type.
    """

    target: str
    model: str
    family: str
    model_digest: str
    profile_digest: str
    map_digest: str
    bytes: Annotated[int, Strict(), Field(ge=0)]
    files: dict[str, str]
    compiled: str = ""


def digests(folder: Path, note: str = NAME) -> dict[str, str]:
    """SHA-256 of every file in a folder but the one that will hold them, by its path there."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / note
    }


def write(folder: Path, export: ExportFile) -> None:
    """Write a folder's `export.json`."""
    write_json(folder / NAME, SCHEMA, VERSION, asdict(export))


def read(folder: Path) -> ExportFile:
    """Read a folder's `export.json`; the other files are not looked at.

    Raises:
        ExportError: it is missing, damaged, or of another version; the first field that is wrong
            is named.
    """
    path = Path(folder) / NAME
    document = read_json(path, SCHEMA, VERSION, ExportError, _REMEDY)
    return validated(ExportFile, document, path, ExportError, _REMEDY)


def verify(folder: Path) -> ExportFile:
    """Read a folder's `export.json` and check every other file against it.

    Raises:
        ExportError: it cannot be read, or a file is missing or altered; the first is named.
    """
    export = read(folder)
    check_files(folder, NAME, export.files, _REMEDY)
    return export


def check_files(folder: Path, note: str, files: Mapping[str, str], remedy: str) -> None:
    """Compare files of a folder with digests of them.

    Args:
        folder: the folder.
        note: name of the file that holds the digests, for messages.
        files: SHA-256 by path in the folder.
        remedy: what to do, for messages.

    Raises:
        ExportError: a file is missing or altered; the first is named.
    """
    for name, digest in files.items():
        path = Path(folder) / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ExportError(f"{Path(folder) / note} names {name!r}, a file elsewhere.", remedy)
        try:
            actual = sha256_file(path)
        except (OSError, ValueError) as error:  # ValueError: a name with a null character
            raise ExportError(f"{path} cannot be read ({error}).", remedy) from error
        if actual != digest:
            raise ExportError(f"{path} is damaged or altered.", remedy)
