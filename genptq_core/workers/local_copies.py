"""A worker's own copies of models, profiles and recordings, checked to be the right ones."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ..errors import ModelError, ProfileError, SpeechError
from ..loading import BUNDLED, load_model
from ..models import SpeechModel
from ..models.asking import with_language
from ..models.decoding import DECODINGS, with_decoding
from ..profile import Profile, load_profile
from ..speech.utterances import Utterance
from ..storage.digests import sha256_file

MODEL_LOCK = threading.Lock()
"""Held while a worker's only model is in use: its weights are replaced in place."""


def name_with_absolute_path(model: SpeechModel) -> str:
    """A model's name; an absolute path if it is a path."""
    is_path = model.name not in BUNDLED and Path(model.name).exists()
    return str(Path(model.name).resolve()) if is_path else model.name


def with_absolute_paths(recordings: Sequence[Utterance]) -> tuple[Utterance, ...]:
    """Recordings with absolute paths."""
    return tuple(dataclasses.replace(r, audio=Path(r.audio).resolve()) for r in recordings)


def check_recordings(recordings: Sequence[Utterance]) -> None:
    """Make sure that a worker has the recordings that it is to use.

    Raises:
        SpeechError: a recording is missing, or has other content.
    """
    remedy = "All machines must see the recordings under the same path."
    for recording in recordings:
        try:
            same = sha256_file(recording.audio) == recording.digest
        except OSError as error:
            raise SpeechError(
                f"A worker cannot read {recording.audio} ({error.strerror}).", remedy
            ) from error
        if not same:
            raise SpeechError(f"{recording.audio} is another recording on a worker.", remedy)


def identity_of(model: SpeechModel) -> str:
    """What tells a model from others: its weights, and all else that turns audio into text."""
    return f"{model.digest}/{model.text_digest}"


@lru_cache(maxsize=1)
def local_model(
    name: str, identity: str, device: str, asked: tuple[str, str] = ("", "")
) -> SpeechModel:
    """A model, loaded once, asked for a language and a task.

    Raises:
        ModelError: it cannot be loaded, has other weights, or there is no such device.
    """
    model = with_language(load_model(name, device), *asked)
    if identity_of(model) == identity:
        return model
    for decoding in DECODINGS.values():
        # What cannot decode so is another model than the one that does.
        with contextlib.suppress(ModelError):
            other = with_decoding(model, decoding)
            if identity_of(other) == identity:
                return other
    raise ModelError(
        f"{name} has other weights, or another tokenizer or other settings, on a worker.",
        "Give all machines the same model.",
    )


@lru_cache(maxsize=1)
def local_profile(folder: str, digest: str) -> Profile:
    """A profile, loaded once.

    Raises:
        ProfileError: it cannot be loaded, or is not the one with that digest.
    """
    profile = load_profile(Path(folder))
    if profile.digest != digest:
        raise ProfileError(
            f"{folder} is another profile on a worker.", "Give all machines the same profile."
        )
    return profile
