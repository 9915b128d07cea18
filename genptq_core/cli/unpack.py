"""`genptq unpack`: turn a native export, once, into the form of another runtime."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..export.unpack import WAYS, unpack
from ..progress import Report
from .command import Answer, Command


@dataclass(frozen=True, kw_only=True)
class UnpackArguments:
    """What to unpack, and to what.

    Attributes:
        folder: the native export.
        way: what to unpack it to.
        out: folder for the model.
        width: how to store matrices; None for the way's usual one.
    """

    folder: Path
    way: str
    out: Path
    width: str | None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    parser.add_argument("folder", type=Path, help="a native export")
    parser.add_argument("--to", required=True, help=f"what to unpack it to: {', '.join(WAYS)}")
    parser.add_argument("--out", required=True, type=Path, help="folder for the model")
    parser.add_argument(
        "--width",
        help="; ".join(f"{way.name}: {', '.join(way.widths)}" for way in WAYS.values()),
    )


def from_flags(flags: argparse.Namespace) -> UnpackArguments:
    """The arguments that the flags state."""
    return UnpackArguments(folder=flags.folder, way=flags.to, out=flags.out, width=flags.width)


def run(arguments: UnpackArguments, report: Report) -> Answer:
    """What was written: its files and bytes.

    Raises:
        GenPTQError: the export cannot be unpacked, or the folder cannot be written.
    """
    done = unpack(arguments.folder, arguments.way, arguments.out, arguments.width, report)
    result = {
        "out": str(done.folder),
        "to": done.way,
        "width": done.width,
        "files": list(done.files),
        "bytes": done.bytes,
        "source_bytes": done.source_bytes,
        "runs_in": WAYS[done.way].runs_in,
    }
    text = (
        f"{done.folder}: {done.source_bytes / 1e6:.2f} MB became {done.bytes / 1e6:.2f} MB for "
        f"{done.way}, {done.width}. It runs in {WAYS[done.way].runs_in}."
    )
    return Answer(result, text)


COMMAND = Command(
    name="unpack",
    about="Turn a native export, once, into the form of another runtime.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
