"""A digest of all that turns audio into text besides the weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import GenPTQError
from ..storage.digests import sha256, sha256_json
from ..storage.files import disk_fault

_NO_MATTER = (
    *("_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "architectures"),
    *("dtype", "torch_dtype", "processor_class", "backend", "is_local", "local_files_only"),
)
"""Fields that say where and by what settings were written, not what they are."""

_TABLES = ("tokenizer.json", "vocab.json")  # any field of theirs may be a token


def text_digest(save_settings: Callable[[Path], None], decoding: Any) -> str:
    """SHA-256 over a model's settings as they are saved: configuration, features, tokenizer.

    Neither paths nor times are in it, nor the order in which a file lists its fields.

    Args:
        save_settings: writes them to a folder.
        decoding: what else decides how a model decodes, as JSON.

    Raises:
        GenPTQError: the folder for temporary files cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_settings(folder)
            files = {
                path.relative_to(folder).as_posix(): _content(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
    except Exception as error:  # the tokenizer's library has exceptions of its own
        reason = disk_fault(error)
        if reason is None:
            raise
        raise GenPTQError(
            f"Cannot write {tempfile.gettempdir()}: {reason}.",
            "Make room there, or let $TMPDIR name a folder with room.",
        ) from error
    return sha256_json([files, decoding])


def _content(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix != ".json":
        return sha256(data)
    content = json.loads(data)
    return sha256_json(content if path.name in _TABLES else _plain(content))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in _NO_MATTER}
    return [_plain(item) for item in value] if isinstance(value, list) else value
