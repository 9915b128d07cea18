"""`genptq explore`: profile a model, measure the maps that teach most, and recommend one."""

from __future__ import annotations

import argparse
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..allocation.constraints import Constraints
from ..bitmaps.file import write_bit_map
from ..errors import PROGRAM, ConstraintError, GenPTQError, SpeechError
from ..measurement.exploring import ENOUGH
from ..options import BLOCKS, Option, block_options
from ..profile import Settings, load_profile
from ..progress import Report
from ..speech.normalizers import unit_of
from ..speech.sources import load_speech
from ..speech.utterances import SpeechSet, speech_set
from ..storage.files import require_folder
from ..storage.json_files import write_json
from ..targets import NATIVE
from ..workers.pool import Workers
from . import constraints, predicted, runaways
from .arguments import (
    SOURCES,
    TARGET_HELP,
    add_device,
    add_language,
    add_workers,
    asked_from_flags,
    profile_folder,
    workers_from_flags,
)
from .command import Answer, Command
from .measured import public_record
from .profile import usual_options
from .report import write_report

if TYPE_CHECKING:
    from ..measurement.exploration import Explored
    from ..models import SpeechModel

SCHEMA, VERSION = "genptq-explored", 1
CALIBRATION = 64
"""Most utterances that a profile is computed from, where the speech is shared with measuring."""
_GGUF = "gguf"
_LEAST = 4  # utterances of speech that is both calibrated and measured on


@dataclass(frozen=True, kw_only=True)
class ExploreArguments:
    """What to explore, and for how long.

    Attributes:
        model: a bundled name, a folder or a hub name; the profile's if None.
        profile: folder of a profile that there is; None to compute one in `out`.
        speech: speech with reference texts to measure on: a path, or `hf:` and a data set's name.
        limit: take only this many utterances of it; None for all.
        calibration: speech to compute the profile from; a part of `speech` if None.
        target: name of the target that must hold the maps.
        constraints: what else is demanded of them.
        normalizer: name of the text normalizer; "" for what fits the model.
        minutes: the time there is, profile included.
        out: folder for the profile, the pick and the numbers.
        workers: who decodes.
        asked: language and task that the model is asked for; each "" for rows or its own.
    """

    model: str | None
    profile: Path | None
    speech: str
    limit: int | None
    calibration: str | None
    target: str
    constraints: Constraints
    normalizer: str
    minutes: float
    out: Path
    workers: Workers
    asked: tuple[str, str] = ("", "")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    parser.add_argument("--model", help="a bundled name, a local folder, a hub name")
    parser.add_argument(
        "--profile", type=profile_folder, help="a profile that there is; else one is computed"
    )
    parser.add_argument("--speech", required=True, help=f"speech with reference texts: {SOURCES}")
    parser.add_argument("--limit", type=int, help="use only the first N utterances")
    parser.add_argument(
        "--calibration",
        help="speech to compute the profile from; else a part of --speech, which is then not "
        "measured on",
    )
    parser.add_argument("--target", default=NATIVE, help=TARGET_HELP)
    parser.add_argument("--normalizer", default="", help="as of measure")
    parser.add_argument(
        "--minutes", type=float, default=30, help="the time there is; one map at least"
    )
    constraints.add_flags(parser)
    parser.add_argument(
        "--out", required=True, type=Path, help="folder for the profile, the pick and the numbers"
    )
    add_workers(parser)
    add_device(parser)
    add_language(parser)


def from_flags(flags: argparse.Namespace) -> ExploreArguments:
    """The arguments that the flags state.

    Raises:
        ConstraintError: neither model nor profile is named, or there is no time.
        ClusterError: there are no processes.
    """
    if flags.model is None and flags.profile is None:
        raise ConstraintError("Nothing is named to explore.", "Give --model or --profile.")
    if not 0 < flags.minutes < 1e6:
        raise ConstraintError(f"{flags.minutes:g} minutes make no sense.", "Give 30, say.")
    return ExploreArguments(
        model=flags.model,
        profile=flags.profile,
        speech=flags.speech,
        limit=flags.limit,
        calibration=flags.calibration,
        target=flags.target,
        constraints=constraints.from_flags(flags),
        normalizer=flags.normalizer,
        minutes=flags.minutes,
        out=flags.out,
        workers=workers_from_flags(flags),
        asked=asked_from_flags(flags),
    )


