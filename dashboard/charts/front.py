"""The front's figure: pure functions, no Streamlit and no numerics beyond scaling.

A figure is a dictionary as Plotly's JavaScript takes it; see `plot`, and `traces` for its parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genptq_core.allocation.front import Front
from genptq_core.allocation.wer_curve import WerCurve
from genptq_core.measurement.records import Measured

from ..page.marks import Mark, OneWidth
from ..wording import hover, percent
from . import second_set as other
from . import traces as draw
from .component import Figure
from .second_set import SecondSet
from .traces import GREY, ORANGE, SKY, Holds, Trace

USABLE = 0.20
"""WER increase past which the front's axis is cut off: a transcript so wrong is of no use."""

_TICKS = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.25, 2.5, 3, 3.5, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class FrontFigure:
    """The front's figure, and how many measured points lie above its axis."""

    figure: Figure
    above: int


def front_figure(
    front: Front,
    curve: WerCurve | None,
    full_wer: float | None,
    records: Sequence[Measured],
    pick: Mark | None,
    largest: float,
    holds: Holds,
    uniform: Sequence[OneWidth] = (),
    start: Mark | None = None,
    second: SecondSet | None = None,
    first: str = "",
) -> FrontFigure:
    """WER, or predicted loss where no WER can be predicted, against size.

    Args:
        front: the predicted front.
        curve: map from predicted loss to the increase of WER.
        full_wer: WER of full precision on the speech set shown.
        records: what was measured on it.
        pick: the configuration shown.
        largest: right end of the size axis, bytes, if nothing shown lies beyond.
        holds: whether the chosen format holds a map; those that it does not are marked as others.
        uniform: what runtimes of one width for all layers would get.
        start: the recommended configuration.
        second: another speech set to show beside it.
        first: name of the speech set shown, where there is another.
    """
    if full_wer is None or not records:
        return FrontFigure(_loss_figure(front, pick, largest, uniform, start), 0)
    top = _top(front, curve, full_wer, records)
    if second is not None:
        top = max(top, _top(front, second.curve, second.full_wer, second.records))
    traces: list[Trace] = []
    if curve is not None:
        known = curve  # for the lambdas

        def wer(loss: np.ndarray | float) -> np.ndarray:
            return np.asarray(100 * (full_wer + known.increase(loss)))

        traces += [
            *draw.predicted(front, curve, full_wer, top),
            draw.click_targets(front, wer, "WER", " %"),
        ]
        traces += [draw.knee(front, float(wer(front.loss[front.knee])))]
        traces += draw.recommended(start, wer)
        traces += draw.uniform(uniform, wer, top, "WER", " %")
    points, above = draw.measured(records, top, holds, pick)
    traces += points
    everything = [*records]
    if second is not None:
        more, others = other.measured(second, top, holds, pick)
        above += others
        everything += second.records
        traces += other.predicted(second, front, top)
        traces += other.measured_front(first, records, top, holds)
        traces += other.measured_front(second.name, second.records, top, holds, ORANGE)
        traces += more
    height = _height(pick, curve, full_wer)
    if pick is not None and height is not None:
        traces += draw.star(pick, min(height, top), f"WER {height:.1f} %")
    low = min([100 * full_wer, *(100 * (m.wer_full_precision + m.ci95[0]) for m in everything)])
    made = _layout(front, everything, pick, largest, uniform if curve is not None else ())
    made["yaxis"] = {
        "title": {"text": "Word error rate, %"},
        "range": [max(low - 1.0, 0), top * 1.03],
    }
    made |= _levels(full_wer, second)
    return FrontFigure({"data": traces, "layout": made}, above)


def _height(pick: Mark | None, curve: WerCurve | None, full_wer: float) -> float | None:
    """WER of the pick, per cent: measured, else predicted, else not known."""
    if pick is None:
        return None
    if pick.measured is not None:
        return 100 * pick.measured.wer
    return None if curve is None else 100 * (full_wer + float(curve.increase(pick.loss)))


def _levels(full_wer: float, second: SecondSet | None) -> dict[str, Any]:
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
    """What a dashed line is, at its left end; in the page's own colour, which is read best."""
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


def _top(
    front: Front, curve: WerCurve | None, full_wer: float, records: Sequence[Measured]
) -> float:
    """Upper end of the axis, per cent: all that is usable, and no more than is there."""
    limit = 100 * (full_wer + USABLE)
    highest = [100 * (m.wer_full_precision + max(m.ci95[1], m.wer_increase)) for m in records]
    if curve is not None:
        highest.append(100 * (full_wer + float(curve.increase(front.loss[0]))))
    return min(limit, 1.05 * max(highest))


def _loss_figure(
    front: Front,
    pick: Mark | None,
    largest: float,
    uniform: Sequence[OneWidth],
    start: Mark | None,
) -> Figure:
    index = draw.thin(front, draw.LINE_POINTS)
    index = index[front.loss[index] > 0]
    line = {
        "type": "scatter",
        "x": draw.listed(front.bytes[index] / 1e6),
        "y": draw.listed(front.loss[index]),
        "mode": "lines",
        "line": {"color": SKY, "width": 2.5},
        "name": "predicted front",
        "hoverinfo": "skip",
    }
    traces = [line, draw.click_targets(front, np.asarray, "loss", "")]
    traces.append(draw.knee(front, float(front.loss[front.knee])))
    traces += draw.recommended(start, np.asarray)
    above = [u for u in uniform if u.loss > 0]
    traces += draw.uniform(above, np.asarray, np.inf, "loss", "")
    if pick is not None and pick.loss > 0:
        traces += draw.star(pick, pick.loss, f"loss {pick.loss:.3g} nats a token")
    made = _layout(front, (), pick, largest, uniform)
    made["yaxis"] = {
        "title": {"text": "Predicted loss, nats a token"},
        "type": "log",
        "exponentformat": "power",
        "dtick": 1,
    }
    return {"data": traces, "layout": made}


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
        # Logarithmic: the sizes where words are lost would else be crowded at the left edge.
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
