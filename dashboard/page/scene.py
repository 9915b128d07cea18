"""What one drawing of the page shows: the profile, its front, what was measured, and the pick."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.front import Front
from genptq_core.allocation.problem import Problem, problem
from genptq_core.allocation.solving import Allocation, solve
from genptq_core.allocation.uniform_tools import UniformPoint, uniform_points
from genptq_core.allocation.wer_curve import WerCurve, solve_wer_increase
from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.errors import GenPTQError, InfeasibleError
from genptq_core.measurement.records import Measured
from genptq_core.options import Option
from genptq_core.profile import Profile
from genptq_core.targets import TARGETS, target_for_map, unit_bytes, why_not_held

from .knobs import BY_SIZE, SHORT, Knobs, SizeRange
from .marks import Mark, OneWidth

LEAST_FOR_CURVE = 5
"""Measured maps that the core wants before it fits a curve; used to say how many are missing."""


@dataclass(frozen=True)
class Pick:
    """The configuration that every panel shows.

    Attributes:
        map: its options and digest.
        allocation: its figures. For a measured map picked by hand, the relaxed widths and the
            bound are those of the best map of its size.
        by_hand: whether it is a measured map picked by hand.
        bounded: whether the bound is known.
    """

    map: BitMap
    allocation: Allocation
    by_hand: bool = False
    bounded: bool = True


@dataclass(frozen=True)
class Speech:
    """A speech set that maps were measured on."""

    digest: str
    name: str
    utterances: int
    maps: int
    full_precision: float

    @property
    def label(self) -> str:
        """Its name in lists."""
        maps = f"{self.maps} map{'s' if self.maps != 1 else ''}"
        return f"{self.name} ({self.utterances} utterances, {maps})"


@dataclass(frozen=True)
class Scene:
    """Everything a view needs.

    Attributes:
        name: folder name of the profile.
        folder: the profile's folder.
        profile: the profile.
        knobs: what the user set.
        target: the format that must hold the map.
        sizes: the size slider's range.
        records: everything measured for the profile.
        speech: the speech set shown, or None where nothing is measured.
        curve: map from predicted loss to WER on it, or None.
        limits, task, front: the problem under the user's constraints, and its front.
        free: the problem without the user's constraints.
        bound_units: units that the user's demands bind.
        start: the recommended configuration.
        one_width: what runtimes that store all layers alike would get.
        pick: the configuration shown, or None where nothing satisfies the knobs.
        sets: every speech set that maps were measured on.
        curves: map from predicted loss to WER by a set's digest, None where there is none.
        beside: the speech set shown beside `speech`, or None.
    """

    name: str
    folder: Path
    profile: Profile
    knobs: Knobs
    target: str
    sizes: SizeRange
    records: tuple[Measured, ...]
    speech: Speech | None
    curve: WerCurve | None
    limits: Constraints
    task: Problem
    front: Front
    free: Problem
    bound_units: frozenset[int]
    start: Mark
    one_width: tuple[OneWidth, ...]
    pick: Pick | None
    sets: tuple[Speech, ...] = ()
    curves: Mapping[str, WerCurve | None] = field(default_factory=dict)
    beside: Speech | None = None

    @property
    def shown(self) -> list[Measured]:
        """What was measured on the speech set shown."""
        return self.on(self.speech)

    def on(self, speech: Speech | None) -> list[Measured]:
        """What was measured on a speech set."""
        if speech is None:
            return []
        return [m for m in self.records if m.speech_digest == speech.digest]

    def holds(self, options: Sequence[Option]) -> bool:
        """Whether the chosen format can hold a measured map."""
        return holds(self.profile, self.task, self.target, options)

    def spent(self, options: Sequence[Option]) -> np.ndarray:
        """Bytes of each unit of a map in the chosen format, shape (units,).

        A map that the format cannot hold has its native bytes, as its measurement says too.
        """
        form = target_for_map(self.target, self.profile, options)
        return np.array(unit_bytes(form, self.profile, options))

    def measurement(self, digest: str, speech: Speech | None = None) -> Measured | None:
        """A map's measurement on a speech set; on the one shown if absent."""
        return next((m for m in self.on(speech or self.speech) if m.map_digest == digest), None)


