"""Loading: a model by a bundled name, from a local folder or an export, or by a hub name."""

from __future__ import annotations

from pathlib import Path

from .errors import ModelError
from .models import SpeechModel
from .models.device import device_of
from .storage.locations import bundled_models

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


def expected_parameters(name: str) -> int:
    """Parameters that a model will have, told by its settings before anything is loaded.

    Returns:
        Their number; 0 where loading alone tells it: of an export, of Whisper's bundled weights.

    Raises:
        ModelError: nothing of that name can be loaded.
    """
    from .formats import export_file
    from .models import bundled, hub

    if name == bundled.NAME or (name and (Path(name) / export_file.NAME).is_file()):
        return 0
    return hub.expected_parameters(_source(name))


def _loaded(name: str) -> SpeechModel:
    from transformers.utils import logging

    from .formats import export_file
    from .formats.reading import load_export
    from .models import bundled, hub
    from .models.whisper import Whisper

    # Its advice on generation settings is for programmers, and progress goes through our reports.
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    if name == bundled.NAME:
        return Whisper(name, *bundled.load())
    if name and (Path(name) / export_file.NAME).is_file():
        return load_export(Path(name))
    return hub.load(_source(name), name)


def _source(name: str) -> str:
    """The folder or hub name that a name stands for."""
    if name in BUNDLED:
        return str(bundled_models() / name)
    path = Path(name)
    is_folder = bool(name) and path.is_dir()
    if not is_folder and (path.exists() or name.count("/") != 1 or name.startswith(tuple("./~"))):
        raise ModelError(
            f"{name} is neither bundled ({', '.join(BUNDLED)}), nor a folder, nor a hub name like "
            "openai/whisper-small.",
            "Check the spelling.",
        )
    return name
