"""Settings of a model as an exported folder carries them: configuration, features, tokenizer.

One deflated `settings.zip` with the same bytes on every machine; folders of earlier versions hold
the files loose. Read with the standard library, so that a model can be unpacked without torch.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ExportError
from ..storage.files import LARGEST_TEXT, require_file

NAME = "settings.zip"
"""The file in an exported folder."""

_SETTINGS = (".json", ".txt", ".jinja", ".model")
_NOTES = ("export.json", "bitmap.json", "unpacked.json")
_REMEDY = "The file is damaged: export again."
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format has
_MOST_FILES = 64
_LEVEL = 6  # 9 takes three times as long for 3 % less


def packed(files: Mapping[str, bytes]) -> bytes:
    """An archive of some files, by name; the same bytes for the same files."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # as on Unix, wherever it is written
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, _compact(name, files[name]), compresslevel=_LEVEL)
    return memory.getvalue()


def loose(folder: Path) -> dict[str, bytes]:
    """The settings that lie in an exported folder as files of their own, by name.

    Raises:
        OSError: one cannot be read, or is too large.
    """
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _SETTINGS and path.name not in _NOTES and path.is_file():
            require_file(path, LARGEST_TEXT)
            found[path.name] = path.read_bytes()
    return found


def read(folder: Path) -> dict[str, bytes]:
    """The settings that an exported folder carries, by name: of its archive, or loose.

    Raises:
        ExportError: the archive is damaged, or holds more than settings.
    """
    path = Path(folder) / NAME
    try:
        if not path.exists():
            return loose(Path(folder))
        require_file(path, LARGEST_TEXT)
        return unpacked(path.read_bytes())
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ExportError(f"{path} cannot be read ({error}).", _REMEDY) from error
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or of another compression
        raise ExportError(f"{path} cannot be read ({error}).", _REMEDY) from error


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of an archive, by name.

    Raises:
        ValueError: a name is no plain one, or the files are too many or too large.
        zipfile.BadZipFile: it is no archive, or damaged.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > _MOST_FILES or sum(e.file_size for e in entries) > LARGEST_TEXT:
            raise ValueError("it holds more than settings")
        for entry in entries:
            if Path(entry.filename).name != entry.filename or "\\" in entry.filename:
                raise ValueError(f"it holds {entry.filename!r}, a file elsewhere")
        return {entry.filename: archive.read(entry) for entry in entries}


def json_object(files: Mapping[str, bytes], name: str, where: str) -> dict[str, Any]:
    """A JSON object among some settings; an empty one where there is no such file.

    Args:
        files: the settings.
        name: of the file.
        where: what the settings are of, for messages.

    Raises:
        ExportError: it is no JSON object.
    """
    if name not in files:
        return {}
    try:
        found = json.loads(files[name].decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{name} of {where} is no JSON ({error}).", _REMEDY) from error
    if not isinstance(found, dict):
        raise ExportError(f"{name} of {where} holds no JSON object.", _REMEDY)
    return found


def feature_settings(files: Mapping[str, bytes], where: str) -> dict[str, Any]:
    """How a model hears, from either of the files in which `transformers` keeps it.

    Raises:
        ExportError: there is none, or it is damaged.
    """
    features = json_object(files, "preprocessor_config.json", where)
    if not features:
        said = json_object(files, "processor_config.json", where)
        features = said.get("feature_extractor", said)
    if not isinstance(features, dict) or not features:
        raise ExportError(
            f"{where} holds no feature settings.", "Export it again from a whole model."
        )
    return features


def _compact(name: str, data: bytes) -> bytes:
    """JSON without blanks between its parts; everything else as it is."""
    if not name.endswith(".json"):
        return data
    content = json.loads(data)
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