@dataclass(frozen=True)
class Outcome:
    """What a pick comes to: bytes, predicted loss, WER and its increase, fractions.

    Attributes:
        measured: whether the WER was measured.
    """

    digest: str
    bytes: int
    loss: float
    wer: float | None
    increase: float | None
    measured: bool


def outcome(scene: Scene) -> Outcome:
    """The outcome of a scene's pick."""
    pick = scene.pick
    if pick is None:
        raise ValueError("there is no pick")
    found, digest = pick.allocation, pick.map.digest
    record = scene.measurement(digest)
    if record is not None:
        wer, more = record.wer, record.wer_increase
        return Outcome(digest, found.bytes, found.predicted_loss, wer, more, True)
    if scene.curve is None or scene.speech is None:
        return Outcome(digest, found.bytes, found.predicted_loss, None, None, False)
    more = float(scene.curve.increase(found.predicted_loss))
    wer = scene.speech.full_precision + more
    return Outcome(digest, found.bytes, found.predicted_loss, wer, more, False)


def holds(profile: Profile, task: Problem, target: str, options: Sequence[Option]) -> bool:
    """Whether a map is made of what a format offers, and the format holds every unit of it."""
    return (
        set(options) <= set(task.menu) and why_not_held(TARGETS[target], profile, options) is None
    )


def speech_sets(records: Sequence[Measured]) -> list[Speech]:
    """The speech sets that maps were measured on, the one with most maps first."""
    counts: dict[str, list[Measured]] = {}
    for record in records:
        counts.setdefault(record.speech_digest, []).append(record)
    sets = [
        Speech(d, rs[0].speech, rs[0].utterances, len(rs), rs[0].wer_full_precision)
        for d, rs in counts.items()
    ]
    return sorted(sets, key=lambda s: (-min(s.maps, LEAST_FOR_CURVE), -s.utterances, s.name))


def solved(knobs: Knobs, task: Problem, front: Front, curve: WerCurve | None) -> Allocation:
    """The solver's map for the knobs.

    Raises:
        InfeasibleError: no map satisfies them.
    """
    if knobs.mode == BY_SIZE:
        return solve(task, round(knobs.size_mb * 1e6))
    if curve is not None:
        return solve_wer_increase(task, front, curve, knobs.points / 100)
    enough = [int(b) for b, loss in zip(front.bytes, front.loss, strict=True) if loss <= knobs.loss]
    if not enough:
        raise InfeasibleError(
            f"No map is predicted to lose less than {knobs.loss:g} nats a token.",
            "Allow a larger loss, or relax a pin or the largest width.",
            smallest=int(front.bytes[-1]),
        )
    return solve(task, enough[0])


def pick_solved(
    profile: Profile, knobs: Knobs, task: Problem, front: Front, curve: WerCurve | None
) -> Pick:
    """The solver's map, as a pick.

    Raises:
        InfeasibleError: no map satisfies the knobs.
    """
    allocation = solved(knobs, task, front, curve)
    return Pick(bit_map(profile, allocation.options), allocation)


