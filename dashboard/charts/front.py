"""The front's figure: pure functions, no Streamlit and no numerics beyond scaling.

A figure is a dictionary as Plotly's JavaScript takes it; see `component`, and `traces` for its
parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genptq_core.allocation.front import Front
from genptq_core.measurement.records import Measured

from ..page.marks import Mark, OneWidth
from ..wording import hover, percent
from . import second_set, traces
from .component import Figure
from .traces import GREY, ORANGE, SKY, ChartedSet, Holds, Trace

USABLE = 0.20
"""WER increase above which the front's axis is cut off: a transcript so wrong is of no use."""

_TICKS = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.25, 2.5, 3, 3.5, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class FrontFigure:
    """The front's figure, and how many measured points lie above its axis."""

    figure: Figure
    above: int


def front_figure(
    front: Front,
    shown: ChartedSet | None,
    *,
    pick: Mark | None,
    largest: float,
    holds: Holds,
    uniform: Sequence[OneWidth] = (),
    start: Mark | None = None,
    second: ChartedSet | None = None,
) -> FrontFigure:
    """WER against size, or predicted loss where nothing was measured.

    Args:
        front: the predicted front.
        shown: the speech set shown, or None where nothing was measured.
        pick: the configuration shown.
        largest: right end of the size axis, bytes, if nothing shown lies beyond.
        holds: whether the chosen format holds a map; those that it does not are marked as others.
        uniform: what runtimes of one width for all layers would get.
        start: the recommended configuration.
        second: another speech set for the same chart.
    """
    if shown is None:
        return FrontFigure(_loss_figure(front, pick, largest, uniform, start), 0)
    top = _top(front, shown)
    if second is not None:
        top = max(top, _top(front, second))
    drawn: list[Trace] = []
    if shown.curve is not None:
        drawn += [
            *traces.predicted(front, shown, top),
            traces.click_targets(front, shown.height, shown.rate, " %"),
            traces.knee(front, float(shown.height(front.loss[front.knee]))),
            *traces.recommended(start, shown.height),
            *traces.uniform(uniform, shown.height, top=top, what=shown.rate, unit=" %"),
        ]
    points, above = traces.measured(shown.records, top, holds, pick)
    drawn += points
    records = [*shown.records]
    if second is not None:
        points, above_too = second_set.measured(second, top, holds, pick)
        above += above_too
        records += second.records
        drawn += second_set.predicted(second, front, top)
        drawn += second_set.measured_front(shown, top, holds)
        drawn += second_set.measured_front(second, top, holds, ORANGE)
        drawn += points
    if pick is not None and pick.cost is not None and pick.cost.wer is not None:
        height = 100 * pick.cost.wer
        drawn += traces.star(pick, min(height, top), f"{shown.rate} {height:.1f} %")
    low = min([100 * shown.full_wer, *(100 * (m.wer_full_precision + m.ci95[0]) for m in records)])
    layout = _layout(front, records, pick, largest, uniform if shown.curve is not None else ())
    layout["yaxis"] = {
        "title": {"text": f"{'Character' if shown.rate == 'CER' else 'Word'} error rate, %"},
        "range": [max(low - 1.0, 0), top * 1.03],
    }
    layout |= _levels(shown.full_wer, second)
    return FrontFigure({"data": drawn, "layout": layout}, above)


def _levels(full_wer: float, second: ChartedSet | None) -> dict[str, Any]:
    """Full precision on each set: dashed lines, and what they are."""
    levels = [(full_wer, f"full precision {percent(full_wer)}", GREY)]
    if second is not None:
        text = f"full precision {percent(second.full_wer)}, {hover(second.name)}"
        levels.append((second.full_wer, text, ORANGE))
    return {
        "shapes": [_level(100 * wer, colour) for wer, _, colour in levels],
        "annotations": [_words(100 * wer, text) for wer, text, _ in levels],
    }


def _level(height: float, colour: str) -> dict[str, Any]:
    """A dashed line across the chart."""
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": height,
        "y1": height,
        "line": {"dash": "dash", "color": colour, "width": 1.5},
    }


def _words(height: float, text: str) -> dict[str, Any]:
    """What a dashed line is, at its left end, in the page's text colour."""
    return {
        "text": text,
        "xref": "paper",
        "x": 0.005,
        "xanchor": "left",
        "y": height,
        "yanchor": "top",
        "showarrow": False,
        "font": {"size": 11},
    }


def _top(front: Front, shown: ChartedSet) -> float:
    """Upper end of the axis, per cent: all that is usable, and no more than is there."""
    limit = 100 * (shown.full_wer + USABLE)
    highest = [100 * (m.wer_full_precision + max(m.ci95[1], m.wer_increase)) for m in shown.records]
    if shown.curve is not None:
        highest.append(float(shown.height(front.loss[0])))
    return min(limit, 1.05 * max(highest))


def _loss_figure(
    front: Front,
    pick: Mark | None,
    largest: float,
    uniform: Sequence[OneWidth],
    start: Mark | None,
) -> Figure:
    index = traces.thin(front, traces.LINE_POINTS)
    index = index[front.loss[index] > 0]
    line = {
        "type": "scatter",
        "x": traces.listed(front.bytes[index] / 1e6),
        "y": traces.listed(front.loss[index]),
        "mode": "lines",
        "line": {"color": SKY, "width": 2.5},
        "name": "predicted front",
        "hoverinfo": "skip",
    }
    drawn = [
        line,
        traces.click_targets(front, np.asarray, "loss", ""),
        traces.knee(front, float(front.loss[front.knee])),
        *traces.recommended(start, np.asarray),
    ]
    lossy = [u for u in uniform if u.loss > 0]  # the axis is logarithmic
    drawn += traces.uniform(lossy, np.asarray, top=np.inf, what="loss", unit="")
    if pick is not None and pick.loss > 0:
        drawn += traces.star(pick, pick.loss, f"loss {pick.loss:.3g} nats per token")
    layout = _layout(front, (), pick, largest, uniform)
    layout["yaxis"] = {
        "title": {"text": "Predicted loss, nats per token"},
        "type": "log",
        "exponentformat": "power",
        "dtick": 1,
    }
    return {"data": drawn, "layout": layout}


def _layout(
    front: Front,
    records: Sequence[Measured],
    pick: Mark | None,
    largest: float,
    uniform: Sequence[OneWidth],
) -> dict[str, Any]:
    sizes = [*(m.bytes for m in records), *(u.bytes for u in uniform)]
    low = min([int(front.bytes[0]), *sizes])
    high = max([largest, *(size for size in sizes if size <= 1.2 * largest)])
    if pick is not None:
        low, high = min(low, pick.bytes), max(high, pick.bytes)
    ends = math.log10(low / 1e6), math.log10(high / 1e6)
    room = 0.03 * (ends[1] - ends[0])
    names = 3 * room if uniform else room  # what stands right of the largest mark
    ticks = [t * 10**power for power in range(-4, 5) for t in _TICKS]
    ticks = [t for t in ticks if low / 1.1e6 < t < high * 1.1 / 1e6]
    return {
        # Logarithmic, or the sizes where words are lost would be crowded at the left edge.
        "xaxis": {
            "title": {"text": "Size, MB (logarithmic)"},
            "type": "log",
            "range": [ends[0] - room, ends[1] + names],
            "tickvals": ticks,
            "ticktext": [f"{t:g}" for t in ticks],
        },
        "height": 430,
        "margin": {"l": 55, "r": 10, "t": 10, "b": 30},
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "font": {"size": 11}},
        "hoverlabel": {"align": "left"},
        "hovermode": "closest",
        "dragmode": False,
    }
