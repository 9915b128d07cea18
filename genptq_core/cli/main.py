"""The command line: one function a command, JSON on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import errors
from ..export import runtime_configs
from ..options import RATES
from ..progress import Progress
from ..targets import NATIVE, TARGETS
from . import commands
from .arguments import add_constraints, rates, sizes, widths

PROGRAM = "python -m genptq_core"

MODELS = "whisper-tiny.en, conformer-an4"
SOURCES = "a manifest (JSONL, CSV), LibriSpeech's folders, parquet, hf:NAME"

_TARGETS = f"the format that must hold the map: {', '.join(TARGETS)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 2 with one line on standard error for what the user can mend.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        result, text = options.run(options)
    except errors.GenPTQError as error:
        _clear_progress()
        print(f"{PROGRAM}: {_printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        _clear_progress()
        print(f"{PROGRAM}: stopped; run it again to continue.", file=sys.stderr)
        return 130
    _clear_progress()
    try:
        print(json.dumps(result, allow_nan=False) if options.json else _printable(text), flush=True)
    except BrokenPipeError:
        sys.stderr.close()
    return 0


def _printable(text: str) -> str:
    """Text for a terminal, whatever its encoding: names from files may hold control characters."""
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Mixed-precision quantization of speech recognizers."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, about: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=about, description=about)
        sub.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
        sub.set_defaults(run=run, report=_show)
        return sub

    sub = command("profile", commands.profile_command, "Compute and cache a model's sensitivities.")
    sub.add_argument("--model", required=True, help=f"{MODELS}, a local folder, a hub name")
    sub.add_argument("--speech", required=True, help=f"calibration speech: {SOURCES}")
    sub.add_argument("--limit", type=int, help="use only the first N utterances")
    sub.add_argument("--listen", help="more speech, for the statistics of inputs alone")
    sub.add_argument(
        "--bits", type=widths, default=(2, 3, 4, 5, 6, 8), help="integer widths to offer"
    )
    sub.add_argument(
        "--group-size",
        type=sizes,
        default=(64,),
        help="columns that share a scale; several: 32,64",
    )
    sub.add_argument(
        "--rates", type=rates, default=RATES, help="bits a weight of entropy codes; none: 0"
    )
    sub.add_argument("--draws", type=int, default=4, help="label draws an utterance")
    sub.add_argument("--seed", type=int, default=0)
    _add_device(sub)
    sub.add_argument(
        "--max-memory", type=float, metavar="GB", help="refuse before the work what takes more"
    )
    sub.add_argument("--out", required=True, type=Path, help="folder for the profile")
    _add_workers(sub)

    sub = command("solve", commands.solve_command, "Find the best bit map within one budget.")
    _add_profile(sub)
    budget = sub.add_mutually_exclusive_group(required=True)
    budget.add_argument("--size-mb", type=float, help="size of the whole model, 10^6 bytes")
    budget.add_argument("--avg-bits", type=float, help="mean bits a quantized weight")
    budget.add_argument(
        "--max-wer-increase", type=float, help="a fraction: 0.01 is one percentage point"
    )
    sub.add_argument("--target", default=NATIVE, help=_TARGETS)
    add_constraints(sub)
    sub.add_argument("--out", type=Path, help="write the bit map here")

    sub = command("front", commands.front_command, "Draw the whole predicted front.")
    _add_profile(sub)
    sub.add_argument("--target", default=NATIVE, help=_TARGETS)
    add_constraints(sub)
    sub.add_argument("--out", type=Path, help="write the front here, as CSV")

    sub = command(
        "measure",
        commands.measure_command,
        "Decode speech with the quantized model; report its WER.",
    )
    _add_profile(sub)
    sub.add_argument(
        "--bitmap",
        required=True,
        type=Path,
        action="append",
        help="a bit map written by solve, or a folder of them; may be given again",
    )
    sub.add_argument("--speech", required=True, help=f"speech with reference texts: {SOURCES}")
    sub.add_argument(
        "--normalizer", default="", help="whisper-english or basic; else what fits the model"
    )
    sub.add_argument("--limit", type=int, help="use only the first N utterances")
    sub.add_argument("--model", help="the profile's model, where it is not at its recorded name")
    sub.add_argument(
        "--label", default="", help="a name for tables; of several maps, before the file's"
    )
    _add_workers(sub)
    sub.add_argument(
        "--stop-when-decided",
        type=float,
        metavar="POINTS",
        help="stop at a random part of the speech by which the WER increase is surely below or "
        "surely above this, in percentage points",
    )
    _add_compile(sub)
    _add_device(sub)

    sub = command("measured", commands.measured_command, "List the measured configurations.")
    _add_profile(sub)

    sub = command(
        "export", commands.export_command, "Write a bit map as a model that a target loads."
    )
    _add_profile(sub)
    sub.add_argument("--bitmap", required=True, type=Path, help="a bit map written by solve")
    sub.add_argument(
        "--target",
        default=NATIVE,
        help=f"{_TARGETS}; or a recipe, {', '.join(runtime_configs.RUNTIME_CONFIGS)}",
    )
    sub.add_argument("--out", required=True, type=Path, help="folder for the model")
    sub.add_argument("--model", help="the profile's model, where it is not at its recorded name")
    _add_compile(sub)
    _add_device(sub)

    sub = command("transcribe", commands.transcribe_command, "Transcribe audio files.")
    sub.add_argument(
        "--model", required=True, help="whisper-tiny.en, a local folder, an export, a hub name"
    )
    sub.add_argument("audio", nargs="+", type=Path)

    sub = command("doctor", commands.doctor_command, "Check the cache, profiles and bundled files.")
    sub.add_argument("path", nargs="?", type=Path, help="check this folder or bit map only")
    sub.add_argument(
        "--repair",
        action="store_true",
        help="set damaged stores aside and keep their sound records, delete damaged cache entries "
        "and what killed runs left",
    )
    return parser


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", required=True, type=Path, help="folder of a profile")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work")
    parser.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="the Dask scheduler whose workers share it, like tcp://10.0.0.5:8786",
    )


def _add_compile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--compile",
        type=Path,
        metavar="MANIFEST",
        help="first round the layers in order and tune norms and biases on this speech, "
        "which needs no texts; minutes, and resumed where it was cut off",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the model runs; auto is the GPU where there is one",
    )


def _show(progress: Progress) -> None:
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"{progress.stage} {progress.done}/{progress.total}    ", end=end, file=sys.stderr)


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print(" " * 60, end="\r", file=sys.stderr)
