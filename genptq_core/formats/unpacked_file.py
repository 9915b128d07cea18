"""`unpacked.json`: what a folder that `unpack` wrote holds, and what it was made from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from ..errors import PROGRAM, ExportError
from ..storage.json_files import read_json, validated, write_json
from . import export_file

NAME = "unpacked.json"
SCHEMA = "genptq-unpacked"
VERSION = 1
_REMEDY = f"Unpack it again with: {PROGRAM} unpack."


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class UnpackedFile:
    """What an unpacked folder holds, and what it was made from.

    Attributes:
        way: what it was unpacked to, such as "gguf".
        width: how matrices are stored, such as "q8_0".
        model: the model's name.
        family: its family, such as "whisper".
        model_digest: SHA-256 over the original's weights.
        map_digest: of the bit map.
        files: SHA-256 of every other file, by its name.

    Raises:
        pydantic.ValidationError: a field is of another type.
    """

    way: str
    width: str
    model: str
    family: str
    model_digest: str
    map_digest: str
    files: dict[str, str]


def write(folder: Path, note: UnpackedFile) -> None:
    """Write a folder's `unpacked.json`."""
    write_json(folder / NAME, SCHEMA, VERSION, asdict(note))


def verify(folder: Path) -> UnpackedFile:
    """Read a folder's `unpacked.json` and check every other file against it.

    Raises:
        ExportError: it cannot be read, or a file is missing or altered; the first is named.
    """
    path = Path(folder) / NAME
    document = read_json(path, SCHEMA, VERSION, ExportError, _REMEDY)
    note = validated(UnpackedFile, document, path, ExportError, _REMEDY)
    export_file.check_files(Path(folder), NAME, note.files, _REMEDY)
    return note
