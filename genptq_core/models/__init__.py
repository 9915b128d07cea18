"""Models behind one protocol; `load_model` takes a bundled name, a local folder or a hub name."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import Tensor

from ..errors import ModelError
from .base import SpeechModel, Transcript, parameter_count, replaced

__all__ = [
    "SpeechModel",
    "Transcript",
    "assembled",
    "load_model",
    "parameter_count",
    "replaced",
]


def load_model(name: str) -> SpeechModel:
    """Load a model: `whisper-tiny.en` (bundled), a `save_pretrained` folder, an export, a hub name.

    Raises:
        ModelError: nothing of that name can be loaded, with the reason.
    """
    from transformers.utils import logging

    from .. import export, manifest
    from . import bundled
    from .whisper import Whisper

    # Its advice on generation settings is for programmers, and progress goes through our reports.
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    if name == bundled.NAME:
        return Whisper(name, *bundled.load())
    path = Path(name)
    if name and (path / manifest.NAME).is_file():
        return export.load(path)
    if name and path.is_dir():
        _check_folder(path)
    elif path.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"{name} is neither {bundled.NAME}, nor a folder, nor a hub name like "
            "openai/whisper-small.",
            "Check the spelling.",
        )
    return Whisper(name, *_from_pretrained(name, path.is_dir()))


def assembled(folder: Path, name: str, parameters: Mapping[str, Tensor]) -> SpeechModel:
    """A model of the settings that `SpeechModel.save_settings` wrote, with these parameters.

    Args:
        folder: where the settings are.
        name: what the model shall be called.
        parameters: float32, by name; those that the architecture computes anew may be missing.

    Raises:
        ModelError: the settings cannot be read, or a parameter is missing or misshapen.
    """
    from . import whisper

    _check_folder(folder)
    try:
        return whisper.assembled(folder, name, parameters)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} has unreadable settings ({error}).") from error


def _check_folder(path: Path) -> None:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        family = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} holds no readable config.json with a model_type.",
            "Point to a folder written by save_pretrained.",
        ) from error
    if family != "whisper":
        raise ModelError(f"{path} holds a {family!r} model; only Whisper is supported.")


def _from_pretrained(name: str, local: bool) -> tuple[Any, Any, Any]:
    import torch
    from safetensors import SafetensorError
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    local = local or not _hub_answers()
    try:
        module = WhisperForConditionalGeneration.from_pretrained(
            name, local_files_only=local, dtype=torch.float32
        )
        processor = WhisperProcessor.from_pretrained(name, local_files_only=local)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if Path(name).is_dir():
            raise ModelError(f"{name} cannot be loaded as a Whisper model ({reason}).") from error
        raise ModelError(
            f"{name} cannot be fetched from the model hub: it is offline, or has no such model.",
            "Give a local folder written by save_pretrained, or whisper-tiny.en, which is bundled.",
        ) from error
    return module.eval(), processor.feature_extractor, processor.tokenizer


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
