"""The profile: a model's sensitivities, cached once, from which any budget is solved.

A profile is a folder of `profile.json` (what was computed from what) and `tensors.safetensors`
(projections and Hessian sketches). It reads without torch, and carries digests of the model, the
calibration speech and its own tensors, so nothing is ever matched by path.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from .errors import PROGRAM, ProfileError
from .options import RATES, UNQUANTIZED, USUAL_GROUP, Option, coded_options, grid_options
from .storage.digests import sha256_file, sha256_json
from .storage.files import atomic
from .storage.json_files import read_json, write_json
from .storage.locations import bundled_profiles
from .units import Unit

SCHEMA = "genptq-profile"
VERSION = 2
JSON_NAME = "profile.json"
TENSORS_NAME = "tensors.safetensors"
EMBEDDED = "whisper-tiny.en"
"""The profile that is meant where none is named."""

ANCHORED = 12
"""Calibration utterances on which anchors are measured; of a small set, no more than a quarter."""

_REMEDY = f"Compute the profile again with: {PROGRAM} profile."


@dataclass(frozen=True)
class Settings:
    """What a profile was computed with.

    Attributes:
        options: ways to store a unit, 16 bit (left as it is) not among them.
        draws: label draws, and so backward passes, an utterance.
        seed: seed of the draws.
        rank: directions kept in each Hessian sketch.
        quantizer: how weights are rounded; another recipe makes another profile.
    """

    options: tuple[Option, ...] = (
        *grid_options((2, 3, 4, 5, 6, 8), (USUAL_GROUP,)),
        *coded_options(RATES),
    )
    draws: int = 4
    seed: int = 0
    rank: int = 192
    quantizer: str = "gptq; grids damped 0.2, clipped by search; codes damped 0.1, filled"


@dataclass(frozen=True)
class Anchor:
    """A configuration whose loss was measured on calibration speech.

    Attributes:
        options: option of each unit, in the profile's order.
        loss: mean Kullback-Leibler divergence to full precision, nats a token.
    """

    options: tuple[Option, ...]
    loss: float


@dataclass(frozen=True)
class Source:
    """What the profile is of: the model, and the calibration speech.

    Attributes:
        model: the model's name.
        family: its family, such as "whisper".
        model_digest: SHA-256 over its weights.
        parameters: its parameters, tied ones once.
        derived: those of them that the architecture computes anew, which are not stored.
        calibration: the calibration set's name.
        calibration_digest: SHA-256 over its recordings.
        utterances: recordings in it.
        tokens: tokens the model wrote for it.
        listened: recordings that inputs were summed over, those of the calibration set among them.
        listening_digest: SHA-256 over the recordings beyond the calibration set; "" without.
    """

    model: str
    family: str
    model_digest: str
    parameters: int
    derived: int
    calibration: str
    calibration_digest: str
    utterances: int
    tokens: int
    listened: int = 0
    listening_digest: str = ""


@dataclass(frozen=True)
class Profile:
    """Everything the solver needs, and what it takes to quantize again to the same bits.

    Attributes:
        source: model and calibration speech.
        settings: how it was computed.
        units: the quantizable units, in the network's order.
        projections: inner products of loss gradients with quantization errors, shape
            (utterances, draws, units, options), float32, in nats; see `profiling.compute`.
        lengths: tokens of each utterance, shape (utterances,).
        anchors: measured losses that check and correct the prediction.
        sketches: Hessian sketches by input name: arrays "factor", "scale", "diagonal".
        importance: what the loss minds each row of each weight, (rows,) by parameter name.
        seconds: time the computation took.
        digest: SHA-256 over the profile's content, the time it took left out.
    """

    source: Source
    settings: Settings
    units: tuple[Unit, ...]
    projections: np.ndarray
    lengths: np.ndarray
    anchors: tuple[Anchor, ...]
    sketches: dict[str, dict[str, np.ndarray]]
    importance: dict[str, np.ndarray]
    seconds: float
    digest: str

    @property
    def menu(self) -> tuple[Option, ...]:
        """Every option a unit may have: those computed, and 16 bit for leaving it as it is."""
        return (*self.settings.options, UNQUANTIZED)

    @property
    def anchored(self) -> int:
        """Utterances, from the first, on which the anchors were measured."""
        return anchored(self.source.utterances)


def anchored(utterances: int) -> int:
    """Utterances, of so many, on which anchors are measured."""
    return min(ANCHORED, max(2, utterances // 4), utterances)


def save(profile: Profile, folder: Path) -> Profile:
    """Write a profile; returns it with its digest set.

    Raises:
        GenPTQError: the folder cannot be written.
    """
    tensors = {"projections": profile.projections, "lengths": profile.lengths}
    for name, parts in profile.sketches.items():
        tensors |= {f"sketch/{name}/{part}": array for part, array in parts.items()}
    tensors |= {f"importance/{name}": array for name, array in profile.importance.items()}
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    with atomic(Path(folder) / TENSORS_NAME) as temporary:
        # One entry only: the library writes several in random order, and the digest would vary.
        save_file(tensors, temporary, metadata={"schema": f"{SCHEMA}/{VERSION}"})
        tensors_digest = sha256_file(temporary)
    content: dict[str, Any] = {
        "source": dataclasses.asdict(profile.source),
        "settings": {
            **dataclasses.asdict(profile.settings),
            "options": [option.key for option in profile.settings.options],
        },
        "units": [dataclasses.asdict(unit) for unit in profile.units],
        "anchors": [
            {"options": [o.key for o in anchor.options], "loss": anchor.loss}
            for anchor in profile.anchors
        ],
        "tensors": tensors_digest,
    }
    digest = sha256_json(content)
    # How long it took is no part of the digest: the same profile computed twice is one profile.
    rest = {"seconds": round(profile.seconds, 1), "digest": digest}
    write_json(Path(folder) / JSON_NAME, SCHEMA, VERSION, {**content, **rest})
    return dataclasses.replace(profile, digest=digest)


def load_profile(folder: Path) -> Profile:
    """Read a profile and check its digests.

    Raises:
        ProfileError: it is missing, damaged, or of another schema version.
    """
    path = Path(folder) / JSON_NAME
    document = read_json(path, SCHEMA, VERSION, ProfileError, _REMEDY)
    apart = ("schema", "version", "digest", "seconds")
    content = {k: v for k, v in document.items() if k not in apart}
    if sha256_json(content) != document.get("digest"):
        raise ProfileError(f"{path} is damaged: its content does not match its digest.", _REMEDY)
    tensors = _load_tensors(Path(folder) / TENSORS_NAME, str(content.get("tensors")))
    if not content.get("units"):
        raise ProfileError(f"{path} names no units.", _REMEDY)
    try:
        settings = dict(content["settings"])
        settings["options"] = tuple(Option.parse(key) for key in settings["options"])
        anchors = tuple(
            Anchor(tuple(Option.parse(key) for key in a["options"]), float(a["loss"]))
            for a in content["anchors"]
        )
        sketches: dict[str, dict[str, np.ndarray]] = {}
        for name, array in tensors.items():
            if name.startswith("sketch/"):
                _, inputs, part = name.split("/")
                sketches.setdefault(inputs, {})[part] = array
        found = Profile(
            source=Source(**content["source"]),
            settings=Settings(**settings),
            units=tuple(Unit(**unit) for unit in content["units"]),
            projections=tensors["projections"],
            lengths=tensors["lengths"],
            anchors=anchors,
            sketches=sketches,
            importance={
                name.removeprefix("importance/"): array
                for name, array in tensors.items()
                if name.startswith("importance/")
            },
            seconds=float(document["seconds"]),
            digest=str(document["digest"]),
        )
        _check(found)
        return found
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ProfileError(f"{path} lacks or misnames a field ({error}).", _REMEDY) from error


def _check(found: Profile) -> None:
    """Make sure that a profile's parts fit each other, whoever wrote it.

    Raises:
        ValueError: they do not; the first fault is named.
    """
    source, settings = found.source, found.settings
    counts = [source.parameters, source.derived, source.utterances, source.tokens, settings.draws]
    counts += [n for u in found.units for n in (u.start, u.stop, u.columns, u.block)]
    if not all(type(n) is int and 0 <= n < 2**40 for n in counts):
        raise ValueError("a count is no whole number, or out of range")
    texts = [source.model, source.family, source.model_digest, source.calibration]
    texts += [t for u in found.units for t in (u.name, u.parameter, u.part, u.kind, u.inputs)]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name is no text")
    if len({unit.name for unit in found.units}) < len(found.units):
        raise ValueError("two units have one name")
    if not all(u.rows > 0 and u.columns > 0 and u.weights < 2**40 for u in found.units):
        raise ValueError("a unit has no weights")
    units = len(found.units)
    shape = (source.utterances, settings.draws, units, len(settings.options))
    if found.projections.shape != shape or found.projections.dtype != np.float32:
        raise ValueError(f"projections are {found.projections.shape}, not {shape}")
    if found.lengths.shape != shape[:1] or found.lengths.dtype != np.int64:
        raise ValueError(f"lengths are {found.lengths.shape}, not {shape[:1]}")
    if not (found.lengths >= 0).all():
        raise ValueError("an utterance has less than no tokens")
    if not all(len(a.options) == units and np.isfinite(a.loss) for a in found.anchors):
        raise ValueError("an anchor does not fit the units")
    if not 0 <= found.seconds < np.inf:
        raise ValueError("the time is no number")


def _load_tensors(path: Path, digest: str) -> dict[str, np.ndarray]:
    try:
        if sha256_file(path) != digest:  # before it fills the memory
            raise ProfileError(f"{path} is truncated or damaged.", _REMEDY)
        data = path.read_bytes()
    except OSError as error:
        raise ProfileError(f"{path} cannot be read ({error.strerror}).", _REMEDY) from error
    try:
        return load(data)
    except SafetensorError as error:
        raise ProfileError(f"{path} is not a safetensors file ({error}).", _REMEDY) from error


def bundled_profile(name: str = EMBEDDED) -> Profile:
    """A profile that ships, by name.

    Raises:
        ProfileError: there is none of that name.
    """
    return load_profile(bundled_profiles() / name)
