"""JSON files with a schema, a version and a seal: a digest over all of their content."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ..errors import GenPTQError
from .digests import sha256_json
from .files import read_text, write_text

_SEAL = "sha256"

Record = TypeVar("Record")


def write_json(path: Path, schema: str, version: int, content: dict[str, Any]) -> None:
    """Write `content` as JSON with its schema name, version and seal, atomically."""
    write_text(path, json_text(schema, version, content))


def json_text(schema: str, version: int, content: dict[str, Any]) -> str:
    """The text of `content` as JSON with its schema name, version and seal.

    Raises:
        ValueError, TypeError: JSON cannot hold it.
    """
    document = sealed({"schema": schema, "version": version, **content})
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def read_json(
    path: Path, schema: str, version: int | tuple[int, ...], error: type[GenPTQError], remedy: str
) -> dict[str, Any]:
    """Read JSON written by `write_json`.

    Raises:
        error: the file is missing, is not JSON, carries another schema or version, or does not
            match its seal (the oldest files have none).
    """
    path = Path(path)
    try:
        document = json.loads(read_text(path))
    except FileNotFoundError:
        raise error(f"{path} does not exist.", remedy) from None
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as cause:
        raise error(f"{path} cannot be read as JSON ({cause}).", remedy) from cause
    if not isinstance(document, dict) or document.get("schema") != schema:
        raise error(f"{path} is not a {schema} file.", remedy)
    written = document.get("version")
    known = version if isinstance(version, tuple) else (version,)
    if written not in known:
        raise error(
            f"{path} has {schema} version {written!r}; this program reads version {known[-1]}.",
            remedy,
        )
    try:
        return unsealed(document)
    except ValueError as cause:
        raise error(f"{path} is damaged: {cause}.", remedy) from None


def validated(
    record: Callable[..., Record],
    document: Mapping[str, Any],
    path: Path,
    error: type[GenPTQError],
    remedy: str,
) -> Record:
    """A pydantic record of what `read_json` returned, schema and version left out.

    Raises:
        error: a field is missing or wrong; the first is named.
    """
    fields = {name: v for name, v in document.items() if name not in ("schema", "version")}
    try:
        return record(**fields)
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_context=False)[0]
        place = ", ".join(repr(part) for part in first["loc"])
        where = f" in {place}" if place else ""
        raise error(f"{path} is wrong{where}: {first['msg']}.", remedy) from cause


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content with a digest over all of it."""
    return {**content, _SEAL: sha256_json(content)}


def unsealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a sealed document, or of one without a seal.

    Raises:
        ValueError: it does not match its seal.
    """
    content = dict(document)
    seal = content.pop(_SEAL, None)
    if seal is not None and seal != sha256_json(content):
        raise ValueError(
            f'its content does not match its digest, "{_SEAL}" (to edit a file, delete that field)'
        )
    return content
