"""`genptq front`: draw the whole predicted front."""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..allocation import problem as problems
from ..allocation.constraints import Constraints
from ..allocation.drag import is_large
from ..allocation.front import Front, predicted_front
from ..allocation.predicted_loss import quadratic_loss
from ..allocation.wer_curve import Curve
from ..errors import InfeasibleError
from ..measurement.speech_scale import Adapted
from ..profile import Profile, load_profile
from ..progress import Report, silent
from ..storage.files import write_text
from ..targets import NATIVE
from ..targets.ways import Way, way_of
from . import constraints, judged, predicted
from .arguments import TARGET_HELP, add_profile, add_runs_in, bytes_of, memory_from_flags
from .command import Answer, Command


@dataclass(frozen=True, kw_only=True)
class FrontArguments:
    """What to draw the front of.

    Attributes:
        profile: folder of the profile.
        target: name of the target that must hold the maps.
        constraints: what else is demanded of them.
        out: file for the front as CSV; None for none.
        size: leave out maps of more bytes to download; None for no limit.
        memory: leave out maps whose weights take more bytes in memory; None for no limit.
        runs_in: what runs them; the usual if "".
        judged_on: name of speech that the profile was adapted to; "" for none.
    """

    profile: Path
    target: str
    constraints: Constraints
    out: Path | None
    size: int | None = None
    memory: int | None = None
    runs_in: str = ""
    judged_on: str = ""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    add_profile(parser)
    parser.add_argument("--target", default=NATIVE, help=TARGET_HELP)
    parser.add_argument("--size-mb", type=float, help="leave out what is larger, 10^6 bytes")
    add_runs_in(parser)
    constraints.add_flags(parser)
    judged.add_flag(parser)
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
        size=bytes_of(flags.size_mb),
        memory=memory_from_flags(flags),
        runs_in=flags.runs_in,
        judged_on=flags.judged_on,
    )


def run(arguments: FrontArguments, report: Report) -> Answer:
    """Every map of the front with its size, bits and predicted loss; the knee; the hypervolume.

    Raises:
        GenPTQError: the profile cannot be read, or the constraints leave nothing.
    """
    profile = load_profile(arguments.profile)
    there: tuple[Adapted, judged.LossThere] | None = None
    if arguments.judged_on:
        there = judged.losses_on(arguments.profile, profile, arguments.judged_on)
    started = time.perf_counter()
    predictor = quadratic_loss(profile)
    problem = problems.problem(profile, arguments.constraints, predictor, arguments.target)
    way = way_of(profile, arguments.target, arguments.runs_in, arguments.memory)
    front = predicted_front(problem)
    milliseconds = 1000 * (time.perf_counter() - started)
    known = predicted.prediction_of(profile, arguments.profile, arguments.target, predictor)
    every = _points(problem, front, profile, way=way, curve=known.curve, report=report)
    if there:
        for point, row in zip(every, front.choices, strict=True):
            options = [problem.menu[column] for column in row]
            point["loss_there"] = there[1](options, point["predicted_loss"])
    points = _within(every, arguments)
    if arguments.out:
        write_text(arguments.out, _csv(points))
    knee = every[front.knee]
    result = {
        "points": points,
        "runs_in": way.name,
        "knee": knee,
        "predicted_wer_of_knee": predicted.as_fields(
            known.curve, known.speech, knee["predicted_loss"]
        ),
        "hypervolume": front.hypervolume,
        "target": arguments.target,
        "milliseconds": milliseconds,
    }
    said = predicted.in_words(known, knee["predicted_loss"])
    loss_there = ""
    if there and knee["loss_there"] is not None:
        result["judged_on"] = there[0].speech
        loss_there = (
            f"On {there[0].speech} the map at the knee is predicted to lose "
            f"{knee['loss_there']:.4f} nats per token.\n"
        )
    counted = "MB" if problem.counts_all else "MB of weights"
    text = (
        f"{len(points)} points from {points[0]['bytes'] / 1e6:.2f} to "
        f"{points[-1]['bytes'] / 1e6:.2f} {counted}; knee at {knee['bytes'] / 1e6:.2f} MB "
        f"({knee['avg_bits']:.2f} bits); hypervolume {front.hypervolume:.3f}.\n"
        f"At the knee: {said[0].lower()}{said[1:]}\n"
        f"{loss_there}"
        f"In {way.name} the weights take {points[0]['memory'] / 1e6:.2f} to "
        f"{points[-1]['memory'] / 1e6:.2f} MB of memory."
    )
    return Answer(result, text)


def _within(points: list[dict[str, Any]], arguments: FrontArguments) -> list[dict[str, Any]]:
    """The points that keep to the limits.

    Raises:
        InfeasibleError: there is none.
    """
    limits = (("bytes", arguments.size, "to download"), ("memory", arguments.memory, "of memory"))
    for key, most, words in limits:
        if most is None:
            continue
        least = min(int(point[key]) for point in points)
        points = [point for point in points if point[key] <= most]
        if not points:
            raise InfeasibleError(
                f"No map of the front takes at most {most / 1e6:.2f} MB {words}: the least is "
                f"{least / 1e6:.2f} MB.",
                "Allow as much.",
                smallest=least,
            )
    return points


def _points(
    problem: problems.Problem,
    front: Front,
    profile: Profile,
    *,
    way: Way,
    curve: Curve,
    report: Report,
) -> list[dict[str, Any]]:
    """The front's maps, smallest first."""
    average_bits = problem.average_bits(front.choices)
    bounds = np.minimum(
        problem.lower_bounds(front.bytes, report if is_large(problem) else silent), front.loss
    )
    maps = [[problem.menu[column] for column in row] for row in front.choices]
    words = zip(curve.increase(front.loss), *curve.interval(front.loss), strict=True)
    losses = zip(front.loss, bounds, words, strict=True)
    columns = zip(front.bytes, average_bits, losses, maps, strict=True)
    return [
        {
            "bytes": int(size),
            "weights": int(size) - (problem.overhead or 0),
            "memory": way.memory(profile, options),
            "avg_bits": float(bits),
            "reduction_vs_fp32": problem.reduction(int(size)),
            "predicted_loss": float(loss),
            "lower_bound": float(bound),
            "predicted_wer_increase": float(increase),
            "at_least": float(least),
            "at_most": float(most),
        }
        for size, bits, (loss, bound, (increase, least, most)), options in columns
    ]


def _csv(points: Sequence[dict[str, Any]]) -> str:
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
