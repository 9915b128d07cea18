"""A report as a single HTML file with the live screen inside, which opens offline. Pure.

`report.html.jinja` says how it looks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ..charts.live import markup, script, style


@dataclass(frozen=True)
class Table:
    """A table with its heading; cells as people read them."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Report:
    """What a report says, in plain text.

    Attributes:
        title: its heading.
        summary: sentences under it.
        figures: the pick's figures, by name.
        table, pick: what the live screen shows; see `charts.live_table` and `charts.live_pick`.
        tables: what follows.
        commands: command lines, each with what it does.
        notes: how the figures came about.
    """

    title: str
    summary: str
    figures: Sequence[tuple[str, str]]
    table: dict[str, Any]
    pick: dict[str, Any]
    tables: Sequence[Table]
    commands: Sequence[tuple[str, str]]
    notes: Sequence[str]


def to_html(report: Report) -> str:
    """The report as one HTML file; texts from files are shown letter by letter."""
    return _template().render(
        report=report,
        markup=markup(),
        style=style(),
        script=script("report.js"),
        table=_script(report.table),
        pick=_script(report.pick),
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.jinja")


def _script(value: object) -> str:
    """JSON in which no text can end the script that it is in."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
