"""The command line: parses, prints the answer on standard output and progress on standard error."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from ..errors import PROGRAM, GenPTQError, ModelWarning
from ..progress import Progress, Report, TimeLeft, duration
from .command import Command

COMMANDS = (
    "profile",
    "adapt",
    "explore",
    "report",
    "solve",
    "front",
    "measure",
    "measured",
    "export",
    "unpack",
    "transcribe",
    "doctor",
    "dashboard",
)
"""Names of the commands: each is the `COMMAND` of the module of that name in this folder."""

_BEFORE_PATHS = (
    *("--profile", "--bitmap", "--speech", "--listen", "--model", "--compile", "--out"),
    "--calibration",
    *("--json", "--repair"),
)
"""Flags that take a path, and those that take nothing."""


def main(
    arguments: Sequence[str] | None = None,
    program: str = PROGRAM,
    ready: Callable[[], object] = lambda: None,
) -> int:
    """Run one command.

    Args:
        arguments: as typed, without the program's name; those of this process if absent.
        program: what the program is called in messages.
        ready: called as soon as KeyboardInterrupt is answered here.

    Returns:
        0, or the answer's code; 2 with one line on standard error for what the user can mend; 130
        when stopped.
    """
    # Threads that spin while they wait make a shared two-core machine several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    try:
        ready()
        with warnings.catch_warnings():
            warnings.simplefilter("always", ModelWarning)
            warnings.showwarning = partial(_warn, program, warnings.showwarning)
            return _run(sys.argv[1:] if arguments is None else arguments, program)
    except GenPTQError as error:
        return _refuse(program, str(error))
    except OSError as error:
        # What nobody has put in words: a name that is too long, a disk that fails.
        reason = error.strerror or str(error)
        return _refuse(program, f"{error.filename or 'A file'} cannot be used: {reason}.")
    except KeyboardInterrupt:
        _clear_progress()
        print(f"{program}: stopped; run it again to continue.", file=sys.stderr)
        return 130


def _run(arguments: Sequence[str], program: str) -> int:
    """Answer a command.

    Raises:
        GenPTQError: something that the user can mend.
        OSError: a file cannot be used.
    """
    _check_paths(arguments)
    # One that is named is imported alone: all of them take a moment.
    named = [name for name in COMMANDS if name in arguments[:1]]
    flags = build_parser(program, named or COMMANDS).parse_args(arguments)
    command: Command[Any] = flags.command
    answer = command.answer(flags, _shower())
    _clear_progress()
    try:
        if flags.json:
            print(json.dumps(answer.result, allow_nan=False), flush=True)
        else:
            print(_printable(answer.text), flush=True)
    except BrokenPipeError:
        sys.stderr.close()
    except OSError as error:
        # What is still in its buffer would fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise GenPTQError(f"The answer cannot be written: {error.strerror}.") from error
    return answer.code


def _check_paths(arguments: Sequence[str]) -> None:
    """Refuse paths that name nothing; an empty one would stand for the current folder.

    Raises:
        GenPTQError: there is one.
    """
    before = ""
    for argument in arguments:
        if "\0" in argument:
            raise GenPTQError("An argument holds a null character.", "No file has such a name.")
        flag, equals, value = argument.partition("=")
        if not equals:
            flag, value = before, argument
        if not value and (flag in _BEFORE_PATHS or not flag.startswith("--")):
            raise GenPTQError(f"The path after {flag} is empty.", "Name a file or a folder.")
        before = argument


def _warn(
    program: str,
    otherwise: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *where: Any,
    **more: Any,
) -> None:
    """Say our own warnings in one line; all others as Python says them."""
    if not issubclass(category, ModelWarning):
        otherwise(message, category, *where, **more)
        return
    _clear_progress()
    print(f"{program}: {_printable(' '.join(str(message).split()))}", file=sys.stderr)


def _refuse(program: str, reason: str) -> int:
    """Say in one line what was wrong; returns the exit code."""
    _clear_progress()
    print(f"{program}: {_printable(' '.join(reason.split()))}", file=sys.stderr)
    return 2


def build_parser(
    program: str = PROGRAM, names: Sequence[str] = COMMANDS
) -> argparse.ArgumentParser:
    """The parser of the command line.

    Args:
        program: what the program is called in messages.
        names: of the commands that it shall know.

    Returns:
        A parser whose result has the chosen `Command` as `command`, and that command's flags.
    """
    parser = argparse.ArgumentParser(
        prog=program, description="Mixed-precision quantization of speech recognizers."
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in names:
        command: Command[Any] = import_module(f".{name}", __package__).COMMAND
        subparser = subparsers.add_parser(
            command.name, help=command.about, description=command.about
        )
        subparser.add_argument(
            "--json", action="store_true", help="print one JSON object, nothing else"
        )
        subparser.set_defaults(command=command)
        command.add_flags(subparser)
    return parser


def _printable(text: str) -> str:
    """Text for a terminal, whatever its encoding: names from files may hold control characters."""
    escaped = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    encoding = sys.stdout.encoding or "utf-8"
    return escaped.encode(encoding, "backslashreplace").decode(encoding)


def _shower() -> Report:
    """A report that prints each step, with the time left."""
    clock = TimeLeft()

    def show(progress: Progress) -> None:
        seconds = clock.seconds(progress)
        left = "" if seconds is None else f", about {duration(seconds)} left"
        said = f"{progress.stage} {progress.done}/{progress.total}{left}"
        if sys.stderr.isatty():
            print(f"{said:<78}", end="\r", file=sys.stderr)
        else:
            print(said, file=sys.stderr)

    return show


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print(" " * 78, end="\r", file=sys.stderr)
