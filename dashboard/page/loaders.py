"""Loaders that keep what they read, keyed on content: digests, or files' times and sizes.

`st.cache_resource` holds the objects themselves; nothing here is pickled or hashed by sampling.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.drag import (
    ANSWERED,
    DragTable,
    coarse_table,
    drag_table,
    is_large,
)
from genptq_core.allocation.front import Front, predicted_front
from genptq_core.allocation.predicted_loss import QuadraticLoss, quadratic_loss
from genptq_core.allocation.problem import Problem, problem
from genptq_core.allocation.wer_curve import WerCurve
from genptq_core.errors import ProfileError, SpeechError
from genptq_core.measurement.predictions import own_of, with_predictions
from genptq_core.measurement.speech_sets import MeasuredSet
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
from genptq_core.storage.locations import (
    bundled_profiles,
    bundled_speech,
    cache_folder,
    measured_file,
)

from .build import Constrained, Loaded
from .demands import bound_units, parse
from .knobs import Knobs, SizeRange, constraints, size_range
from .marks import OneWidth, one_width
from .measurements import Measurements, measurements_of
from .scene import Scene
from .start import Start, recommended
from .turns import Turns

DEMO = bundled_speech() / "demo" / "manifest.jsonl"
SPELLED = bundled_speech() / "spelled" / "manifest.jsonl"
LIBRISPEECH = bundled_speech() / "librispeech" / "manifest.jsonl"
CREDITS = {
    "librispeech/manifest": "LibriSpeech, Panayotov et al. 2015, "
    "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)"
}
"""Whose recordings they are, by the name of a speech set that ships."""

Stamp = tuple[tuple[str, int, int], ...]


def stamp(*paths: Path) -> Stamp:
    """Names, times and sizes of the files that exist: changes whenever their content may have."""
    stamps = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        if status.st_size:  # readers of a WAL store leave empty files, which say nothing
            stamps.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(stamps)


def folder() -> Path:
    """Where new profiles go: `$GENPTQ_PROFILES`, else with those that ship, in a checkout.

    An installed program keeps its own folder as it is; there they go to the cache folder.
    """
    named = os.environ.get("GENPTQ_PROFILES")
    if named:
        return Path(named)
    shipped = bundled_profiles()
    checkout = (shipped.parents[1] / "pyproject.toml").is_file() and os.access(shipped, os.W_OK)
    return shipped if checkout else cache_folder() / "profiles"


def models() -> dict[str, Path]:
    """Folders of profiles, by name; the embedded model's first. None where there is no folder.

    Raises:
        ProfileError: a folder of them is a file, or cannot be read.
    """
    entries: dict[str, Path] = {}
    for place in (folder(), *(() if os.environ.get("GENPTQ_PROFILES") else (bundled_profiles(),))):
        try:
            found = [entry for entry in place.iterdir() if (entry / JSON_NAME).is_file()]
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ProfileError(
                f"The folder of profiles, {place}, cannot be read: {error.strerror}.",
                "$GENPTQ_PROFILES must name a folder whose folders are profiles.",
            ) from error
        entries |= {entry.name: entry for entry in found}  # what ships keeps its name
    return dict(sorted(entries.items(), key=lambda item: (item[0] != EMBEDDED, item[0])))


def read_profile(folder: Path) -> Profile:
    """A profile, checked.

    Raises:
        ProfileError: it is missing or damaged.
    """
    return _read_profile(str(folder), stamp(folder / JSON_NAME, folder / TENSORS_NAME))


@st.cache_resource(max_entries=4, show_spinner="Reading the profile\u2026")
def _read_profile(folder: str, version: Stamp) -> Profile:
    profile = load_profile(Path(folder))
    if not profile.units:
        raise ProfileError(f"{folder} is a profile of no layers.", "Compute it again.")
    return profile


def _version(profile: Profile) -> str:
    """What sizes and maps of a profile depend on, as a key."""
    return f"{profile.digest} {sorted(profile.source.overhead.items())}"


def load(folder: Path, target: str) -> Loaded:
    """All that is known of a folder's profile in a format, whatever the other knobs say.

    Raises:
        ProfileError: the profile is missing or damaged.
        StoreError: a store of measurements is damaged.
    """
    profile = read_profile(folder)
    free = problem_of(profile, Constraints(), target)
    return Loaded(
        name=folder.name,
        folder=folder,
        profile=profile,
        target=target,
        sizes=_sizes(profile, profile.digest, target),
        measured=read_measured(folder, profile, target),
        free=free,
        free_front=_front(free, _version(profile), repr(Constraints()), target),
        one_width=_one_width(profile, profile.digest),
    )


def constrain(loaded: Loaded, knobs: Knobs) -> Constrained:
    """The problem that the knobs' demands leave.

    Raises:
        ConstraintError: they cannot be read, are contradictory, or match nothing.
    """
    profile, target = loaded.profile, loaded.target
    limits = constraints(knobs, loaded.free.menu)
    bound = bound_units(profile, parse(knobs.pins))
    under_limits = problem_of(profile, limits, target)
    front = _front(under_limits, _version(profile), repr(limits), target)
    return Constrained(limits, bound, under_limits, front)


def drag_of(scene: Scene) -> DragTable:
    """The maps that a drag looks up; fewer until all are found, where that takes a while."""
    coarse, full = _drags(scene)
    return full.result() if coarse is None or full.done() else coarse


def whole_drag_of(scene: Scene) -> DragTable:
    """The same with all maps, however long they take to find."""
    return _drags(scene)[1].result()


def is_coarse(scene: Scene, table: DragTable) -> bool:
    """Whether more maps are still to come than a table of the scene's has."""
    return table is _drags(scene)[0]


