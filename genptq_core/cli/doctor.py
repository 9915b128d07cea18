"""`genptq doctor`: check the cache, profiles and bundled files, and repair what can be."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..progress import Report
from .command import Answer, Command
from .health import examine, notes, repair


@dataclass(frozen=True, kw_only=True)
class DoctorArguments:
    """What to check.

    Attributes:
        path: a folder or a bit map; None for everything.
        repair: whether to repair what can be.
    """

    path: Path | None
    repair: bool


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    parser.add_argument("path", nargs="?", type=Path, help="check this folder or bit map only")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="set damaged stores aside and keep their sound records, delete damaged cache entries "
        "and what killed runs left",
    )


def from_flags(flags: argparse.Namespace) -> DoctorArguments:
    """The arguments that the flags state."""
    return DoctorArguments(path=flags.path, repair=flags.repair)


def run(arguments: DoctorArguments, report: Report) -> Answer:
    """What was checked, the problems, and what was repaired; the exit code is 1 with problems left.

    Raises:
        GenPTQError: the path does not exist or holds nothing to check, or a store's folder cannot
            be written.
    """
    repaired = repair(arguments.path) if arguments.repair else []
    checked, problems = examine(arguments.path)
    noted = notes(arguments.path)
    lines = [f"{len(checked)} checked, {len(problems)} with problems.", *problems]
    lines += [f"Repaired: {what}" for what in repaired]
    lines += [f"Not touched: {what}" for what in noted]
    result: dict[str, Any] = {"checked": checked, "problems": problems, "notes": noted}
    if arguments.repair:
        result["repaired"] = repaired
    return Answer(result, "\n".join(lines), code=1 if problems else 0)


COMMAND = Command(
    name="doctor",
    about="Check the cache, profiles and bundled files.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
