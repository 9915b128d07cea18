"""A profile's files, written and read.

`profile.json` holds what was computed from what, `tensors.safetensors` the projections and the
Hessian sketches.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from ..errors import PROGRAM, ProfileError
from ..storage.digests import sha256_file, sha256_json
from ..storage.files import atomic, flush
from ..storage.json_files import json_text, read_json, validated
from ..storage.locations import bundled_profiles
from ..units import Unit
from .schema import ProfileRecord
from .values import Anchor, Profile, Settings, Source

SCHEMA = "genptq-profile"
VERSION = 2
JSON_NAME = "profile.json"
TENSORS_NAME = "tensors.safetensors"
EMBEDDED = "whisper-tiny.en"
"""The profile that is meant where no name is given."""

_OVERHEAD = "overhead"  # the field of the source that no result depends on
_LATER = ("language", "task", "anchored")  # fields of the source that earlier versions lack
_REMEDY = f"Compute the profile again with: {PROGRAM} profile."


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
    folder = Path(folder)
    # Both are on the disk before either gets its name: a full one leaves the earlier profile.
    with atomic(folder / JSON_NAME) as written, atomic(folder / TENSORS_NAME) as temporary:
        # One entry only: the library writes several in random order, and the digest would vary.
        save_file(tensors, temporary, metadata={"schema": f"{SCHEMA}/{VERSION}"})
        content = _content(profile, sha256_file(temporary))
        digest = sha256_json(content)
        # The digest leaves the time out: the same profile computed twice is one profile. Nor do
        # results depend on how large headers and settings are.
        unsigned: dict[str, Any] = {"seconds": round(profile.seconds, 1), "digest": digest}
        if profile.source.overhead:
            said = dict(sorted(profile.source.overhead.items()))
            unsigned["source"] = {**content["source"], _OVERHEAD: said}
        text = json_text(SCHEMA, VERSION, {**content, **unsigned})
        written.write_text(text, encoding="utf-8")
        flush(written)
    return dataclasses.replace(profile, digest=digest)


def _content(profile: Profile, tensors_digest: str) -> dict[str, Any]:
    """The fields that a profile's digest is over."""
    source = dataclasses.asdict(profile.source)
    del source[_OVERHEAD]
    for name in _LATER:
        if not source[name]:
            del source[name]
    return {
        "source": source,
        "settings": {
            **dataclasses.asdict(profile.settings),
            "options": [option.key for option in profile.settings.options],
        },
        "units": [dataclasses.asdict(unit) for unit in profile.units],
        "anchors": [
            {"options": [option.key for option in anchor.options], "loss": anchor.loss}
            for anchor in profile.anchors
        ],
        "tensors": tensors_digest,
    }


def load_profile(folder: Path) -> Profile:
    """Read a profile and check its digests.

    Raises:
        ProfileError: it is missing, damaged, or of another schema version; the first field that is
            wrong is named.
    """
    folder = Path(folder)
    if folder.is_file():
        remedy = f"Give its folder: {folder.parent}." if folder.name == JSON_NAME else _REMEDY
        raise ProfileError(f"{folder} is a file, and a profile is a folder.", remedy)
    path = folder / JSON_NAME
    document = read_json(path, SCHEMA, VERSION, ProfileError, _REMEDY)
    unsigned = ("schema", "version", "digest", "seconds")
    content = {name: value for name, value in document.items() if name not in unsigned}
    if isinstance(content.get("source"), dict):
        content["source"] = {k: v for k, v in content["source"].items() if k != _OVERHEAD}
    if sha256_json(content) != document.get("digest"):
        raise ProfileError(f"{path} is damaged: its content does not match its digest.", _REMEDY)
    record = validated(ProfileRecord, document, path, ProfileError, _REMEDY)
    tensors_path = folder / TENSORS_NAME
    tensors = _load_tensors(tensors_path, record.tensors)
    try:
        return _assembled(record, tensors)
    except (KeyError, ValueError) as error:
        raise ProfileError(f"{tensors_path} does not fit {path} ({error}).", _REMEDY) from error


def bundled_profile(name: str = EMBEDDED) -> Profile:
    """A profile that ships, by name.

    Raises:
        ProfileError: there is none of that name.
    """
    return load_profile(bundled_profiles() / name)


def _assembled(record: ProfileRecord, tensors: dict[str, np.ndarray]) -> Profile:
    """The profile of checked fields and its tensors.

    Raises:
        KeyError, ValueError: a tensor is missing, or does not fit the fields.
    """
    sketches: dict[str, dict[str, np.ndarray]] = {}
    importance: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        if name.startswith("sketch/"):
            _, inputs, part = name.split("/")
            sketches.setdefault(inputs, {})[part] = array
        elif name.startswith("importance/"):
            importance[name.removeprefix("importance/")] = array
    projections, lengths = tensors["projections"], tensors["lengths"]
    if projections.shape != record.shape or projections.dtype != np.float32:
        raise ValueError(f"projections are {projections.shape}, not {record.shape}")
    if lengths.shape != record.shape[:1] or lengths.dtype != np.int64:
        raise ValueError(f"lengths are {lengths.shape}, not {record.shape[:1]}")
    if not (lengths >= 0).all():
        raise ValueError("an utterance has fewer than no tokens")
    for name, array in tensors.items():
        # Scores may be infinite: options too narrow for a layer overflow, and are left out.
        if name != "projections" and not np.isfinite(array).all():
            raise ValueError(f"{name} holds what is no number")
    return Profile(
        source=Source(**dict(record.source)),
        settings=Settings(**dict(record.settings)),
        units=tuple(Unit(**dict(unit)) for unit in record.units),
        projections=projections,
        lengths=lengths,
        anchors=tuple(Anchor(anchor.options, anchor.loss) for anchor in record.anchors),
        sketches=sketches,
        importance=importance,
        seconds=record.seconds,
        digest=record.digest,
    )


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