def pick_measured(
    profile: Profile, task: Problem, target: str, records: Sequence[Measured], short: str
) -> Pick | None:
    """A measured map picked by hand; None where no measured map has that digest."""
    record = next((m for m in records if m.map_digest[:SHORT] == short), None)
    if record is None:
        return None
    best = None
    # A map of another format is not bounded by the best of this one; and where the constraints
    # forbid every map of its size, nothing bounds it either.
    if holds(profile, task, target, record.options):
        with contextlib.suppress(InfeasibleError):
            best = solve(task, record.bytes)
    loss = record.predicted_loss
    lower = min(best.lower_bound, loss) if best else 0.0
    allocation = Allocation(
        options=record.options,
        relaxed_bits=best.relaxed_bits if best else (),
        bytes=record.bytes,
        avg_bits=record.avg_bits,
        reduction_vs_fp32=record.reduction_vs_fp32,
        predicted_loss=loss,
        lower_bound=lower,
        gap=loss - lower,
        milliseconds=best.milliseconds if best else 0.0,
    )
    chosen = BitMap(record.options, record.map_digest)
    return Pick(chosen, allocation, by_hand=True, bounded=best is not None)


def start_mark(size_mb: float, reason: str, front: Front) -> Mark:
    """A recommended size as a mark on the front."""
    size = round(size_mb * 1e6)
    place = max(int(np.searchsorted(front.bytes, size, side="right")) - 1, 0)
    return Mark(size, float(front.loss[place]), "", None, (reason,))


def price_of_limits(
    scene: Scene, without: Problem | None = None
) -> tuple[float, float | None] | None:
    """What constraints cost the pick at its size: predicted loss, and WER where it is predicted.

    Args:
        scene: the scene.
        without: the problem to compare with; that without any constraint if absent.

    Returns:
        Nats a token and a WER fraction, both more than without them; None where nothing is
        demanded, or the pick is no solver's map.
    """
    pick = scene.pick
    if pick is None or pick.by_hand or scene.limits == Constraints():
        return None
    by_size = scene.knobs.mode == BY_SIZE
    size = round(scene.knobs.size_mb * 1e6) if by_size else pick.allocation.bytes
    best = solve(without or scene.free, size).predicted_loss
    loss = pick.allocation.predicted_loss
    if scene.curve is None:
        return loss - best, None
    return loss - best, float(scene.curve.increase(loss) - scene.curve.increase(best))


def one_width(profile: Profile) -> tuple[OneWidth, ...]:
    """What each runtime that stores all layers alike would get at each of its widths."""
    found = []
    for name, target in TARGETS.items():
        if target.grain != "model":
            continue
        try:
            task = problem(profile, target=name)
        except GenPTQError:  # the profile has nothing that it holds
            continue
        choices, size, loss = task.candidates
        for row, bytes_, nats in zip(choices, size, loss, strict=True):
            option = task.menu[int(row.max())]
            found.append(OneWidth(target.title, option.label, int(bytes_), float(nats)))
    found += [
        OneWidth(point.tool.tool, point.tool.way, point.bytes, point.loss, _notes(point))
        for point in uniform_points(profile)
    ]
    return tuple(sorted(set(found), key=lambda u: (u.target, u.bytes)))


def _notes(point: UniformPoint) -> tuple[str, ...]:
    """Where the figures of a tool's point come from."""
    return (
        f"predicted from our own rounding at {point.option.label},",
        "not from the tool, which rounds without calibration",
        "size: " + ("exact, by its format" if point.exact else "at most; see its format"),
    )


def recommended(
    task: Problem, front: Front, curve: WerCurve | None, sizes: SizeRange
) -> tuple[float, str]:
    """A size to start from, MB, and the reason in one sentence."""
    if curve is not None:
        try:
            best = solve_wer_increase(task, front, curve, 0.01)
        except InfeasibleError:
            best = None
        # A band still wide from few measurements promises a point nowhere, or only where nearly
        # nothing is quantized. The knee needs no promise.
        if best is not None and best.bytes <= sizes.usual:
            size = sizes.clip(best.bytes / 1e6)
            return size, (
                f"{size:g} MB is the smallest size predicted, band included, to stay within "
                "1 point of WER of full precision."
            )
    size = sizes.clip(int(front.bytes[front.knee]) / 1e6)
    return size, (
        f"{size:g} MB is the knee of the predicted front: below it errors grow fast, "
        "above it each megabyte buys little."
    )
