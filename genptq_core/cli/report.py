"""`genptq report`: the page's report of a map, one HTML file.

The report is the page's, which the core does not import: a process of its own writes it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import GenPTQError
from ..progress import Report
from ..targets import NATIVE
from .arguments import TARGET_HELP, profile_folder
from .command import Answer, Command
from .dashboard import PAGE, page_environment


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    """What to report.

    Attributes:
        profile: the profile's folder.
        size_mb: most bytes of the map, MB of 10^6; None for the recommended size.
        target: name of the target that holds it.
        out: the file to write.
    """

    profile: Path
    size_mb: float | None
    target: str
    out: Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    parser.add_argument("--profile", required=True, type=profile_folder, help="folder or name")
    parser.add_argument("--size-mb", type=float, help="the size; else the recommended one")
    parser.add_argument("--target", default=NATIVE, help=TARGET_HELP)
    parser.add_argument("--out", required=True, type=Path, help="the HTML file to write")


def from_flags(flags: argparse.Namespace) -> ReportArguments:
    """The arguments that the flags state."""
    return ReportArguments(
        profile=flags.profile, size_mb=flags.size_mb, target=flags.target, out=flags.out
    )


def run(arguments: ReportArguments, report: Report) -> Answer:
    """Where the report is.

    Raises:
        GenPTQError: the page is not installed, or it cannot report of this.
    """
    write_report(arguments.profile, arguments.size_mb, arguments.target, arguments.out)
    return Answer({"report": str(arguments.out)}, f"Wrote {arguments.out}.")


def write_report(
    profile: Path,
    size_mb: float | None,
    target: str,
    out: Path,
    *,
    pick: str = "",
    speech: str = "",
) -> None:
    """Write the page's report of a map.

    Args:
        profile: the profile's folder.
        size_mb: most bytes of the map, MB of 10^6; None for the recommended size.
        target: name of the target that holds it.
        out: the file to write.
        pick: digest of a measured map, in place of the solver's.
        speech: digest of the speech that it is judged on; "" for what is usual.

    Raises:
        GenPTQError: the page is not installed, or it cannot report of this.
    """
    if not PAGE.is_file():
        raise GenPTQError(f"The page is not installed: {PAGE} is missing.", "Install it again.")
    command = [sys.executable, "-m", "dashboard.report", "--profile", str(profile)]
    command += [] if size_mb is None else ["--size-mb", f"{size_mb:.6f}"]
    command += ["--target", target, "--pick", pick, "--speech", speech, "--out", str(out)]
    environment = page_environment()
    # The page that belongs to this core, wherever it was started.
    paths = (str(PAGE.parents[1]), environment.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise GenPTQError(f"No report could be written. {reason}")


COMMAND = Command(
    name="report",
    about="Write the page's report of a map as one HTML file, which opens offline.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
