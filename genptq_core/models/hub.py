"""Models from `save_pretrained` folders and from the model hub, whatever their family."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor

from ..errors import ModelError
from . import SpeechModel
from .weights import parameter_count

_FOLDER_REMEDY = "Point to a folder written by save_pretrained."
_HUB_REMEDY = "Give a local folder written by save_pretrained, or a model that is bundled."


def load(source: str, name: str) -> SpeechModel:
    """Load a model from a folder, or by its hub name.

    Args:
        source: a folder written by `save_pretrained`, or a hub name.
        name: the name to give the model.

    Raises:
        ModelError: it cannot be loaded, with the reason.
    """
    with _explained(source) as offline:
        family = _family(_configuration(source, offline).model_type)
        loaded: SpeechModel = family.load(source, name, offline)
    return loaded


def expected_parameters(source: str) -> int:
    """How many parameters a model has, tied ones counted once, from its settings alone.

    Args:
        source: a folder written by `save_pretrained`, or a hub name.

    Raises:
        ModelError: it has no readable settings, or is of no supported family.
    """
    with _explained(source) as offline:
        config = _configuration(source, offline)
        with torch.device("meta"):
            return parameter_count(_family(config.model_type).blank(config))


@contextmanager
def _explained(source: str) -> Iterator[bool]:
    """Turn library errors on a source into one sentence; yields whether to stay off the hub."""
    from safetensors import SafetensorError

    local = Path(source).is_dir()
    if local:
        _check_folder(Path(source))
    try:
        yield local or not _hub_answers()
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
    """A model with the settings that `SpeechModel.save_settings` wrote and these parameters.

    Args:
        folder: where the settings are.
        name: the name to give the model.
        parameters: float32, by name; those in `SpeechModel.derived` may be missing.

    Raises:
        ModelError: the settings cannot be read, or a parameter is missing or misshapen.
    """
    family = _family(_check_folder(folder))
    try:
        model: SpeechModel = family.assembled(folder, name, parameters)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} has unreadable settings ({error}).") from error
    return model


def _check_folder(path: Path) -> str:
    """The `model_type` of a folder, which must be of a supported family."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        model_type = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} holds no readable config.json with a model_type.", _FOLDER_REMEDY
        ) from error
    _check_family(str(path), model_type)
    return model_type


def _check_family(where: str, model_type: str) -> None:
    from .ctc import ARCHITECTURES

    known = ("whisper", *ARCHITECTURES)
    if model_type not in known:
        raise ModelError(
            f"{where} holds a {model_type!r} model; supported are {', '.join(known)}.",
            "README says how another family is added.",
        )


def _configuration(source: str, offline: bool) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(source, local_files_only=offline)
    _check_family(source, str(config.model_type))
    return config


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
