"""Models behind one protocol; `load_model` takes a bundled name, a local folder or a hub name."""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelError
from .base import SpeechModel, Transcript, parameter_count, replaced
from .device import DEVICES, device_of, keyed_by
from .hub import assembled

__all__ = [
    "BUNDLED",
    "DEVICES",
    "SpeechModel",
    "Transcript",
    "assembled",
    "device_of",
    "keyed_by",
    "load_model",
    "parameter_count",
    "promised",
    "replaced",
]

_FOLDER = Path(__file__).resolve().parent.parent.parent / "data" / "models"

BUNDLED = ("whisper-tiny.en", "conformer-an4")
"""Names of the models that need no fetching."""


def load_model(name: str, device: str = "cpu") -> SpeechModel:
    """Load a model: a bundled one by its name, a `save_pretrained` folder, an export, a hub name.

    Args:
        name: of the model.
        device: where it shall run, one of `DEVICES`.

    Raises:
        ModelError: nothing of that name can be loaded, with the reason, or the device is not there.
    """
    where = device_of(device)
    found = _loaded(name)
    if where.type != "cpu":  # it is loaded there, and one in another runtime stays there
        found.module.to(where)
    return found


def promised(name: str) -> int:
    """Parameters that a model will have, told by its settings before anything is loaded.

    Returns:
        Their number; 0 where loading alone tells it: of an export, of Whisper's bundled weights.

    Raises:
        ModelError: nothing of that name can be loaded.
    """
    from .. import manifest
    from . import bundled, hub

    if name == bundled.NAME or (name and (Path(name) / manifest.NAME).is_file()):
        return 0
    return hub.promised(_source(name))


def _loaded(name: str) -> SpeechModel:
    from transformers.utils import logging

    from .. import export, manifest
    from . import bundled, hub
    from .whisper import Whisper

    # Its advice on generation settings is for programmers, and progress goes through our reports.
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    if name == bundled.NAME:
        return Whisper(name, *bundled.load())
    if name and (Path(name) / manifest.NAME).is_file():
        return export.load(Path(name))
    return hub.load(_source(name), name)


def _source(name: str) -> str:
    """The folder or hub name that a name stands for."""
    if name in BUNDLED:
        return str(_FOLDER / name)
    path = Path(name)
    is_folder = bool(name) and path.is_dir()
    if not is_folder and (path.exists() or name.count("/") != 1 or name.startswith(tuple("./~"))):
        raise ModelError(
            f"{name} is neither bundled ({', '.join(BUNDLED)}), nor a folder, nor a hub name like "
            "openai/whisper-small.",
            "Check the spelling.",
        )
    return name
