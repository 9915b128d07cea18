"""What a kind of speech loses next to what is predicted: a scale, from a few maps measured on it.

Predicted loss is of the calibration speech; other speech has a sensitivity of its own. On a dozen
recordings the divergence of a few maps is measured (`adapting`), which needs no text and decodes
nothing. Kept are the maps and what they lost, so that the scale follows the predictor of the day.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field, PlainValidator, Strict, with_config
from pydantic.dataclasses import dataclass as checked

from ..allocation.predicted_loss import quadratic_loss
from ..errors import ProfileError
from ..options import Option
from ..profile import Profile
from ..storage.json_files import read_json, validated, write_json
from ..storage.locations import adapted_folder

SCHEMA = "genptq-adapted"
VERSION = 1
FOLDER = "adapted"
"""Folder of these files in the profile's folder."""

_REMEDY = "Delete it, and adapt again."
_SLOPE = 0.15  # how far the logarithm of the scale is expected to turn with that of the loss
_NOISE = 0.25  # of a scale measured on a dozen recordings, natural logarithm
_BETWEEN = 0.25  # how far the forms' scales are expected to differ, natural logarithm
_STEEPEST = 0.5

_Count = Annotated[int, Strict(), Field(ge=0)]
_Loss = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
_Option = Annotated[Option, PlainValidator(Option.parse)]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class AdaptedMap:
    """A map and its loss on a kind of speech.

    Attributes:
        options: option of each unit, in the profile's order.
        loss: mean Kullback-Leibler divergence to full precision, nats per token.
    """

    options: tuple[_Option, ...]
    loss: _Loss


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Adapted:
    """What was measured of a kind of speech.

    Attributes:
        speech: name of the speech set.
        speech_digest: digest over its recordings and texts.
        profile_digest: digest of the profile whose maps were measured.
        recordings: digests of the recordings that were listened to.
        tokens: tokens that full precision wrote for them.
        maps: the maps.
    """

    speech: str
    speech_digest: str
    profile_digest: str
    recordings: tuple[str, ...]
    tokens: _Count
    maps: tuple[AdaptedMap, ...]


@dataclass(frozen=True)
class SpeechScale:
    """Loss on a kind of speech over predicted loss x: exp(level + slope * (log x - middle)).

    It is constant outside of the losses that were measured. What it gives rises with x, so it
    changes no choice.

    Attributes:
        level: natural logarithm of the scale in the middle.
        slope: how it turns, at most 1/2 either way.
        middle: mean logarithm of the predicted losses that were measured.
        least: the least of them, a logarithm.
        most: the largest of them.
    """

    level: float
    slope: float
    middle: float
    least: float
    most: float

    def __call__(self, predicted: np.ndarray | float) -> np.ndarray:
        """The loss on this speech that a predicted loss stands for."""
        loss = np.asarray(predicted, dtype=np.float64)
        x = np.clip(np.log(np.maximum(loss, np.finfo(np.float64).tiny)), self.least, self.most)
        return np.asarray(loss * np.exp(self.level + self.slope * (x - self.middle)))


def scale_of(profile: Profile, adapted: Adapted, form: str) -> SpeechScale | None:
    """The scale of the maps of one form on a kind of speech.

    Args:
        profile: the profile.
        adapted: what was measured of the speech.
        form: "coded", "grid" or "block"; see `form_of`.

    Returns:
        None if no map was measured.

    Raises:
        ProfileError: a map is not one of the profile's.
    """
    index = {option: i for i, option in enumerate(profile.menu)}
    try:
        choices = [
            [index[o] for _, o in zip(profile.units, m.options, strict=True)] for m in adapted.maps
        ]
    except (KeyError, ValueError) as error:
        raise ProfileError(
            f"What {adapted.speech} loses was measured with maps that do not fit the profile.",
            _REMEDY,
        ) from error
    if not choices:
        return None
    predicted = quadratic_loss(profile)(np.array(choices))
    measured = np.array([m.loss for m in adapted.maps])
    forms = np.array([form_of(profile, m.options) for m in adapted.maps])
    return fitted(predicted, measured, forms == form)


