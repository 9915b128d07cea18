"""What a worker has at hand: models and profiles, the same as where the work comes from."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ..errors import ModelError, ProfileError, SpeechError
from ..loading import BUNDLED, load_model
from ..models import SpeechModel
from ..profile import Profile, load_profile
from ..speech.utterances import Utterance
from ..storage.digests import sha256_file

MODEL_LOCK = threading.Lock()
"""Held while a worker's one model is in use: its weights are exchanged in place."""


def name_with_absolute_path(model: SpeechModel) -> str:
    """A model's name, its path made absolute where it is one."""
    there = model.name not in BUNDLED and Path(model.name).exists()
    return str(Path(model.name).resolve()) if there else model.name


def with_absolute_paths(recordings: Sequence[Utterance]) -> tuple[Utterance, ...]:
    """Recordings with absolute paths."""
    return tuple(dataclasses.replace(r, audio=Path(r.audio).resolve()) for r in recordings)


def check_recordings(recordings: Sequence[Utterance]) -> None:
    """Make sure that a worker has the recordings it is told of.

    Raises:
        SpeechError: one is missing, or another.
    """
    remedy = "All machines must see the recordings under the same path."
    for one in recordings:
        try:
            same = sha256_file(one.audio) == one.digest
        except OSError as error:
            raise SpeechError(
                f"A worker cannot read {one.audio} ({error.strerror}).", remedy
            ) from error
        if not same:
            raise SpeechError(f"{one.audio} is another recording on a worker.", remedy)


@lru_cache(maxsize=1)
def local_model(name: str, digest: str, device: str) -> SpeechModel:
    """A model, loaded once.

    Raises:
        ModelError: it cannot be loaded, or has other weights, or the device is not there.
    """
    model = load_model(name, device)
    if model.digest != digest:
        raise ModelError(
            f"{name} has other weights on a worker.", "Give all machines the same model."
        )
    return model


@lru_cache(maxsize=1)
def local_profile(folder: str, digest: str) -> Profile:
    """A profile, loaded once.

    Raises:
        ProfileError: it cannot be loaded, or is another.
    """
    profile = load_profile(Path(folder))
    if profile.digest != digest:
        raise ProfileError(
            f"{folder} is another profile on a worker.", "Give all machines the same profile."
        )
    return profile
