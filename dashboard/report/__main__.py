"""Writes the report of a map: `python -m dashboard.report`, which `genptq report` runs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from genptq_core.errors import GenPTQError, InfeasibleError
from genptq_core.storage.files import write_text

from ..charts.live_table import table_of
from ..page import loaders
from ..page.build import scene_of
from ..page.command_line import solve_command
from ..page.knobs import SHORT, Knobs, widths
from .content import report_of
from .html import to_html


def report(
    folder: Path, size_mb: float | None, target: str, pick: str = "", speech: str = ""
) -> str:
    """The report of a profile's map, as HTML.

    Args:
        folder: the profile's folder.
        size_mb: most bytes of the map, MB of 10^6; None for the recommended size.
        target: name of the target that holds it.
        pick: digest of a measured map, in place of the solver's.
        speech: digest of the speech that it is judged on; "" for what is usual.

    Raises:
        GenPTQError: the profile cannot be read, or no map is as small.
    """
    loaded = loaders.load(folder, target)
    measured = loaded.measured
    judged = measured.named(speech[:SHORT]) or measured.usual
    start = loaders.start_of(loaded, judged)
    low, *_, high = widths(loaded.free.menu)
    knobs = Knobs(
        folder.name,
        size_mb=start.size_mb if size_mb is None else size_mb,
        min_bits=low,
        max_bits=high,
        pick=pick[:SHORT],
        speech="" if judged is None else measured.word(judged),
        target=target,
    )
    scene = scene_of(loaded, knobs, loaders.constrain(loaded, knobs), start)
    if scene.pick is None:
        raise scene.infeasible or InfeasibleError("There is no map.", "Raise the size.", smallest=0)
    table = table_of(scene, loaders.whole_drag_of(scene))
    return to_html(report_of(scene, scene.pick, solve_command(scene), table))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a report; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dashboard.report", description=__doc__)
    parser.add_argument("--profile", required=True, type=Path)
    parser.add_argument("--size-mb", type=float)
    parser.add_argument("--target", required=True)
    parser.add_argument("--pick", default="")
    parser.add_argument("--speech", default="")
    parser.add_argument("--out", required=True, type=Path)
    flags = parser.parse_args(arguments)
    logging.getLogger("streamlit").setLevel(logging.ERROR)  # here is no page to keep things for
    try:
        text = report(flags.profile, flags.size_mb, flags.target, flags.pick, flags.speech)
        write_text(flags.out, text)
    except GenPTQError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
