"""A model's settings as plain files, without blanks: what a runtime reads besides the weights.

`transformers` writes JSON for people to read, and of a tokenizer's 3.6 MB more than half are
blanks. What says only by which version it was written is left out, so that sizes do not vary.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..models import SpeechModel

NOTES = ("export.json", "bitmap.json")
"""Files of an export that are notes of this program: no runtime reads them, no size counts them."""

Files = Mapping[str, bytes]
"""Settings by file name."""

_NO_MATTER = ("transformers_version", "_name_or_path", "name_or_path", "_commit_hash")


def saved(model: SpeechModel) -> dict[str, bytes]:
    """Configuration, generation and feature settings, and tokenizer, as the model saves them."""
    with tempfile.TemporaryDirectory(prefix="genptq-") as name:
        model.save_settings(Path(name))
        return {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}


def write_settings(folder: Path, settings: Files) -> None:
    """Write settings, JSON without blanks."""
    for name, content in settings.items():
        (folder / name).write_bytes(_plain(name, content))


def settings_bytes(settings: Files, without: str = "") -> int:
    """Bytes of what `write_settings` writes, one file left out."""
    return sum(len(_plain(name, settings[name])) for name in settings if name != without)


def _plain(name: str, content: bytes) -> bytes:
    if not name.endswith(".json"):
        return content
    return compact(name, json.loads(content.decode("utf-8-sig"))).encode()


def compact(name: str, content: Any) -> str:
    """The text of a settings file."""
    if isinstance(content, dict) and name != "vocab.json":
        content = {key: value for key, value in content.items() if key not in _NO_MATTER}
        if name == "tokenizer.json":
            _join_merges(content)
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def folder_bytes(folder: Path, without: str = "") -> int:
    """Bytes of a folder's files that a runtime reads: all but our notes, and one more."""
    return sum(
        path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in (*NOTES, without)
    )


def _join_merges(tokenizer: dict[str, Any]) -> None:
    """Write merges as "a b" in place of ["a", "b"], where no part holds a blank."""
    merges = tokenizer.get("model", {}).get("merges")
    if merges and all(type(pair) is list and " " not in "".join(pair) for pair in merges):
        tokenizer["model"]["merges"] = [" ".join(pair) for pair in merges]
