"""Loaders that keep what they read, keyed on content: digests, or files' times and sizes.

`st.cache_resource` holds the objects themselves; nothing here is pickled or hashed by sampling.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.front import Front, predicted_front
from genptq_core.allocation.problem import Problem, problem
from genptq_core.allocation.wer_curve import WerCurve
from genptq_core.errors import ProfileError, SpeechError
from genptq_core.measurement.predictions import with_predictions
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import wer_curve
from genptq_core.measurement.store import load_measured
from genptq_core.profile import (
    EMBEDDED,
    JSON_NAME,
    TENSORS_NAME,
    Profile,
    load_profile,
)
from genptq_core.speech.sources import HUB, load_speech
from genptq_core.speech.utterances import SpeechSet
from genptq_core.storage.locations import bundled_profiles, bundled_speech, measured_file

from .knobs import SizeRange
from .marks import OneWidth
from .scene import one_width as one_width_of
from .scene import recommended

DEMO = bundled_speech() / "demo" / "manifest.jsonl"
SPELLED = bundled_speech() / "spelled" / "manifest.jsonl"

Stamp = tuple[tuple[str, int, int], ...]


def stamp(*paths: Path) -> Stamp:
    """Names, times and sizes of the files that exist: changes whenever their content may have."""
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        if status.st_size:  # readers of a WAL store leave empty files, which say nothing
            found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)


def folder() -> Path:
    """Where profiles are: `$GENPTQ_PROFILES`, else beside those that ship."""
    return Path(os.environ.get("GENPTQ_PROFILES") or bundled_profiles())


def models() -> dict[str, Path]:
    """Folders of profiles, by name; the embedded model's first."""
    try:
        entries = sorted(folder().iterdir(), key=lambda e: (e.name != EMBEDDED, e.name))
    except OSError:
        return {}
    return {entry.name: entry for entry in entries if (entry / JSON_NAME).is_file()}


def profile(folder: Path) -> Profile:
    """A profile, checked.

    Raises:
        ProfileError: it is missing or damaged.
    """
    return _profile(str(folder), stamp(folder / JSON_NAME, folder / TENSORS_NAME))


@st.cache_resource(max_entries=4, show_spinner="Reading the profile\u2026")
def _profile(folder: str, version: Stamp) -> Profile:
    found = load_profile(Path(folder))
    if not found.units:
        raise ProfileError(f"{folder} is a profile of no layers.", "Compute it again.")
    return found


def task(of: Profile, limits: Constraints, target: str) -> Problem:
    """A profile's allocation problem for a target.

    Raises:
        ConstraintError: the constraints are contradictory, or match nothing.
    """
    return _task(of, of.digest, repr(limits), target, limits)


@st.cache_resource(max_entries=8, show_spinner=False)
def _task(_profile: Profile, digest: str, key: str, target: str, _limits: Constraints) -> Problem:
    return problem(_profile, _limits, target=target)


def front(of: Profile, limits: Constraints, target: str, of_task: Problem) -> Front:
    """A problem's predicted front."""
    return _front(of_task, of.digest, repr(limits), target)


@st.cache_resource(max_entries=8, show_spinner=False)
def _front(_task: Problem, digest: str, key: str, target: str) -> Front:
    return predicted_front(_task)


def one_width(of: Profile) -> tuple[OneWidth, ...]:
    """What runtimes that store all layers of a profile's model alike would get."""
    return _one_width(of, of.digest)


@st.cache_resource(max_entries=4, show_spinner=False)
def _one_width(_profile: Profile, digest: str) -> tuple[OneWidth, ...]:
    return one_width_of(_profile)


def measured(folder: Path, of: Profile, target: str) -> tuple[tuple[Measured, ...], Stamp]:
    """What was measured for a profile, and the stamp of the files that hold it.

    Sizes are those in the target, where it can hold a map.

    Raises:
        StoreError: a store is damaged.
    """
    digest = of.digest
    cached = measured_file(digest)
    version = stamp(
        folder / "measured.json",
        folder / "measured.sqlite",
        folder / "measured.sqlite-wal",
        cached,
        cached.with_name(f"{cached.name}-wal"),
    )
    return _measured(of, str(folder), digest, version, target), version


@st.cache_resource(max_entries=8, show_spinner=False)
def _measured(
    _profile: Profile, folder: str, digest: str, version: Stamp, target: str
) -> tuple[Measured, ...]:
    return tuple(with_predictions(_profile, load_measured(Path(folder), digest), target))


def curve(
    records: tuple[Measured, ...], digest: str, version: Stamp, speech: str
) -> WerCurve | None:
    """The map from predicted loss to WER on one speech set."""
    return _curve(records, digest, version, speech)


@st.cache_resource(max_entries=32, show_spinner=False)
def _curve(
    _records: tuple[Measured, ...], digest: str, version: Stamp, speech: str
) -> WerCurve | None:
    return wer_curve(_records, speech)


def start(
    of: Profile, free: Problem, free_front: Front, to_wer: WerCurve | None, sizes: SizeRange
) -> tuple[float, str]:
    """The recommended size without constraints, MB, and its reason."""
    return _start(free, free_front, to_wer, sizes, of.digest, sizes.values, repr(to_wer))


@st.cache_resource(max_entries=32, show_spinner=False)
def _start(
    _free: Problem,
    _front: Front,
    _curve: WerCurve | None,
    _sizes: SizeRange,
    digest: str,
    values: tuple[float, ...],
    key: str,
) -> tuple[float, str]:
    return recommended(_free, _front, _curve, _sizes)


def manifest(path: Path) -> SpeechSet:
    """A speech set; its recordings are hashed once a version of the manifest.

    Raises:
        SpeechError: it is missing or malformed.
    """
    return _manifest(str(path), stamp(path), None)


@st.cache_resource(max_entries=8, show_spinner=False)
def _manifest(path: str, version: Stamp, limit: int | None) -> SpeechSet:
    return load_speech(path, limit)


def demo(of: Profile) -> Path:
    """The manifest that ships for models of a profile's family."""
    return DEMO if of.source.family == "whisper" else SPELLED


def speech_at_hand(others: Sequence[tuple[str, int | None]] = ()) -> dict[str, SpeechSet]:
    """Speech whose recordings and texts are here, by digest: the demo first.

    Args:
        others: manifests, and how many of their utterances; those that cannot be read are left out.
    """
    found: dict[str, SpeechSet] = {}
    for path, limit in ((str(DEMO), None), (str(SPELLED), None), *others):
        if path.startswith(HUB):
            continue
        try:
            speech = _manifest(path, stamp(Path(path)), limit)
        except SpeechError:
            continue
        found.setdefault(speech.digest, speech)
    return found
