"""`genptq solve`: find the best bit map within one budget."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..allocation import problem as problems
from ..allocation.constraints import Constraints
from ..allocation.front import predicted_front
from ..allocation.solving import Allocation, solve, solve_average_bits
from ..allocation.wer_curve import WerCurve, solve_wer_increase
from ..bitmaps.bitmap import bit_map
from ..bitmaps.figures import ways_by_name
from ..bitmaps.file import write_bit_map
from ..errors import PROGRAM, ConstraintError
from ..measurement.predictions import with_predictions
from ..measurement.speech_sets import curve_of, measured_sets, usual_set
from ..measurement.store import load_measured
from ..profile import Profile, load_profile
from ..progress import Report
from ..targets import NATIVE
from . import constraints
from .arguments import TARGET_HELP, add_profile
from .command import Answer, Command


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a map may cost: one of the three is given.

    Attributes:
        size_mb: size of the whole model, 10^6 bytes.
        average_bits: mean bits per quantized weight.
        wer_increase: predicted WER increase, a fraction.
    """

    size_mb: float | None = None
    average_bits: float | None = None
    wer_increase: float | None = None


@dataclass(frozen=True, kw_only=True)
class SolveArguments:
    """What to solve for.

    Attributes:
        profile: folder of the profile.
        budget: what the map may cost.
        target: name of the target that must hold it.
        constraints: what else is demanded.
        out: file for the bit map; None for none.
    """

    profile: Path
    budget: Budget
    target: str
    constraints: Constraints
    out: Path | None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    add_profile(parser)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--size-mb", type=float, help="size of the whole model, 10^6 bytes")
    budget.add_argument("--avg-bits", type=float, help="mean bits per quantized weight")
    budget.add_argument(
        "--max-wer-increase", type=float, help="a fraction: 0.01 is one percentage point"
    )
    parser.add_argument("--target", default=NATIVE, help=TARGET_HELP)
    constraints.add_flags(parser)
    parser.add_argument("--out", type=Path, help="write the bit map here")


def from_flags(flags: argparse.Namespace) -> SolveArguments:
    """The arguments that the flags state.

    Raises:
        ConstraintError: one makes no sense.
    """
    return SolveArguments(
        profile=flags.profile,
        budget=_budget(flags),
        target=flags.target,
        constraints=constraints.from_flags(flags),
        out=flags.out,
    )


def _budget(flags: argparse.Namespace) -> Budget:
    for value in (flags.size_mb, flags.avg_bits, flags.max_wer_increase):
        if value is not None and not 0 < value < 1e9:
            raise ConstraintError(f"A budget of {value} makes no sense.", "Give more than 0.")
    if flags.max_wer_increase is not None and flags.max_wer_increase >= 1:
        raise ConstraintError("A WER increase is a fraction here: 0.01 is one percentage point.")
    return Budget(
        size_mb=flags.size_mb,
        average_bits=flags.avg_bits,
        wer_increase=flags.max_wer_increase,
    )


def run(arguments: SolveArguments, report: Report) -> Answer:
    """The best map, its figures and its proven lower bound.

    Raises:
        InfeasibleError: no map satisfies budget and constraints.
        GenPTQError: the profile cannot be read, or too little is measured to predict WER.
    """
    profile = load_profile(arguments.profile)
    problem = problems.problem(profile, arguments.constraints, target=arguments.target)
    curve = _best_curve(profile, arguments.profile)
    allocation = _allocate(problem, arguments.budget, curve, arguments.profile)
    chosen = bit_map(profile, allocation.options)
    figures = {
        "bytes": allocation.bytes,
        "avg_bits": allocation.avg_bits,
        "reduction_vs_fp32": allocation.reduction_vs_fp32,
        "predicted_loss": allocation.predicted_loss,
    }
    if curve is not None:
        figures["predicted_wer_increase"] = float(curve.increase(allocation.predicted_loss))
    if arguments.out:
        write_bit_map(arguments.out, profile, chosen, target=arguments.target, **figures)
    relaxed = zip(profile.units, allocation.relaxed_bits, strict=True)
    result = {
        **figures,
        "lower_bound": allocation.lower_bound,
        "gap": allocation.gap,
        "milliseconds": allocation.milliseconds,
        "target": arguments.target,
        "digest": chosen.digest,
        **ways_by_name(profile, allocation.options),
        "relaxed_bits": {unit.name: bits for unit, bits in relaxed},
    }
    return Answer(result, _in_words(problem, allocation))


def _allocate(
    problem: problems.Problem, budget: Budget, curve: WerCurve | None, folder: Path
) -> Allocation:
    """The best allocation within a budget.

    Args:
        problem: the allocation problem.
        budget: what the map may cost.
        curve: WER increase over predicted loss; None where too few maps were measured.
        folder: the profile's folder, for messages.
    """
    if budget.size_mb is not None:
        return solve(problem, constraints.whole_bytes(budget.size_mb))
    if budget.average_bits is not None:
        return solve_average_bits(problem, budget.average_bits)
    if budget.wer_increase is None:
        raise ConstraintError("No budget is given.", "Give a size, bits or a WER increase.")
    if curve is None:
        raise ConstraintError(
            f"{folder} has too few measured configurations to predict WER.",
            f"Measure at least five with: {PROGRAM} measure.",
        )
    return solve_wer_increase(problem, predicted_front(problem), curve, budget.wer_increase)


def _best_curve(profile: Profile, folder: Path) -> WerCurve | None:
    """The curve of the speech set with the most measured words."""
    records = with_predictions(profile, load_measured(folder, profile.digest))
    chosen = usual_set(measured_sets(records))
    return None if chosen is None else curve_of(chosen)


def _in_words(problem: problems.Problem, allocation: Allocation) -> str:
    has_grids = any(option.form == "grid" for option in problem.menu)
    counted = "scales not counted" if has_grids else "everything counted"
    return (
        f"{allocation.bytes / 1e6:.2f} MB, {100 * allocation.reduction_vs_fp32:.1f} % smaller than "
        f"float32, {allocation.avg_bits:.2f} bits per weight on average ({counted}), predicted "
        f"loss {allocation.predicted_loss:.4f} nats per token, at most {allocation.gap:.4f} above "
        "the optimum."
    )


COMMAND = Command(
    name="solve",
    about="Find the best bit map within one budget.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
