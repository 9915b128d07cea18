"""`genptq front`: draw the whole predicted front."""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..allocation import problem as problems
from ..allocation.constraints import Constraints
from ..allocation.front import Front, predicted_front
from ..profile import load_profile
from ..progress import Report
from ..storage.files import write_text
from ..targets import NATIVE
from . import constraints
from .arguments import TARGET_HELP, add_profile
from .command import Answer, Command


@dataclass(frozen=True, kw_only=True)
class FrontArguments:
    """What to draw the front of.

    Attributes:
        profile: folder of the profile.
        target: name of the target that must hold the maps.
        constraints: what else is demanded of them.
        out: file for the front as CSV; None for none.
    """

    profile: Path
    target: str
    constraints: Constraints
    out: Path | None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    add_profile(parser)
    parser.add_argument("--target", default=NATIVE, help=TARGET_HELP)
    constraints.add_flags(parser)
    parser.add_argument("--out", type=Path, help="write the front here, as CSV")


def from_flags(flags: argparse.Namespace) -> FrontArguments:
    """The arguments that the flags state.

    Raises:
        ConstraintError: one makes no sense.
    """
    return FrontArguments(
        profile=flags.profile,
        target=flags.target,
        constraints=constraints.from_flags(flags),
        out=flags.out,
    )


def run(arguments: FrontArguments, report: Report) -> Answer:
    """Every map of the front with its size, bits and predicted loss; the knee; the hypervolume.

    Raises:
        GenPTQError: the profile cannot be read, or the constraints leave nothing.
    """
    profile = load_profile(arguments.profile)
    started = time.perf_counter()
    problem = problems.problem(profile, arguments.constraints, target=arguments.target)
    front = predicted_front(problem)
    milliseconds = 1000 * (time.perf_counter() - started)
    points = _points(problem, front)
    if arguments.out:
        write_text(arguments.out, _csv(points))
    knee = points[front.knee]
    result = {
        "points": points,
        "knee": knee,
        "hypervolume": front.hypervolume,
        "target": arguments.target,
        "milliseconds": milliseconds,
    }
    text = (
        f"{len(points)} points from {points[0]['bytes'] / 1e6:.2f} to "
        f"{points[-1]['bytes'] / 1e6:.2f} MB; knee at {knee['bytes'] / 1e6:.2f} MB "
        f"({knee['avg_bits']:.2f} bits); hypervolume {front.hypervolume:.3f}."
    )
    return Answer(result, text)


def _points(problem: problems.Problem, front: Front) -> list[dict[str, float]]:
    """The front's maps, smallest first."""
    average_bits = problem.average_bits(front.choices)
    lower_bounds = np.minimum(problem.lower_bounds(front.bytes), front.loss)
    columns = zip(front.bytes, average_bits, front.loss, lower_bounds, strict=True)
    return [
        {
            "bytes": int(size),
            "avg_bits": float(bits),
            "reduction_vs_fp32": problem.reduction(int(size)),
            "predicted_loss": float(loss),
            "lower_bound": float(bound),
        }
        for size, bits, loss, bound in columns
    ]


def _csv(points: Sequence[dict[str, float]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(points[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(points)
    return text.getvalue()


COMMAND = Command(
    name="front",
    about="Draw the whole predicted front.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
