"""A report of one pick: a single HTML file with its charts inside, which opens offline. Pure."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly

from ..charts.component import Figure


@dataclass(frozen=True)
class Chart:
    """A figure with its heading, and what is said below it."""

    title: str
    figure: Figure
    caption: str


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
        charts, tables: what follows.
        commands: command lines, each with what it does.
        notes: how the figures came about.
    """

    title: str
    summary: str
    figures: Sequence[tuple[str, str]]
    charts: Sequence[Chart]
    tables: Sequence[Table]
    commands: Sequence[tuple[str, str]]
    notes: Sequence[str]


_STYLE = """
:root { color-scheme: light dark; --text: #1f2430; --dim: #5b6270; --line: #d7dbe2; --base: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8eaf0; --dim: #a6adbb; --line: #3b414d; --base: #14171d; }
}
body { margin: 0 auto; max-width: 1080px; padding: 1.5rem 1rem 4rem; color: var(--text);
  background: var(--base); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p, .dim { max-width: 46rem; } .dim { color: var(--dim); font-size: .9rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: .6rem; }
dl div { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .7rem; }
dt { color: var(--dim); font-size: .8rem; } dd { margin: 0; font-size: 1.15rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); border-radius: 6px;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
@media print { .wide { overflow: visible; } }
"""

_SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const style = getComputedStyle(document.documentElement);
  const [text, line, base] = ["--text", "--line", "--base"].map((n) => style.getPropertyValue(n));
  FIGURES.forEach(({ data, layout }, index) => {
    const made = { ...layout, paper_bgcolor: base, plot_bgcolor: base,
      font: { ...layout.font, color: text }, hoverlabel: { bgcolor: base, font: { color: text } } };
    for (const name of Object.keys(layout).filter((n) => /^[xy]axis/.test(n)))
      made[name] = { gridcolor: line, linecolor: line, zeroline: false, automargin: true,
        ...layout[name] };
    Plotly.react("chart" + index, data, made, { displayModeBar: false, responsive: true });
  });
}
dark.addEventListener("change", draw);
draw();
"""

# Nothing in the file may load anything, whatever its texts hold.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)


def to_html(report: Report) -> str:
    """The report as one HTML file; texts from files are shown letter by letter."""
    parts = [
        f"<h1>{_text(report.title)}</h1>",
        f"<p>{_text(report.summary)}</p>",
        "<dl>",
        *(f"<div><dt>{_text(n)}</dt><dd>{_text(v)}</dd></div>" for n, v in report.figures),
        "</dl>",
    ]
    for index, chart in enumerate(report.charts):
        height = int(chart.figure["layout"].get("height", 400))
        parts += [
            f"<h2>{_text(chart.title)}</h2>",
            f'<div id="chart{index}" role="img" aria-label="{_text(chart.title)}"'
            f' style="height:{height}px"></div>',
            f'<p class="dim">{_text(chart.caption)}</p>',
        ]
    for table in report.tables:
        head = "".join(f"<th>{_text(cell)}</th>" for cell in table.head)
        rows = (f"<tr>{''.join(f'<td>{_text(c)}</td>' for c in row)}</tr>" for row in table.rows)
        parts += [
            f"<h2>{_text(table.title)}</h2>",
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>',
            *rows,
            "</tbody></table></div>",
        ]
    if report.commands:
        parts.append("<h2>The same from a command line</h2>")
    for about, command in report.commands:
        parts.append(f'<p class="dim">{_text(about)}</p><pre><code>{_text(command)}</code></pre>')
    parts.append("<h2>How to read it</h2>")
    parts += [f'<p class="dim">{_text(note)}</p>' for note in report.notes]
    figures = _script([chart.figure for chart in report.charts])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(report.title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<script>{_plotly()}</script>\n"
        + f"<script>const FIGURES = {figures};{_SCRIPT}</script>\n</body></html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _script(value: object) -> str:
    """JSON that no text in it can turn into the script's end."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _plotly() -> str:
    path = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")
