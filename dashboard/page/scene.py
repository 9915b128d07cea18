"""What one drawing of the page shows: the profile, its front, what was measured, and the pick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.front import Front
from genptq_core.allocation.problem import Problem
from genptq_core.allocation.solving import Allocation, solve
from genptq_core.allocation.wer_curve import Curve, WerCurve
from genptq_core.bitmaps.bitmap import BitMap
from genptq_core.errors import InfeasibleError
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import MeasuredSet
from genptq_core.options import Option
from genptq_core.profile import Profile
from genptq_core.targets import TARGETS, target_for_map, unit_bytes, why_not_held
from genptq_core.targets.ways import Way, named_way

from .costs import Cost, cost_on
from .knobs import BY_SIZE, Knobs, SizeRange
from .marks import Mark, OneWidth
from .measurements import Measurements


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
class Scene:
    """Everything that a view needs.

    Attributes:
        name: folder name of the profile.
        folder: the profile's folder.
        profile: the profile.
        knobs: what the user set.
        target: the format that must hold the map.
        sizes: the size slider's range.
        measured: everything measured for the profile.
        speech: the speech set shown, or None where nothing was measured.
        second: the speech set drawn into the same chart, or None.
        limits, problem, front: the user's constraints, the problem under them, and its front.
        bound_units: units that the user's demands bind.
        free: the problem without the user's constraints.
        start: the recommended configuration.
        one_width: what runtimes that store all layers alike would get.
        pick: the configuration shown, or None where no map satisfies the knobs.
        infeasible: why there is no pick, or None.
    """

    name: str
    folder: Path
    profile: Profile
    knobs: Knobs
    target: str
    sizes: SizeRange
    measured: Measurements
    speech: MeasuredSet | None
    second: MeasuredSet | None
    limits: Constraints
    problem: Problem
    front: Front
    bound_units: frozenset[int]
    free: Problem
    start: Mark
    one_width: tuple[OneWidth, ...]
    pick: Pick | None
    infeasible: InfeasibleError | None = None

    @property
    def way(self) -> Way | None:
        """What runs the map, or None where nothing that is known does."""
        return named_way(self.profile, TARGETS[self.target], self.knobs.runtime)

    @property
    def records(self) -> tuple[Measured, ...]:
        """Everything measured for the profile."""
        return self.measured.records

    @property
    def records_shown(self) -> tuple[Measured, ...]:
        """What was measured on the speech set shown."""
        return self.speech.records if self.speech is not None else ()

    @property
    def speech_name(self) -> str:
        """Name of the speech set shown, as a file says it, or ""."""
        return self.measured.name(self.speech) if self.speech is not None else ""

    @property
    def rate(self) -> str:
        """What the error rate on the speech set shown is called: "WER" or "CER"."""
        return self.speech.rate if self.speech is not None else "WER"

    @property
    def second_name(self) -> str:
        """Name of the second speech set, as a file says it, or ""."""
        return self.measured.name(self.second) if self.second is not None else ""

    @property
    def curve(self) -> WerCurve | None:
        """Map from predicted loss to WER on the speech set shown, or None."""
        return self.measured.curve(self.speech)

    @property
    def guide(self) -> Curve | None:
        """What an accuracy is asked for by: `curve`, or else what other models say, or None."""
        return self.measured.guide(self.speech)

    def cost(self, map_digest: str, loss: float) -> Cost | None:
        """What a map costs on the speech set shown; None where nothing was measured.

        Args:
            map_digest: digest of the map.
            loss: its predicted loss, nats per token.
        """
        if self.speech is None:
            return None
        return cost_on(self.speech, self.curve, map_digest, loss)

    @property
    def pick_cost(self) -> Cost | None:
        """What the pick costs on the speech set shown; None without a pick, too."""
        if self.pick is None:
            return None
        return self.cost(self.pick.map.digest, self.pick.allocation.predicted_loss)

    @property
    def pick_costs(self) -> tuple[Cost, ...]:
        """What the pick costs on every speech set; empty without a pick."""
        if self.pick is None:
            return ()
        digest, loss = self.pick.map.digest, self.pick.allocation.predicted_loss
        return tuple(
            cost_on(speech, self.measured.curve(speech), digest, loss)
            for speech in self.measured.sets
        )

    def holds(self, options: Sequence[Option]) -> bool:
        """Whether the chosen format can hold a measured map."""
        return holds(self.profile, self.problem, self.target, options)

    def bytes_per_unit(self, options: Sequence[Option]) -> np.ndarray:
        """Bytes of each unit of a map in the chosen format, shape (units,).

        A map that the format cannot hold has its native bytes, as its measurement says too.
        """
        form = target_for_map(self.target, self.profile, options)
        return np.array(unit_bytes(form, self.profile, options))


def holds(profile: Profile, problem: Problem, target: str, options: Sequence[Option]) -> bool:
    """Whether a format offers all options of a map, and holds every unit of it."""
    return (
        set(options) <= set(problem.menu)
        and why_not_held(TARGETS[target], profile, options) is None
    )


def price_of_limits(
    scene: Scene, without: Problem | None = None
) -> tuple[float, float | None] | None:
    """What constraints cost the pick at its size: predicted loss, and WER where it is predicted.

    Args:
        scene: the scene.
        without: the problem to compare with; the one without any constraint if absent.

    Returns:
        Nats per token and a WER fraction, both as increases; None where nothing is demanded, or
        the pick is not the solver's.
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
