"""Cache entries: tensors with a digest of their content; a damaged one counts as absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .digests import sha256_array, sha256_json
from .files import atomic, require_file

_NOTE = "entry"


def write_cached(path: Path, tensors: Mapping[str, Tensor], note: Any = None) -> None:
    """Write tensors and a note, which JSON must be able to hold, atomically.

    Raises:
        GenPTQError: the folder cannot be written.
    """
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    text = json.dumps({"note": note, "sha256": _digest(tensors, note)})
    with atomic(path) as temporary:
        # One entry only: the library writes several in random order.
        save_file(tensors, temporary, metadata={_NOTE: text})


def read_cached(path: Path) -> tuple[dict[str, Tensor], Any] | None:
    """Tensors and note of an entry; None if it is absent, damaged, or has no digest."""
    try:
        require_file(path)
        with safe_open(path, framework="pt") as handle:
            entry = json.loads(handle.metadata()[_NOTE])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        note = entry["note"]
        return (tensors, note) if entry["sha256"] == _digest(tensors, note) else None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _digest(tensors: Mapping[str, Tensor], note: Any) -> str:
    # Tensors as bytes: NumPy lacks some of torch's types.
    digests = {
        name: [
            str(t.dtype),
            list(t.shape),
            sha256_array(t.contiguous().view(-1).view(torch.uint8).numpy()),
        ]
        for name, t in tensors.items()
    }
    return sha256_json([note, digests])