def _drags(scene: Scene) -> tuple[DragTable | None, Future[DragTable]]:
    """The table until all maps are found, where that takes long; and that of all."""
    key = repr(scene.limits)
    return _drag(scene.problem, scene.front, scene.profile.digest, key, scene.target)


_FINDING = ThreadPoolExecutor(max_workers=1)
TURNS = Turns()
"""Answers go before the table that is being found."""


@st.cache_resource(max_entries=8, show_spinner="Solving for every size\u2026")
def _drag(
    _problem: Problem, _front: Front, digest: str, key: str, target: str
) -> tuple[DragTable | None, Future[DragTable]]:
    # Demands are tried one after the other, so what they leave is answered more roughly.
    demanded = key != repr(Constraints())
    answered = ANSWERED // (3 if demanded else 1)
    full: Future[DragTable] = Future()
    if demanded and not is_large(_problem):  # takes half a second; the page's first takes longer
        full.set_result(drag_table(_problem, _front, answered))
        return None, full
    coarse = coarse_table(_problem, _front)
    return coarse, _FINDING.submit(drag_table, _problem, _front, answered, TURNS.wait)


def problem_of(profile: Profile, limits: Constraints, target: str) -> Problem:
    """A profile's allocation problem for a target.

    Raises:
        ConstraintError: the constraints are contradictory, or match nothing.
    """
    return _problem(profile, _version(profile), repr(limits), target, _limits=limits)


@st.cache_resource(max_entries=8, show_spinner=False)
def _problem(
    _profile: Profile, digest: str, key: str, target: str, _limits: Constraints
) -> Problem:
    return problem(_profile, _limits, _loss(_profile, _profile.digest), target)


@st.cache_resource(max_entries=4, show_spinner=False)
def _loss(_profile: Profile, digest: str) -> QuadraticLoss:
    return quadratic_loss(_profile)


@st.cache_resource(max_entries=8, show_spinner=False)
def _sizes(_profile: Profile, digest: str, target: str) -> SizeRange:
    return size_range(_profile, target)


@st.cache_resource(max_entries=8, show_spinner=False)
def _front(_problem: Problem, digest: str, key: str, target: str) -> Front:
    return predicted_front(_problem)


@st.cache_resource(max_entries=4, show_spinner=False)
def _one_width(_profile: Profile, digest: str) -> tuple[OneWidth, ...]:
    return one_width(_profile, _loss(_profile, digest))


def read_measured(folder: Path, profile: Profile, target: str) -> Measurements:
    """What was measured for a profile; sizes are those in the target, where it can hold a map.

    Raises:
        StoreError: a store is damaged.
    """
    cached = measured_file(profile.digest)
    version = stamp(
        folder / "measured.json",
        folder / "measured.sqlite",
        folder / "measured.sqlite-wal",
        cached,
        cached.with_name(f"{cached.name}-wal"),
    )
    return _read_measured(profile, str(folder), _version(profile), version, target)


@st.cache_resource(max_entries=8, show_spinner=False)
def _read_measured(
    _profile: Profile, folder: str, digest: str, version: Stamp, target: str
) -> Measurements:
    records = load_measured(Path(folder), _profile.digest)
    loss = _loss(_profile, _profile.digest)
    measured = with_predictions(_profile, records, target, loss)
    return measurements_of(measured, own_of(_profile, measured, target), (_profile, target))


def start_of(loaded: Loaded, speech: MeasuredSet | None) -> Start:
    """The size recommended without constraints, by the curve of a speech set where there is one."""
    curve = loaded.measured.curve(speech)
    return _start(loaded, curve, _version(loaded.profile), loaded.target, key=repr(curve))


@st.cache_resource(max_entries=32, show_spinner=False)
def _start(_loaded: Loaded, _curve: WerCurve | None, digest: str, target: str, key: str) -> Start:
    return recommended(_loaded.free, _loaded.free_front, _curve, _loaded.sizes)


def read_manifest(path: Path) -> SpeechSet:
    """A speech set; its recordings are hashed once per version of the manifest.

    Raises:
        SpeechError: it is missing or malformed.
    """
    return _read_manifest(str(path), stamp(path), None)


@st.cache_resource(max_entries=8, show_spinner=False)
def _read_manifest(path: str, version: Stamp, limit: int | None) -> SpeechSet:
    return load_speech(path, limit)


def demo(profile: Profile) -> Path:
    """The manifest that ships for models of a profile's family."""
    return DEMO if profile.source.family == "whisper" else SPELLED


@dataclass(frozen=True)
class Readable:
    """A speech set whose recordings and texts can be read here: itself, its manifest, and how many
    of the manifest's utterances it has, None for all."""

    speech: SpeechSet
    manifest: str
    utterances: int | None


def readable_speech(others: Sequence[tuple[str, int | None]] = ()) -> dict[str, Readable]:
    """Speech whose recordings and texts can be read here, by digest; the demo first.

    Args:
        others: manifests, and how many of their utterances; those that cannot be read are left out.
    """
    by_digest: dict[str, Readable] = {}
    for path, limit in (*((str(ships), None) for ships in (DEMO, LIBRISPEECH, SPELLED)), *others):
        if path.startswith(HUB):
            continue
        try:
            speech = _read_manifest(path, stamp(Path(path)), limit)
        except SpeechError:
            continue
        by_digest.setdefault(speech.digest, Readable(speech, path, limit))
    return by_digest
