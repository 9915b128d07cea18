"""A second speech set on the front's figure, in shapes and a colour of its own. Pure.

Its predicted front is a dashed line, its measured maps are hourglasses; dotted steps join the
measured maps of a set that no other measured one beats in both size and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genptq_core.allocation.front import Front, undominated
from genptq_core.allocation.wer_curve import WerCurve
from genptq_core.measurement.records import Measured

from ..page.marks import Mark
from ..wording import hover
from .traces import GREY, LINE_POINTS, ORANGE, VERMILION, Holds, Trace, listed, record_text, thin


@dataclass(frozen=True)
class SecondSet:
    """A speech set shown beside the first.

    Attributes:
        name: its name, as a file says it.
        full_wer: WER of full precision on it, a fraction.
        records: what was measured on it.
        curve: map from predicted loss to the increase of WER on it, or None.
    """

    name: str
    full_wer: float
    records: Sequence[Measured]
    curve: WerCurve | None


def predicted(second: SecondSet, front: Front, top: float) -> list[Trace]:
    """The predicted front on the second set, up to the axis' upper end, per cent."""
    if second.curve is None:
        return []
    index = thin(front, LINE_POINTS)
    middle = 100 * (second.full_wer + second.curve.increase(front.loss[index]))
    return [
        {
            "type": "scatter",
            "x": listed(front.bytes[index] / 1e6),
            "y": listed(np.minimum(middle, 2 * top)),
            "mode": "lines",
            "line": {"color": ORANGE, "width": 2, "dash": "dash"},
            "name": f"predicted front, {hover(second.name)}",
            "hoverinfo": "skip",
        }
    ]


def measured(
    second: SecondSet, top: float, holds: Holds, pick: Mark | None
) -> tuple[list[Trace], int]:
    """Measured points of the second set, and how many lie above the axis, where they are arrows."""
    inside = [m for m in second.records if 100 * m.wer <= top]
    outside = [m for m in second.records if 100 * m.wer > top]
    held = [m for m in inside if holds(m.options)]
    other = [m for m in inside if not holds(m.options)]
    name = hover(second.name)
    shown = pick.digest if pick is not None else ""
    traces = []
    for label, symbol, group in (
        (f"measured, {name}", "hourglass", held),
        (f"measured, {name}, other format", "y-up-open", other),
    ):
        if group:
            trace = _points(group, symbol, [100 * m.wer for m in group], shown)
            trace["error_y"] = _bars(group)
            traces.append(trace | {"name": label})
    if outside:
        trace = _points(outside, "triangle-up-dot", [top] * len(outside), shown)
        traces.append(trace | {"name": f"measured, {name}, above the axis"})
    return traces, len(outside)


def measured_front(
    name: str, records: Sequence[Measured], top: float, holds: Holds, colour: str = GREY
) -> list[Trace]:
    """Steps along the measured maps that no other one beats, of those a format holds."""
    mine = [m for m in records if holds(m.options) and 100 * m.wer <= top]
    if len(mine) < 2:
        return []
    best = undominated(np.array([m.bytes for m in mine]), np.array([m.wer for m in mine]))
    return [
        {
            "type": "scatter",
            "x": [mine[i].bytes / 1e6 for i in best],
            "y": [100 * mine[i].wer for i in best],
            "mode": "lines",
            "line": {"color": colour, "width": 1.5, "dash": "dot", "shape": "hv"},
            "name": f"measured front, {hover(name)}",
            "hoverinfo": "skip",
        }
    ]


def _points(group: Sequence[Measured], symbol: str, heights: Sequence[float], shown: str) -> Trace:
    colours = [VERMILION if m.map_digest == shown else ORANGE for m in group]
    return {
        "type": "scatter",
        "x": [m.bytes / 1e6 for m in group],
        "y": list(heights),
        "mode": "markers",
        "marker": {"symbol": symbol, "color": colours, "size": 11, "line": {"width": 1}},
        "customdata": [[f"map:{m.map_digest}", record_text(m)] for m in group],
        "hovertemplate": "%{customdata[1]}<br>click to pick it<extra></extra>",
    }


def _bars(group: Sequence[Measured]) -> Trace:
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * max(m.wer_full_precision + m.ci95[1] - m.wer, 0) for m in group],
        "arrayminus": [100 * max(m.wer - m.wer_full_precision - m.ci95[0], 0) for m in group],
        "thickness": 1.2,
        "width": 4,
        "color": ORANGE,
    }
