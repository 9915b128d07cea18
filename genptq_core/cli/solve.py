"""`genptq solve`: find the best bit map within one budget."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..allocation import problem as problems
from ..allocation.constraints import Constraints
from ..allocation.front import predicted_front
from ..allocation.memory import solve_within_memory
from ..allocation.predicted_loss import quadratic_loss
from ..allocation.solving import Allocation, solve, solve_average_bits
from ..allocation.wer_curve import Curve, solve_wer_increase
from ..bitmaps.bitmap import bit_map
from ..bitmaps.figures import ways_by_name
from ..bitmaps.file import write_bit_map
from ..errors import ConstraintError, InfeasibleError
from ..measurement.known_runaways import trial_of
from ..measurement.records import Measured
from ..profile import Profile, load_profile
from ..progress import Report
from ..targets import NATIVE
from ..targets.run_commands import FOLDER, commands, to_run
from ..targets.ways import Way, as_fields, in_words, way_of
from . import constraints, judged, predicted, runaways
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
        calm: utterances in which it must have been measured without running away; 0 for none.
        judged_on: name of speech that the profile was adapted to; "" for none.
    """

    profile: Path
    budget: Budget
    target: str
    constraints: Constraints
    out: Path | None
    runs_in: str = ""
    calm: int = 0
    judged_on: str = ""


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
    parser.add_argument(
        "--no-runaway-in",
        type=int,
        default=0,
        metavar="N",
        help="ask whether it was measured on N utterances and ran away on none on which full "
        "precision does not; the exit code is 1 where that is not known or not so",
    )
    judged.add_flag(parser)
    parser.add_argument("--out", type=Path, help="write the bit map here")


def from_flags(flags: argparse.Namespace) -> SolveArguments:
    """The arguments that the flags state.

    Raises:
        ConstraintError: one makes no sense.
    """
    if flags.no_runaway_in < 0:
        raise ConstraintError("--no-runaway-in is a number of utterances.", "Give 200, say.")
    return SolveArguments(
        profile=flags.profile,
        budget=_budget(flags),
        target=flags.target,
        constraints=constraints.from_flags(flags),
        out=flags.out,
        runs_in=flags.runs_in,
        calm=flags.no_runaway_in,
        judged_on=flags.judged_on,
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
        GenPTQError: the profile, or what was measured of it, cannot be read.
    """
    profile = load_profile(arguments.profile)
    predictor = quadratic_loss(profile)
    problem = problems.problem(profile, arguments.constraints, predictor, arguments.target)
    way = way_of(profile, arguments.target, arguments.runs_in, arguments.budget.memory)
    known = predicted.prediction_of(profile, arguments.profile, arguments.target, predictor)
    allocation = _allocate(arguments, profile, problem, way, known.curve)
    chosen = bit_map(profile, allocation.options)
    figures = {
        "bytes": allocation.bytes,
        "avg_bits": allocation.avg_bits,
        "reduction_vs_fp32": allocation.reduction_vs_fp32,
        "predicted_loss": allocation.predicted_loss,
    }
    loss = allocation.predicted_loss
    if not known.curve.borrowed_from:
        figures["predicted_wer_increase"] = float(known.curve.increase(loss))
    if arguments.out:
        write_bit_map(arguments.out, profile, chosen, target=arguments.target, **figures)
    relaxed = zip(profile.units, allocation.relaxed_bits, strict=True)
    sizes = way.sizes(profile, allocation.options)
    runs = commands(way, FOLDER)
    elsewhere, there = judged.judged(arguments.profile, profile, allocation, arguments.judged_on)
    trial, calm = _runaways(arguments, known.records, chosen.digest)
    result = {
        **figures,
        "predicted_wer": predicted.as_fields(known.curve, known.speech, loss),
        **elsewhere,
        **trial,
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
    lines = [
        _in_words(problem, allocation),
        *([there] if there else []),
        predicted.in_words(known, loss),
        f"{in_words(sizes, way)}.",
        *([calm] if calm else []),
        to_run(runs),
    ]
    met = not arguments.calm or trial["no_runaway"]["met"] is True
    return Answer(result, "\n".join(lines), 0 if met else 1)


def _runaways(
    arguments: SolveArguments, records: Sequence[Measured], digest: str
) -> tuple[dict[str, Any], str]:
    """What measurements say of the demand that a map never runs away: fields, and words."""
    if not arguments.calm:
        return {}, ""
    own = [record for record in records if record.map_digest == digest]
    trial = trial_of(own, digest, runaways.bundled_references(own))
    met = trial.meets(arguments.calm)
    fields = {
        "demanded": arguments.calm,
        "met": met,
        "utterances": trial.utterances,
        "new": list(trial.new),
    }
    if met is None:
        words = (
            f"Whether it runs away is not known: {arguments.calm} utterances are asked for, and it "
            f"was measured on {trial.utterances}."
        )
    else:
        words = (
            f"Measured on {trial.utterances} utterances, it ran away on {len(trial.new) or 'none'} "
            "on which full precision does not."
        )
    return {"no_runaway": fields}, words


def _allocate(
    arguments: SolveArguments,
    profile: Profile,
    problem: problems.Problem,
    way: Way,
    curve: Curve,
) -> Allocation:
    """The best allocation within a budget.

    Args:
        arguments: what is asked for.
        profile: the profile.
        problem: the allocation problem.
        way: what runs the map.
        curve: WER increase over predicted loss, own or borrowed.
    """
    budget = arguments.budget
    size, memory = bytes_of(budget.size_mb), budget.memory
    if budget.average_bits is not None:
        found = solve_average_bits(problem, budget.average_bits)
    elif budget.wer_increase is not None:
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
