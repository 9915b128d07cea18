"""A float16 folder as `save_pretrained` writes it: without torch, one parameter after another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import ExportError
from . import safetensors_file
from .parameters import Parameter, array_of
from .safetensors_file import Entry
from .settings_files import json_object

NAME = "model.safetensors"
_CONFIG = "config.json"
_BATCH_NORM = re.compile(r"(.+\.(?:conv\.norm|conv_module\.batch_norm))\.weight")
"""Weights of batch norms, in the convolution modules of Parakeet and of Wav2Vec2-Conformer."""


def write(folder: Path, files: Mapping[str, bytes], parameters: Mapping[str, Parameter]) -> None:
    """Write a model's settings, and its parameters as float16.

    Args:
        folder: where to.
        files: the settings by name.
        parameters: every parameter that is stored, by name.

    Raises:
        ExportError: there is no configuration, or float16 cannot hold a parameter.
    """
    config = json_object(files, _CONFIG, "the export")
    if not config:
        raise ExportError(f"The export holds no {_CONFIG}.", "Export it again.")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    config["dtype"] = "float16"
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / _CONFIG).write_text(text + "\n", encoding="utf-8")

    statistics = _statistics(parameters)

    def arrays() -> Iterator[tuple[str, np.ndarray]]:
        yield from statistics.items()
        for name, parameter in parameters.items():
            yield name, array_of(parameter, np.float16)

    entries = {name: Entry("float16", one.shape) for name, one in parameters.items()}
    entries |= {name: Entry(one.dtype.name, one.shape) for name, one in statistics.items()}
    safetensors_file.write(folder / NAME, entries, arrays(), {"format": "pt"})


def _statistics(parameters: Mapping[str, Parameter]) -> dict[str, np.ndarray]:
    """What batch norms hold besides parameters: mean 0 and variance 1, as exports have them."""
    found: dict[str, np.ndarray] = {}
    for name, parameter in parameters.items():
        if match := _BATCH_NORM.fullmatch(name):
            found[f"{match[1]}.running_mean"] = np.zeros(parameter.shape, dtype=np.float16)
            found[f"{match[1]}.running_var"] = np.ones(parameter.shape, dtype=np.float16)
            found[f"{match[1]}.num_batches_tracked"] = np.zeros((), dtype=np.int64)
    return found
