"""Loading a model: bundled, from a local folder or an export, or from the model hub."""

from __future__ import annotations

from pathlib import Path

from .errors import ModelError
from .models import SpeechModel
from .models.asking import with_language
from .models.lean_imports import import_transformers
from .models.other_programs import described
from .profile import Profile
from .storage.locations import bundled_models

BUNDLED = ("whisper-tiny.en", "whisper-base", "conformer-an4")
"""Names of the models that come with the program, or in packages of their own."""


def load_model(name: str, device: str = "cpu") -> SpeechModel:
    """Load a model: a bundled one by its name, a `save_pretrained` folder, an export, a hub name.

    Args:
        name: of the model.
        device: where to run it, one of `DEVICES`.

    Raises:
        ModelError: no model of that name can be loaded (with the reason), or there is no such
            device.
    """
    import_transformers()
    from .models.device import device_of

    place = device_of(device)
    model = _loaded(name)
    if place.type != "cpu":  # models are loaded on the CPU; exports to other runtimes stay there
        model.module.to(place)
    return model


def load_model_of(
    profile: Profile,
    name: str | None = None,
    device: str = "cpu",
    *,
    asked: tuple[str, str] = ("", ""),
) -> SpeechModel:
    """A profile's model, asked for what it was asked for when the profile was computed.

    Args:
        profile: the profile.
        name: of the model, where it is not at its recorded name.
        device: where to run it, one of `DEVICES`.
        asked: another language and task, each "" for the profile's.

    Raises:
        ModelError: no model of that name can be loaded, or it does not know the language or task.
    """
    source = profile.source
    language, task = asked[0] or source.language, asked[1] or source.task
    return with_language(load_model(name or source.model, device), language, task)


def expected_parameters(name: str) -> int:
    """How many parameters a model will have, from its settings, before it is loaded.

    Returns:
        Their number; 0 if only loading tells: for exports and for embedded Whispers.

    Raises:
        ModelError: no model of that name can be loaded.
    """
    import_transformers()
    from .formats import export_file
    from .models import bundled, hub

    if name in bundled.EMBEDDED or (name and (Path(name) / export_file.NAME).is_file()):
        return 0
    return hub.expected_parameters(_source(name))


def _loaded(name: str) -> SpeechModel:
    from transformers.utils import logging

    from .formats import export_file
    from .formats.reading import load_export
    from .models import bundled, hub
    from .models.whisper import Whisper

    # Its advice on generation settings is for programmers, and we report progress ourselves.
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    if name in bundled.EMBEDDED:
        module, features, tokenizer = bundled.load(bundled.EMBEDDED[name])
        return Whisper(name, module, features, tokenizer)
    if name and (Path(name) / export_file.NAME).is_file():
        return load_export(Path(name))
    return hub.load(_source(name), name)


def _source(name: str) -> str:
    """The folder or hub name that a name stands for."""
    if name in BUNDLED:
        return str(bundled_models() / name)
    path = Path(name)
    other = described(path) if name and path.exists() else None
    if other:
        raise ModelError(f"{name} is {other[0]}, not a model's folder.", other[1])
    is_folder = bool(name) and path.is_dir()
    if not is_folder and (path.exists() or name.count("/") != 1 or name.startswith(tuple("./~"))):
        raise ModelError(
            f"{name} is neither bundled ({', '.join(BUNDLED)}), nor a folder, nor a hub name like "
            "openai/whisper-small.",
            "Check the spelling.",
        )
    return name
