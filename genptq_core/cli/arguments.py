"""Flags that several commands share, and how their texts are read."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import ConstraintError
from ..models.asking import TASKS
from ..models.decoding import DECODINGS, GREEDY
from ..options import BLOCKS
from ..speech.languages import LANGUAGES, code_of
from ..storage.locations import bundled_profiles
from ..targets import TARGETS
from ..targets.runtimes import GENPTQ, RUNTIMES
from ..workers.pool import Workers
from .constraints import whole_bytes

SOURCES = "a manifest (JSONL, CSV, TSV), a folder (LibriSpeech, Kaldi), parquet, hf:NAME"

TARGET_HELP = f"the format that must hold the map: {', '.join(TARGETS)}"


def _numbers(text: str, least: float, most: float, example: str) -> tuple[float, ...]:
    try:
        numbers = sorted({float(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or not (least <= numbers[0] and numbers[-1] <= most):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list like {example}, from {least:g} to {most:g}"
        )
    return tuple(numbers)


def _whole_numbers(text: str, least: int, most: int, example: str) -> tuple[int, ...]:
    numbers = _numbers(text, least, most, example)
    if any(number != int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers like {example}")
    return tuple(int(number) for number in numbers)


def widths(text: str) -> tuple[int, ...]:
    """Widths of integer grids, in bits; 0 for none."""
    return () if text == "0" else _whole_numbers(text, 1, 8, "2,3,4,8")


def sizes(text: str) -> tuple[int, ...]:
    """Group sizes, in columns."""
    return _whole_numbers(text, 8, 4096, "32,64,128")


def rates(text: str) -> tuple[float, ...]:
    """Rates of entropy codes, in bits per weight; 0 for none."""
    numbers = () if text == "0" else _numbers(text, 1, 8, "2,2.5,3")
    if any(round(rate, 3) != rate for rate in numbers):
        raise argparse.ArgumentTypeError(f"{text!r}: rates go by thousandths of a bit")
    return numbers


def block_types(text: str) -> tuple[str, ...]:
    """Names of block types; 0 for none."""
    names = () if text == "0" else tuple(part.strip() for part in text.split(","))
    wrong = next((name for name in names if name not in BLOCKS), None)
    if wrong is not None:
        raise argparse.ArgumentTypeError(
            f"{wrong!r} is no block type; there are {', '.join(BLOCKS)}"
        )
    return names


def profile_folder(text: str) -> Path:
    """The folder of a profile: a path, or the bundled profile of that name.

    A folder of that name in the current folder comes first.
    """
    folder = Path(text)
    bundled = bundled_profiles() / text
    is_bare_name = folder.name == text and text not in ("", "..")
    return bundled if is_bare_name and not folder.exists() and bundled.is_dir() else folder


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add `--profile`."""
    parser.add_argument(
        "--profile",
        required=True,
        type=profile_folder,
        help="folder of a profile, or the name of a bundled one",
    )


def add_runs_in(parser: argparse.ArgumentParser) -> None:
    """Add `--runs-in` and `--memory-mb`."""
    forms = [f"{r.name}:{form.name}" for r in RUNTIMES.values() for form in r.forms]
    parser.add_argument(
        "--runs-in",
        default="",
        metavar="RUNTIME[:FORM]",
        help=f"what runs it: {', '.join(RUNTIMES)} (the usual one of the target; of native, "
        f"{GENPTQ}); what native is unpacked into for it: {', '.join(forms)}",
    )
    parser.add_argument(
        "--memory-mb",
        type=float,
        help="most memory that the weights may take in what runs it, 10^6 bytes",
    )


def memory_from_flags(flags: argparse.Namespace) -> int | None:
    """Most bytes of memory, or None.

    Raises:
        ConstraintError: it is no size.
    """
    return bytes_of(flags.memory_mb)


def bytes_of(megabytes: float | None) -> int | None:
    """Bytes of a budget in MB of 10^6 bytes, rounded down; None where none is given.

    Raises:
        ConstraintError: it is no size.
    """
    if megabytes is None:
        return None
    if not 0 < megabytes < 1e9:
        raise ConstraintError(f"A budget of {megabytes} makes no sense.", "Give more than 0.")
    return whole_bytes(megabytes)


def add_model_of_profile(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, for commands that also take a profile."""
    parser.add_argument("--model", help="the profile's model, where it is not at its recorded name")


def add_compile(parser: argparse.ArgumentParser) -> None:
    """Add `--compile`."""
    parser.add_argument(
        "--compile",
        type=Path,
        metavar="MANIFEST",
        help="first round the layers in order and tune norms and biases on this speech, "
        "which needs no texts; minutes, and resumed where it was cut off",
    )


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """Add `--decoding`."""
    parser.add_argument(
        "--decoding",
        choices=tuple(DECODINGS),
        default=GREEDY.name,
        help="fallback decodes again, at rising temperature, what repeats itself or is unlikely, "
        "as runtimes of Whisper do",
    )


def add_language(parser: argparse.ArgumentParser) -> None:
    """Add `--language` and `--task`."""
    parser.add_argument(
        "--language",
        default="",
        help="what a Whisper is asked for: a code like de, or a name; else what rows say, else its "
        "own settings",
    )
    parser.add_argument(
        "--task", choices=TASKS, default="", help="what a Whisper is asked to do; else its own"
    )


def asked_from_flags(flags: argparse.Namespace) -> tuple[str, str]:
    """Language and task, each "" where none is asked for.

    Raises:
        ConstraintError: the language is none that is known.
    """
    code = code_of(flags.language) if flags.language else ""
    if code and code not in LANGUAGES:
        raise ConstraintError(
            f"{flags.language[:40]!r} is no language that is known.",
            "Give a code of ISO 639 like de, or a name like German.",
        )
    return code, flags.task


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the model runs; auto is the GPU where there is one",
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add `--jobs` and `--scheduler`."""
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work")
    parser.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="the Dask scheduler whose workers share it, like tcp://10.0.0.5:8786",
    )


def workers_from_flags(flags: argparse.Namespace) -> Workers:
    """The workers that `--jobs`, `--scheduler` and `--device` name.

    Raises:
        ClusterError: there are fewer than one.
    """
    return Workers(jobs=flags.jobs, scheduler=flags.scheduler, device=flags.device)
