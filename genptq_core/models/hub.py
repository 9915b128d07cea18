"""Models from `save_pretrained` folders and from the model hub, whatever their family."""

from __future__ import annotations

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

from ..errors import GenPTQError, ModelError
from . import SpeechModel
from .adapter import base_of, merged
from .checkpoint import load_whole, outline
from .folders import (
    check_folder,
    check_sizes,
    check_stored,
    check_unquantized,
    stored_tensors,
    whole_reason,
)
from .nearest import nearest
from .weights import parameter_count

_HUB_REMEDY = "Give a local folder written by save_pretrained, or a model that is bundled."


def load(source: str, name: str) -> SpeechModel:
    """Load a model from a folder, or by its hub name.

    Args:
        source: a folder written by `save_pretrained`, or a hub name.
        name: the name to give the model.

    Raises:
        ModelError: it cannot be loaded, with the reason.
    """
    base = base_of(source)
    if base is not None:
        return _adapted(source, name, base)
    with _explained(source) as offline:
        config = _configuration(source, offline)
        family = family_of(config.model_type)
        folder = _files_of(source, offline)
        if folder == Path(source):
            _check_stored(folder, config)
        settings = family.settings(source, folder, offline)
        module = load_whole(checkpoint_of(config.model_type), source, offline, family.computed)
        loaded: SpeechModel = family.MODEL(name, module.eval(), *settings)
        if folder != Path(source):  # the hub's files are here only now
            check_folder(folder)
            _check_stored(folder, config)
    return loaded


def expected_parameters(source: str) -> int:
    """How many parameters a model has, tied ones counted once, from its settings alone.

    Args:
        source: a folder written by `save_pretrained`, or a hub name.

    Raises:
        ModelError: it has no readable settings, or is of no supported family.
    """
    source = base_of(source) or source
    with _explained(source) as offline:
        return _described(_configuration(source, offline))


def _adapted(source: str, name: str, base: str) -> SpeechModel:
    """A model that an adapter's folder names, with the adapter merged into it."""
    with _explained(base) as offline:
        config = _configuration(base, offline)
        family = family_of(config.model_type)
        settings = family.settings(base, _files_of(base, offline), offline)
        module = load_whole(checkpoint_of(config.model_type), base, offline, family.computed)
    adapted: SpeechModel = family.MODEL(name, merged(module, Path(source)).eval(), *settings)
    return adapted


@contextmanager
def _explained(source: str) -> Iterator[bool]:
    """Turn library errors on a source into one sentence; yields whether to stay off the hub."""
    local = Path(source).is_dir()
    if local:
        check_unquantized(_checked_config(Path(source)), source)
    try:
        yield local or not _hub_answers()
    except GenPTQError:
        raise
    except Exception as error:  # the libraries raise whatever they meet, some of it bare
        reason = whole_reason(error)
        if not local and isinstance(error, OSError):
            raise ModelError(
                f"{source} cannot be fetched from the model hub: it is offline, or has no such "
                f"model ({reason}).",
                _HUB_REMEDY,
            ) from error
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
    family = family_of(_checked_config(folder)["model_type"])
    try:
        model: SpeechModel = family.assembled(folder, name, parameters)
    except GenPTQError:
        raise
    except Exception as error:  # the libraries raise whatever they meet, some of it bare
        raise ModelError(f"{folder} has unreadable settings ({whole_reason(error)}).") from error
    return model


def _checked_config(folder: Path) -> dict[str, Any]:
    """A folder's `config.json`, which must be of a supported family."""
    config = check_folder(folder)
    _check_family(str(folder), config["model_type"])
    return config


def _check_family(where: str, model_type: str) -> None:
    known = [name for family in _families() for name in family.CHECKPOINTS]
    if model_type not in known:
        raise ModelError(
            f"{where} holds a {model_type!r} model; supported are {', '.join(known)}.",
            f"{nearest(model_type)} CONTRIBUTING.md says how another family is added.",
        )


def _configuration(source: str, offline: bool) -> Any:
    """Settings of a supported family, of bounded sizes, not quantized."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(source, local_files_only=offline, trust_remote_code=False)
    _check_family(source, str(config.model_type))
    said = config.to_dict()
    check_sizes(said, f"config.json of {source}")
    check_unquantized(said, source)
    return config


def _files_of(source: str, offline: bool) -> Path:
    """The folder that holds a source's files: itself, or where the hub's client keeps them."""
    from transformers.utils.hub import cached_file

    if Path(source).is_dir():
        return Path(source)
    return Path(str(cached_file(source, "config.json", local_files_only=offline))).parent


def _described(config: Any) -> int:
    """How many parameters a configuration describes."""
    options: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": False}
    kind = checkpoint_of(config.model_type)
    return parameter_count(outline(lambda: kind.from_config(config, **options)))


def _check_stored(folder: Path, config: Any) -> None:
    check_stored(stored_tensors(folder), _described(config), str(folder))


def family_of(model_type: str) -> ModuleType:
    """The module of a supported family, by the `model_type` of its configuration."""
    return next(family for family in _families() if model_type in family.CHECKPOINTS)


def checkpoint_of(model_type: str) -> Any:
    """The class of `transformers` that reads the weights of a supported model type."""
    return family_of(model_type).CHECKPOINTS[model_type]


def _families() -> tuple[ModuleType, ...]:
    from . import ctc, encoder_decoder, transducer, whisper

    return whisper, ctc, transducer, encoder_decoder


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
