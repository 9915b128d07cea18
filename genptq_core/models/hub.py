"""Models from `save_pretrained` folders and from the model hub, whatever their family."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import Tensor

from ..errors import ModelError
from .base import SpeechModel

_FOLDER_REMEDY = "Point to a folder written by save_pretrained."
_HUB_REMEDY = "Give a local folder written by save_pretrained, or a model that is bundled."


def load(source: str, name: str) -> SpeechModel:
    """Load a model from a folder, or by its hub name.

    Args:
        source: a folder written by `save_pretrained`, or a hub name.
        name: what the model shall be called.

    Raises:
        ModelError: it cannot be loaded, with the reason.
    """
    from safetensors import SafetensorError

    local = Path(source).is_dir()
    offline = local or not _hub_answers()
    if local:
        _check_folder(Path(source))
    try:
        return _load(source, name, offline)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        if not local:
            raise ModelError(
                f"{source} cannot be fetched from the model hub: it is offline, or has no such "
                "model.",
                _HUB_REMEDY,
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{source} cannot be loaded as a speech model ({reason}).") from error


def assembled(folder: Path, name: str, parameters: Mapping[str, Tensor]) -> SpeechModel:
    """A model of the settings that `SpeechModel.save_settings` wrote, with these parameters.

    Args:
        folder: where the settings are.
        name: what the model shall be called.
        parameters: float32, by name; those that the architecture computes anew may be missing.

    Raises:
        ModelError: the settings cannot be read, or a parameter is missing or misshapen.
    """
    family = _family(_check_folder(folder))
    try:
        found: SpeechModel = family.assembled(folder, name, parameters)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} has unreadable settings ({error}).") from error
    return found


def _check_folder(path: Path) -> str:
    """The `model_type` of a folder, which must be of a supported family."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        found = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} holds no readable config.json with a model_type.", _FOLDER_REMEDY
        ) from error
    _check_family(str(path), found)
    return found


def _check_family(where: str, model_type: str) -> None:
    from .ctc import ARCHITECTURES

    known = ("whisper", *ARCHITECTURES)
    if model_type not in known:
        raise ModelError(
            f"{where} holds a {model_type!r} model; supported are {', '.join(known)}.",
            "README says how another family is added.",
        )


def _load(source: str, name: str, offline: bool) -> SpeechModel:
    from transformers import AutoConfig

    model_type = str(AutoConfig.from_pretrained(source, local_files_only=offline).model_type)
    _check_family(source, model_type)
    loaded: SpeechModel = _family(model_type).load(source, name, offline)
    return loaded


def _family(model_type: str) -> ModuleType:
    from . import ctc, whisper

    return whisper if model_type == whisper.Whisper.family else ctc


def _hub_answers() -> bool:
    """Whether the hub's name resolves; its client would retry for half a minute to find out."""
    if getproxies():
        return True
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
