"""`genptq export`: write a bit map as a model that a target loads."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bitmaps.bitmap import BitMap
from ..bitmaps.figures import measured_figures
from ..bitmaps.foreign import read_any_map
from ..errors import InfeasibleError
from ..export.runtime_configs import RUNTIME_CONFIGS, export_runtime_config
from ..formats import export_file
from ..measurement.store import load_measured
from ..profile import Profile, load_profile
from ..progress import Report
from ..speech.sources import load_speech
from ..storage.folders import check_delivery
from ..targets import NATIVE, check_holds, target_of
from ..targets.run_commands import commands, to_run
from ..targets.ways import Sizes, Way, as_fields, in_words, way_of
from .arguments import (
    TARGET_HELP,
    add_compile,
    add_device,
    add_language,
    add_model_of_profile,
    add_profile,
    add_runs_in,
    asked_from_flags,
    memory_from_flags,
)
from .command import Answer, Command
from .measured import public_changes

if TYPE_CHECKING:
    from ..export.export import ExportResult


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """What to export, and how.

    Attributes:
        profile: folder of the profile.
        bit_map: file of the bit map.
        target: name of a target, or of a runtime whose configuration is written.
        out: folder for the model.
        model: the profile's model, where it is not at its recorded name; None where it is.
        compile: speech to compile the map on first; None to round as the profile does.
        device: where the model runs.
        runs_in: what runs it; the usual if "".
        memory: most bytes that the weights may take in memory; None for any.
        asked: language and task that the model is asked for; each "" for the profile's.
    """

    profile: Path
    bit_map: Path
    target: str
    out: Path
    model: str | None
    compile: Path | None
    device: str
    runs_in: str = ""
    memory: int | None = None
    asked: tuple[str, str] = ("", "")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    add_profile(parser)
    parser.add_argument("--bitmap", required=True, type=Path, help="a bit map written by solve")
    parser.add_argument(
        "--target",
        default=NATIVE,
        help=f"{TARGET_HELP}; or a configuration alone, {', '.join(RUNTIME_CONFIGS)}",
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for the model")
    add_runs_in(parser)
    add_model_of_profile(parser)
    add_compile(parser)
    add_device(parser)
    add_language(parser)


def from_flags(flags: argparse.Namespace) -> ExportArguments:
    """The arguments that the flags state."""
    return ExportArguments(
        profile=flags.profile,
        bit_map=flags.bitmap,
        target=flags.target,
        out=flags.out,
        model=flags.model,
        compile=flags.compile,
        device=flags.device,
        runs_in=flags.runs_in,
        memory=memory_from_flags(flags),
        asked=asked_from_flags(flags),
    )


def run(arguments: ExportArguments, report: Report) -> Answer:
    """What was written: its files and bytes.

    Raises:
        GenPTQError: the map cannot be held by the target, or the folder cannot be written.
    """
    check_delivery(arguments.out, export_file.NAME)  # before work that takes minutes
    profile = load_profile(arguments.profile)
    found = read_any_map(arguments.bit_map, profile)
    if arguments.target in RUNTIME_CONFIGS:
        answer = _write_runtime_config(arguments, profile, found.map)
    else:
        answer = _write_model(arguments, profile, found.map, report)
    text = f"{answer.text}\n{found.in_words}" if found.changed else answer.text
    return Answer({**answer.result, "changed": public_changes(found)}, text)


def _write_runtime_config(arguments: ExportArguments, profile: Profile, chosen: BitMap) -> Answer:
    files = export_runtime_config(profile, chosen, arguments.target, arguments.out)
    status = RUNTIME_CONFIGS[arguments.target].status
    result = {
        "out": str(arguments.out),
        "target": arguments.target,
        "files": list(files),
        "status": status,
        "digest": chosen.digest,
    }
    text = f"{arguments.out}: a configuration for {arguments.target}, {status}; no weights."
    return Answer(result, text)


def _write_model(
    arguments: ExportArguments, profile: Profile, chosen: BitMap, report: Report
) -> Answer:
    way = _way(arguments, profile, chosen)
    calibration = load_speech(arguments.compile) if arguments.compile else None

    from ..export.export import export
    from ..loading import load_model_of

    model = load_model_of(profile, arguments.model, arguments.device, asked=arguments.asked)
    compiled, figures = None, {}
    if calibration is not None:
        from ..rounding.compilation import compile_map

        compiled = compile_map(model, profile, chosen, calibration, report=report)
    else:
        records = load_measured(arguments.profile, profile.digest)
        own = [r for r in records if r.map_digest == chosen.digest]
        plain = [r for r in own if not r.asked] or own  # the model's own settings before others
        figures = {"measured": measured_figures(plain[-1])} if plain else {}
    exported = export(
        profile,
        chosen,
        arguments.target,
        arguments.out,
        model=model,
        report=report,
        compiled=compiled,
        **figures,
    )
    memory = way.memory(profile, chosen.options)
    sizes = Sizes(download=exported.bytes, weights=exported.weights_bytes, memory=memory)
    runs = commands(way, str(exported.folder))
    result: dict[str, Any] = {
        "out": str(exported.folder),
        "target": exported.target,
        "files": list(exported.files),
        "bytes": exported.bytes,
        "predicted_bytes": exported.predicted_bytes,
        "as_promised": exported.as_promised,
        **as_fields(sizes, way),
        "run": list(runs),
        "disk_bytes": exported.disk_bytes,
        "digest": chosen.digest,
    }
    if compiled:
        result["held_out_loss"] = {
            "before": compiled.before,
            "rounded_in_order": compiled.rounded,
            "tuned": compiled.after,
        }
    text = (
        f"{exported.folder}: {in_words(sizes, way)}; {_kept(exported)} "
        f"{len(exported.files)} files, for {exported.target}.\n{to_run(runs)}"
    )
    return Answer(result, text)


def _way(arguments: ExportArguments, profile: Profile, chosen: BitMap) -> Way:
    """What runs the map.

    Raises:
        ConstraintError: nothing does as asked, or in as little memory.
    """
    check_holds(target_of(arguments.target), profile, chosen.options)
    way = way_of(profile, arguments.target, arguments.runs_in, arguments.memory)
    taken = way.memory(profile, chosen.options)
    if arguments.memory is not None and taken > arguments.memory:
        raise InfeasibleError(
            f"This map takes {taken / 1e6:.2f} MB of memory in {way.name}, and "
            f"{arguments.memory / 1e6:.2f} MB are allowed.",
            "Solve with --memory-mb.",
            smallest=taken,
        )
    return way


def _kept(exported: ExportResult) -> str:
    """Whether the folder is as large as was promised, in words."""
    if exported.as_promised:
        whole = exported.predicted_bytes == exported.bytes
        return "as promised." if whole else "the weights as promised."
    off = exported.bytes - exported.predicted_bytes
    return (
        f"{off:+,} bytes from what was promised, because other versions of libraries write the "
        "settings than when the profile was computed."
    )


COMMAND = Command(
    name="export",
    about="Write a bit map as a model that a target loads.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
