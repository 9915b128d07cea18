"""`genptq solve`: find the best bit map within one budget."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..allocation import problem as problems
from ..allocation.constraints import Constraints
from ..allocation.front import predicted_front
from ..allocation.memory import solve_within_memory
from ..allocation.solving import Allocation, solve, solve_average_bits
from ..allocation.wer_curve import WerCurve, solve_wer_increase
from ..bitmaps.bitmap import bit_map
from ..bitmaps.figures import ways_by_name
from ..bitmaps.file import write_bit_map
from ..errors import PROGRAM, ConstraintError, InfeasibleError
from ..measurement.predictions import own_of, with_predictions
from ..measurement.speech_sets import curve_of, measured_sets, usual_set
from ..measurement.store import load_measured
from ..profile import Profile, load_profile
from ..progress import Report
from ..targets import NATIVE
from ..targets.run_commands import FOLDER, commands, to_run
from ..targets.ways import Way, as_fields, in_words, way_of
from . import constraints
from .arguments import TARGET_HELP, add_profile, add_runs_in, bytes_of, memory_from_flags
from .command import Answer, Command

_GIVE = "Give --size-mb, --memory-mb, --avg-bits or --max-wer-increase."


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a map may cost: one of the first three, or the last, or one and the last, are given.

    Attributes:
        size_mb: size of the folder that is downloaded, 10^6 bytes.
        average_bits: mean bits per quantized weight.
        wer_increase: predicted WER increase, a fraction.
        memory: bytes of the weights in memory.
    """

    size_mb: float | None = None
    average_bits: float | None = None
    wer_increase: float | None = None
    memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class SolveArguments:
    """What to solve for.

    Attributes:
        profile: folder of the profile.
        budget: what the map may cost.
        target: name of the target that must hold it.
        constraints: what else is demanded.
        out: file for the bit map; None for none.
        runs_in: what runs it; the usual if "".
    """

    profile: Path
    budget: Budget
    target: str
    constraints: Constraints
    out: Path | None
    runs_in: str = ""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    add_profile(parser)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--size-mb", type=float, help="size of the folder to download, 10^6 bytes")
    budget.add_argument("--avg-bits", type=float, help="mean bits per quantized weight")
    budget.add_argument(
        "--max-wer-increase", type=float, help="a fraction: 0.01 is one percentage point"
    )
    parser.add_argument("--target", default=NATIVE, help=TARGET_HELP)
    add_runs_in(parser)
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
        runs_in=flags.runs_in,
    )


def _budget(flags: argparse.Namespace) -> Budget:
    for value in (flags.size_mb, flags.avg_bits, flags.max_wer_increase):
        if value is not None and not 0 < value < 1e9:
            raise ConstraintError(f"A budget of {value} makes no sense.", "Give more than 0.")
    if flags.max_wer_increase is not None and flags.max_wer_increase >= 1:
        raise ConstraintError("A WER increase is a fraction here: 0.01 is one percentage point.")
    budget = Budget(
        size_mb=flags.size_mb,
        average_bits=flags.avg_bits,
        wer_increase=flags.max_wer_increase,
        memory=memory_from_flags(flags),
    )
    if budget == Budget():
        raise ConstraintError("No budget is given.", _GIVE)
    return budget


def run(arguments: SolveArguments, report: Report) -> Answer:
    """The best map, its figures and its proven lower bound.

    Raises:
        InfeasibleError: no map satisfies budget and constraints.
        GenPTQError: the profile cannot be read, or too little is measured to predict WER.
    """
    profile = load_profile(arguments.profile)
    problem = problems.problem(profile, arguments.constraints, target=arguments.target)
    way = way_of(profile, arguments.target, arguments.runs_in, arguments.budget.memory)
    curve = _best_curve(profile, arguments.profile, arguments.target)
    allocation = _allocate(arguments, profile, problem, way, curve)
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
    sizes = way.sizes(profile, allocation.options)
    runs = commands(way, FOLDER)
    result = {
        **figures,
        **as_fields(sizes, way),
        "run": list(runs),
        "lower_bound": allocation.lower_bound,
        "gap": allocation.gap,
        "milliseconds": allocation.milliseconds,
        "target": arguments.target,
        "digest": chosen.digest,
        **ways_by_name(profile, allocation.options),
        "relaxed_bits": {unit.name: bits for unit, bits in relaxed},
    }
    text = f"{_in_words(problem, allocation)}\n{in_words(sizes, way)}.\n{to_run(runs)}"
    return Answer(result, text)


def _allocate(
    arguments: SolveArguments,
    profile: Profile,
    problem: problems.Problem,
    way: Way,
    curve: WerCurve | None,
) -> Allocation:
    """The best allocation within a budget.

    Args:
        arguments: what is asked for.
        profile: the profile.
        problem: the allocation problem.
        way: what runs the map.
        curve: WER increase over predicted loss; None where too few maps were measured.
    """
    budget = arguments.budget
    size, memory = bytes_of(budget.size_mb), budget.memory
    if budget.average_bits is not None:
        found = solve_average_bits(problem, budget.average_bits)
    elif budget.wer_increase is not None:
        if curve is None:
            raise ConstraintError(
                f"{arguments.profile} has too few measured configurations to predict WER.",
                f"Measure at least five with: {PROGRAM} measure.",
            )
        front = predicted_front(problem)
        found = solve_wer_increase(problem, front, curve, budget.wer_increase)
    elif memory is not None and way.bounds_map:
        return solve_within_memory(problem, profile, way, memory, size)
    elif size is None:
        raise ConstraintError(
            f"In {way.name} memory does not depend on the bit map, so it alone is no budget."
            if memory is not None
            else "No budget is given.",
            "Give --size-mb too." if memory is not None else _GIVE,
        )
    else:
        found = solve(problem, size)
    if memory is not None and (taken := way.memory(profile, found.options)) > memory:
        raise InfeasibleError(
            f"This map takes {taken / 1e6:.2f} MB of memory in {way.name}, and "
            f"{memory / 1e6:.2f} MB are allowed.",
            "Ask for fewer bits, or give --memory-mb alone.",
            smallest=taken,
        )
    return found


def _best_curve(profile: Profile, folder: Path, target: str) -> WerCurve | None:
    """The curve of a target's maps on the speech set with the most measured words."""
    records = with_predictions(profile, load_measured(folder, profile.digest), target)
    chosen = usual_set(measured_sets(own_of(profile, records, target)))
    return None if chosen is None else curve_of(chosen)


def _in_words(problem: problems.Problem, allocation: Allocation) -> str:
    has_grids = any(option.form == "grid" for option in problem.menu)
    counted = "scales not counted" if has_grids else "everything counted"
    size = f"{allocation.bytes / 1e6:.2f} MB{'' if problem.counts_all else ' of weights'}"
    return (
        f"{size}, {100 * allocation.reduction_vs_fp32:.1f} % smaller than "
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