def fitted(predicted: np.ndarray, measured: np.ndarray, own: np.ndarray) -> SpeechScale | None:
    """The scale of some maps of a form, told by maps of other forms too.

    A few maps on a dozen recordings can ask for any scale. So the form's own level is pulled
    towards that of all maps, and its slope towards zero.

    Args:
        predicted: losses, shape (maps,).
        measured: losses on the speech, shape (maps,).
        own: which maps are of the form, shape (maps,), bool.

    Returns:
        None where no map has a loss.
    """
    usable = (predicted > 0) & (measured > 0) & np.isfinite(predicted) & np.isfinite(measured)
    if not usable.any():
        return None
    x = np.log(predicted[usable])
    y = np.log(measured[usable]) - x
    mine = own[usable]
    level = float(y.mean())
    if mine.any():
        level += float(y[mine].mean() - level) / (1 + (_NOISE / _BETWEEN) ** 2 / mine.sum())
        x, y = x[mine], y[mine]
    apart = x - x.mean()
    slope = float(apart @ y / (apart @ apart + (_NOISE / _SLOPE) ** 2))
    return SpeechScale(
        level=level,
        slope=min(max(slope, -_STEEPEST), _STEEPEST),
        middle=float(x.mean()),
        least=float(x.min()),
        most=float(x.max()),
    )


def form_of(profile: Profile, options: Sequence[Option]) -> str:
    """The form in which most of a map's rounded weights are; "half" where none is rounded."""
    weights: dict[str, int] = {}
    for unit, option in zip(profile.units, options, strict=True):
        if option.form != "half":
            weights[option.form] = weights.get(option.form, 0) + unit.weights
    return max(weights, key=lambda form: weights[form], default="half")


def scale_for(folder: Path, profile: Profile, speech_digest: str, form: str) -> SpeechScale | None:
    """The scale of one form on a speech set, where the profile was adapted to it; else None.

    Raises:
        ProfileError: a file of what was measured is damaged.
    """
    for adapted in load_adapted(folder, profile):
        if adapted.speech_digest == speech_digest:
            return scale_of(profile, adapted, form)
    return None


def load_adapted(folder: Path, profile: Profile) -> list[Adapted]:
    """What was measured of every kind of speech that a profile was adapted to, by name.

    Args:
        folder: the profile's folder.
        profile: the profile.

    Raises:
        ProfileError: a file is damaged or of another version.
    """
    found: dict[str, Adapted] = {}
    for place in reversed(_places(folder, profile)):
        for path in sorted(place.glob("*.json")) if place.is_dir() else ():
            adapted = _read(path)
            if adapted.profile_digest == profile.digest:
                found[adapted.speech_digest] = adapted
    return sorted(found.values(), key=lambda adapted: (adapted.speech, adapted.speech_digest))


def adapted_to(folder: Path, profile: Profile, name: str) -> Adapted:
    """What was measured of the speech set of a name, or of the start of its digest.

    Raises:
        ProfileError: the profile was not adapted to it, or to two of that name.
    """
    known = load_adapted(folder, profile)
    matching = [a for a in known if name in (a.speech, a.speech_digest)]
    if len(matching) == 1:
        return matching[0]
    listed = ", ".join(a.speech if not matching else a.speech_digest for a in matching or known)
    raise ProfileError(
        f"{profile.source.model} was adapted to {'several sets' if matching else 'no speech'} "
        f"named {name!r}.",
        f"There are: {listed}." if listed else "Adapt it first: genptq adapt --speech SPEECH.",
    )


def save_adapted(folder: Path, profile: Profile, adapted: Adapted) -> Path:
    """Write what was measured, into the profile's folder, or to the cache where that is read-only.

    Returns:
        The file.

    Raises:
        GenPTQError: it cannot be written.
    """
    local, cached = _places(folder, profile)
    place = local if os.access(folder, os.W_OK) else cached
    path = place / f"{adapted.speech_digest[:32]}.json"
    place.mkdir(parents=True, exist_ok=True)
    maps = [{"options": [o.key for o in m.options], "loss": m.loss} for m in adapted.maps]
    content = {
        "speech": adapted.speech,
        "speech_digest": adapted.speech_digest,
        "profile_digest": adapted.profile_digest,
        "recordings": list(adapted.recordings),
        "tokens": adapted.tokens,
        "maps": maps,
    }
    write_json(path, SCHEMA, VERSION, content)
    return path


def _read(path: Path) -> Adapted:
    document = read_json(path, SCHEMA, VERSION, ProfileError, _REMEDY)
    return validated(Adapted, document, path, ProfileError, _REMEDY)


def _places(folder: Path, profile: Profile) -> tuple[Path, Path]:
    """The folders of these files: in the profile's folder and in the cache."""
    return Path(folder) / FOLDER, adapted_folder(profile.digest)