def run(arguments: ExploreArguments, report: Report) -> Answer:
    """What is known at the end, and the recommended map with the command that exports it.

    Raises:
        GenPTQError: model, profile, speech or workers cannot be used.
    """
    began = time.monotonic()
    require_folder(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    speech = load_speech(arguments.speech, arguments.limit)

    from ..loading import load_model, load_model_of
    from ..measurement.exploration import explore
    from ..models.asking import with_language

    folder = arguments.profile or arguments.out / "profile"
    device = arguments.workers.device
    if arguments.profile is None:
        model = with_language(load_model(arguments.model or "", device), *arguments.asked)
        calibration, speech = _calibration(arguments, speech)
        _profile(model, calibration, folder, arguments, report)
    else:
        profile = load_profile(folder)
        model = load_model_of(profile, arguments.model, device, asked=arguments.asked)
    *_, known = explore(
        model,
        folder,
        speech,
        seconds=60 * arguments.minutes - (time.monotonic() - began),
        target=arguments.target,
        constraints=arguments.constraints,
        workers=arguments.workers,
        normalizer=arguments.normalizer,
        report=report,
    )
    path, said = _report(known, folder, arguments)
    answer = _answer(known, folder, arguments, runaways.names_of(speech))
    return Answer({**answer.result, "report": path}, f"{said}\n{answer.text}")


def _calibration(arguments: ExploreArguments, speech: SpeechSet) -> tuple[SpeechSet, SpeechSet]:
    """What to compute the profile from, and what to measure on.

    Raises:
        SpeechError: there is too little speech for both.
    """
    if arguments.calibration is not None:
        return load_speech(arguments.calibration), speech
    count = min(CALIBRATION, len(speech) // 2)
    if len(speech) < _LEAST:
        raise SpeechError(
            f"{speech.name} has {len(speech)} utterances, too few to calibrate and to measure on.",
            "Give more, or name other speech with --calibration.",
        )
    # Drawn by the recordings' digests, so that another run draws the same.
    drawn = {u.digest for u in sorted(speech.utterances, key=lambda u: u.digest)[:count]}
    parts = [
        [u for u in speech.utterances if (u.digest in drawn) is taken] for taken in (True, False)
    ]
    return (
        speech_set(f"{speech.name}, calibration", parts[0]),
        speech_set(f"{speech.name}, the rest", parts[1]),
    )


def _profile(
    model: SpeechModel,
    calibration: SpeechSet,
    folder: Path,
    arguments: ExploreArguments,
    report: Report,
) -> None:
    """Compute the profile, or find it computed."""
    from ..profiling.compute import compute
    from ..profiling.shared_gradients import shared_gradients

    options: tuple[Option, ...] = usual_options()
    if arguments.target == _GGUF:
        options += block_options(tuple(BLOCKS))
    share = None if arguments.workers.here else shared_gradients(arguments.workers)
    compute(model, calibration, folder, Settings(options), report=report, share=share)


def _answer(
    known: Explored, folder: Path, arguments: ExploreArguments, names: dict[str, str]
) -> Answer:
    """What is known, written and said."""
    front, curve = known.front, known.curve
    low, high = curve.interval(front.loss)
    points = zip(front.bytes, front.loss, curve.increase(front.loss), low, high, strict=True)
    result: dict[str, Any] = {
        "profile": str(folder),
        "target": arguments.target,
        "half_width": known.half_width,
        "enough": known.next is None,
        "own_maps": curve.points,
        "borrowed_from": list(curve.borrowed_from),
        "front": [
            {
                "bytes": int(size),
                "predicted_loss": float(loss),
                "predicted_wer_increase": float(increase),
                "band": [float(least), float(most)],
            }
            for size, loss, increase, least, most in points
        ],
        "measured": [public_record(known.profile, record) for record in known.records],
        "pick": None,
    }
    lines = [_state(known)]
    if known.pick is None:
        lines.append("No map is known to be safe yet: run it again to measure more.")
    else:
        fields, words = _pick(known, known.pick, folder, arguments, names)
        result["pick"] = fields
        lines.append(words)
    write_json(arguments.out / "explored.json", SCHEMA, VERSION, result)
    return Answer(result, "\n".join(lines))


def _report(known: Explored, folder: Path, arguments: ExploreArguments) -> tuple[str | None, str]:
    """The page's report of the pick, else of the recommended size: its path, and a sentence."""
    if arguments.constraints != Constraints():
        return None, f"A report with these demands: {PROGRAM} dashboard, Export."
    path, pick, size = arguments.out / "report.html", "", None
    if known.pick is not None:
        chosen, size = known.map_at(known.pick), float(known.front.bytes[known.pick]) / 1e6
        pick = chosen.digest if known.record_of(chosen) is not None else ""
    try:
        write_report(folder, size, arguments.target, path, pick=pick, speech=known.speech_digest)
    except GenPTQError as error:  # what was measured is there all the same
        return None, str(error)
    return str(path), f"Report: {path}"


def _state(known: Explored) -> str:
    """How well the front is known, in a sentence."""
    measured = f"{len(known.records)} maps measured"
    width = f"known within {100 * known.half_width:.2f} points"
    if known.next is None:
        return f"{measured}; maps that cost up to a point are {width}."
    said = f"{measured}; maps that cost up to a point are {width}."
    first = next(iter(known.records), None)
    if first is not None and 1 / first.words > ENOUGH:
        said += f" A {unit_of(first.normalizer)} is {100 / first.words:.1f} points here: "
        said += "more speech tells more."
    return f"{said} Time is up: run it again to go on."


def _pick(
    known: Explored, point: int, folder: Path, arguments: ExploreArguments, names: dict[str, str]
) -> tuple[dict[str, Any], str]:
    """The recommended map: as fields, and in a line with the command that exports it."""
    chosen, size = known.map_at(point), int(known.front.bytes[point])
    loss, record = float(known.front.loss[point]), known.record_of(chosen)
    path = arguments.out / "pick.json"
    write_bit_map(
        path, known.profile, chosen, target=arguments.target, bytes=size, predicted_loss=loss
    )
    command = [PROGRAM, "export", "--profile", str(folder), "--bitmap", str(path)]
    command += ["--target", arguments.target, "--out", str(arguments.out / "model")]
    if arguments.model is not None:
        command += ["--model", arguments.model]
    for flag, value in zip(("--language", "--task"), arguments.asked, strict=True):
        command += [flag, value] if value else []
    export = shlex.join(command)
    low, high = (100 * float(end) for end in known.curve.interval(loss))
    said = f"predicted {100 * float(known.curve.increase(loss)):+.1f} points"
    said += f" ({low:+.1f} to {high:+.1f})"
    if record is not None:
        least, most = (100 * end for end in record.ci95)
        said = (
            f"measured {100 * record.wer_increase:+.2f} points [{least:+.2f}, {most:+.2f}], {said}"
        )
        said += f". {runaways.in_words(record.runaways, record.utterances, names)}"
    else:
        said += "."
    fields = {
        "bitmap": str(path),
        "bytes": size,
        "predicted_wer": predicted.as_fields(known.curve, None, loss),
        "measured": None if record is None else public_record(known.profile, record),
        "export": export,
    }
    return fields, f"Recommended: {size / 1e6:.2f} MB, {said} Export it with: {export}"


COMMAND = Command(
    name="explore",
    about="Profile a model, measure the maps that teach most, and recommend one.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
