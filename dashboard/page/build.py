"""From the knobs and what was loaded to the scene that the page draws. Pure."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.front import Front
from genptq_core.allocation.problem import Problem
from genptq_core.allocation.solving import Allocation, solve
from genptq_core.allocation.wer_curve import Curve, solve_wer_increase
from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.errors import InfeasibleError
from genptq_core.profile import Profile

from .knobs import BY_SIZE, SHORT, Knobs, SizeRange
from .marks import OneWidth
from .measurements import Measurements
from .scene import Pick, Scene, holds
from .start import Start, start_mark


@dataclass(frozen=True)
class Loaded:
    """What is known of a profile in one format, whatever the other knobs say.

    Attributes:
        name: folder name of the profile.
        folder: the profile's folder.
        profile: the profile.
        target: the format that must hold the map.
        sizes: the size slider's range.
        measured: everything measured for the profile, sized in the format.
        free, free_front: the problem without the user's constraints, and its front.
        one_width: what runtimes that store all layers alike would get.
    """

    name: str
    folder: Path
    profile: Profile
    target: str
    sizes: SizeRange
    measured: Measurements
    free: Problem
    free_front: Front
    one_width: tuple[OneWidth, ...]


@dataclass(frozen=True)
class Constrained:
    """The problem that the user's demands leave.

    Attributes:
        limits: the constraints.
        bound_units: units that the demands bind.
        problem, front: the problem under them, and its front.
    """

    limits: Constraints
    bound_units: frozenset[int]
    problem: Problem
    front: Front


def scene_of(loaded: Loaded, knobs: Knobs, constrained: Constrained, start: Start) -> Scene:
    """The scene of the knobs; without a pick where no map satisfies them."""
    measured = loaded.measured
    speech = measured.named(knobs.speech) or measured.usual
    second = measured.named(knobs.second)
    pick: Pick | None = None
    infeasible: InfeasibleError | None = None
    if knobs.pick:
        pick = pick_measured(loaded, constrained.problem, knobs.pick)
    if pick is None:
        try:
            allocation = solved(knobs, constrained, measured.guide(speech))
            pick = Pick(bit_map(loaded.profile, allocation.options), allocation)
        except InfeasibleError as error:
            infeasible = error
    return Scene(
        name=loaded.name,
        folder=loaded.folder,
        profile=loaded.profile,
        knobs=knobs,
        target=loaded.target,
        sizes=loaded.sizes,
        measured=measured,
        speech=speech,
        second=None if second == speech else second,
        limits=constrained.limits,
        problem=constrained.problem,
        front=constrained.front,
        bound_units=constrained.bound_units,
        free=loaded.free,
        start=start_mark(start, loaded.free_front),
        one_width=loaded.one_width,
        pick=pick,
        infeasible=infeasible,
    )


def solved(knobs: Knobs, constrained: Constrained, curve: Curve | None) -> Allocation:
    """The solver's map for the knobs.

    Args:
        knobs: what the user set.
        constrained: the problem under the user's constraints.
        curve: map from predicted loss to the increase of WER, own or borrowed, or None.

    Raises:
        InfeasibleError: no map satisfies them.
    """
    problem, front = constrained.problem, constrained.front
    if knobs.mode == BY_SIZE:
        return solve(problem, round(knobs.size_mb * 1e6))
    if curve is not None:
        return solve_wer_increase(problem, front, curve, knobs.points / 100)
    enough = [int(b) for b, loss in zip(front.bytes, front.loss, strict=True) if loss <= knobs.loss]
    if not enough:
        raise InfeasibleError(
            f"No map is predicted to lose less than {knobs.loss:g} nats per token.",
            "Allow a larger loss, or relax a pin or the largest width.",
            smallest=int(front.bytes[-1]),
        )
    return solve(problem, enough[0])


def pick_measured(loaded: Loaded, problem: Problem, short: str) -> Pick | None:
    """A measured map picked by hand, or None where no measured map has that digest.

    Args:
        loaded: what was loaded.
        problem: the problem under the user's constraints.
        short: short digest of the map.
    """
    records = loaded.measured.records
    record = next((m for m in records if m.map_digest[:SHORT] == short), None)
    if record is None:
        return None
    best = None
    # A map of another format is not bounded by the best of this one; and where the constraints
    # forbid every map of its size, nothing bounds it either.
    if holds(loaded.profile, problem, loaded.target, record.options):
        with contextlib.suppress(InfeasibleError):
            best = solve(problem, record.bytes)
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
