"""Files: atomic writes, versioned JSON, and digests of content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .errors import GenPTQError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it and rename it into place.

    Raises:
        GenPTQError: the folder cannot be written; nothing is left behind.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes private files; a shared profile should be readable like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise GenPTQError(
            f"Cannot write {path}: {reason}.", "Choose a folder with room that you may write to."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, schema: str, version: int, content: dict[str, Any]) -> None:
    """Write `content` as JSON with its schema name and version, atomically."""
    document = {"schema": schema, "version": version, **content}
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_json(
    path: Path, schema: str, version: int | tuple[int, ...], error: type[GenPTQError], remedy: str
) -> dict[str, Any]:
    """Read JSON written by `write_json`.

    Raises:
        error: the file is missing, is not JSON, or carries another schema or version.
    """
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path} does not exist.", remedy) from None
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as cause:
        raise error(f"{path} cannot be read as JSON ({cause}).", remedy) from cause
    if not isinstance(document, dict) or document.get("schema") != schema:
        raise error(f"{path} is not a {schema} file.", remedy)
    found = document.get("version")
    known = version if isinstance(version, tuple) else (version,)
    if found not in known:
        raise error(
            f"{path} has {schema} version {found!r}; this program reads version {known[-1]}.",
            remedy,
        )
    return document


def sha256(data: bytes | memoryview) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_array(array: np.ndarray) -> str:
    """Hexadecimal SHA-256 of an array's type, shape and content."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def sha256_json(value: Any) -> str:
    """Hexadecimal SHA-256 of a value's canonical JSON."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def cache_folder() -> Path:
    """The folder for what can be computed again: `$GENPTQ_CACHE`, else the user's cache folder."""
    named = os.environ.get("GENPTQ_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "genptq"
    try:
        return Path.home() / ".cache" / "genptq"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "genptq"
