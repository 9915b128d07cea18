"""A second speech set on the front's figure, in shapes and a colour of its own. Pure.

Its predicted front is a dashed line, its measured maps are hourglasses; dotted steps join the
measured maps of a set that no other measured one beats in both size and words.
"""

from __future__ import annotations

import numpy as np

from genptq_core.allocation.front import Front, undominated

from ..page.marks import Mark
from ..wording import hover
from .traces import (
    GREY,
    LINE_POINTS,
    ORANGE,
    ChartedSet,
    Holds,
    Trace,
    bars,
    listed,
    points_at,
    thin,
)


def predicted(second: ChartedSet, front: Front, top: float) -> list[Trace]:
    """The predicted front on the second set, up to the axis' upper end, per cent."""
    if second.curve is None:
        return []
    index = thin(front, LINE_POINTS)
    return [
        {
            "type": "scatter",
            "x": listed(front.bytes[index] / 1e6),
            "y": listed(np.minimum(second.height(front.loss[index]), 2 * top)),
            "mode": "lines",
            "line": {"color": ORANGE, "width": 2, "dash": "dash"},
            "name": f"predicted front, {hover(second.name)}",
            "hoverinfo": "skip",
        }
    ]


def measured(
    second: ChartedSet, top: float, holds: Holds, pick: Mark | None
) -> tuple[list[Trace], int]:
    """Measured points of the second set, and how many lie above the axis, where they are arrows."""
    inside = [m for m in second.records if 100 * m.wer <= top]
    outside = [m for m in second.records if 100 * m.wer > top]
    name = hover(second.name)
    picked = pick.digest if pick is not None else ""
    traces = []
    for label, symbol, group in (
        (f"measured, {name}", "hourglass", [m for m in inside if holds(m.options)]),
        (
            f"measured, {name}, other format",
            "y-up-open",
            [m for m in inside if not holds(m.options)],
        ),
    ):
        if group:
            heights = [100 * m.wer for m in group]
            trace = points_at(group, heights, symbol=symbol, colour=ORANGE, picked=picked)
            traces.append(trace | {"name": label, "error_y": bars(group, ORANGE)})
    if outside:
        trace = points_at(
            outside,
            [top] * len(outside),
            symbol="triangle-up-dot",
            colour=ORANGE,
            picked=picked,
        )
        traces.append(trace | {"name": f"measured, {name}, above the axis"})
    return traces, len(outside)


def measured_front(
    charted: ChartedSet, top: float, holds: Holds, colour: str = GREY
) -> list[Trace]:
    """Steps along the measured maps that no other one beats, of those that a format holds."""
    held = [m for m in charted.records if holds(m.options) and 100 * m.wer <= top]
    if len(held) < 2:
        return []
    best = undominated(np.array([m.bytes for m in held]), np.array([m.wer for m in held]))
    return [
        {
            "type": "scatter",
            "x": [held[i].bytes / 1e6 for i in best],
            "y": [100 * held[i].wer for i in best],
            "mode": "lines",
            "line": {"color": colour, "width": 1.5, "dash": "dot", "shape": "hv"},
            "name": f"measured front, {hover(charted.name)}",
            "hoverinfo": "skip",
        }
    ]
