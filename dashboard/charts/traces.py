"""The traces of the front's figure, one function each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genptq_core.allocation.front import Front
from genptq_core.allocation.wer_curve import WerCurve
from genptq_core.measurement.records import Measured
from genptq_core.options import Option
from genptq_core.speech.normalizers import rate_of

from ..page.costs import MEASURED, PREDICTED
from ..page.marks import Mark, OneWidth
from ..wording import hover, is_uniform, layout, measured_name, percent, points, widths

# Okabe and Ito, "Color Universal Design" (2008): apart for every common kind of colour vision.
BLUE, SKY, ORANGE, GREEN = "#0072B2", "#56B4E9", "#E69F00", "#009E73"
VERMILION, PURPLE, GREY = "#D55E00", "#CC79A7", "#8A8A8A"

LINE_POINTS = 160
_CLICK_POINTS = 48
_BAND = "rgba(86,180,233,0.22)"

Holds = Callable[[Sequence[Option]], bool]
"""Whether the chosen format holds a map."""

Trace = dict[str, Any]
"""A trace as Plotly's JavaScript takes it."""


@dataclass(frozen=True)
class ChartedSet:
    """A speech set on the front's figure.

    Attributes:
        name: its name, as a file says it.
        full_wer: WER of full precision on it, a fraction.
        records: what was measured on it.
        curve: map from predicted loss to the increase of WER on it, or None.
        rate: what its error rate is called: "WER", or "CER" where characters are counted.
    """

    name: str
    full_wer: float
    records: Sequence[Measured]
    curve: WerCurve | None
    rate: str = "WER"

    def height(self, loss: np.ndarray | float) -> np.ndarray:
        """Predicted WER, per cent, of predicted losses; nan without a curve."""
        if self.curve is None:
            return np.full_like(np.asarray(loss, dtype=float), np.nan)
        return np.asarray(100 * (self.full_wer + self.curve.increase(loss)))


Height = Callable[[np.ndarray], np.ndarray]
"""Where predicted losses lie on the chart's axis."""


def thin(front: Front, count: int) -> np.ndarray:
    """Indices of about `count` points of a front, evenly spread over its logarithmic sizes."""
    sizes = np.geomspace(float(front.bytes[0]), float(front.bytes[-1]), count)
    index = np.searchsorted(front.bytes, sizes, side="right") - 1
    return np.unique(np.append(index.clip(0), front.knee))


def listed(values: np.ndarray) -> list[float]:
    """Numbers to five digits: what a screen can show, in few bytes."""
    return [float(f"{value:.5g}") for value in values]


def predicted(front: Front, shown: ChartedSet, top: float) -> list[Trace]:
    """The predicted front and its band; nothing without a curve."""
    if shown.curve is None:
        return []
    index = thin(front, LINE_POINTS)
    size, loss = front.bytes[index] / 1e6, front.loss[index]
    middle = shown.height(loss)
    low, high = (100 * (shown.full_wer + end) for end in shown.curve.interval(loss))
    band = np.concatenate([np.minimum(high, 2 * top), np.maximum(low, 0)[::-1]])
    return [
        {
            "type": "scatter",
            "x": listed(np.concatenate([size, size[::-1]])),
            "y": listed(band),
            "fill": "toself",
            "fillcolor": _BAND,
            "line": {"width": 0},
            "hoverinfo": "skip",
            "name": "predicted, 90 % band",
            "mode": "lines",
        },
        {
            "type": "scatter",
            "x": listed(size),
            "y": listed(middle),
            "mode": "lines",
            "line": {"color": SKY, "width": 2.5},
            "name": "predicted front",
            "hoverinfo": "skip",
        },
    ]


def click_targets(front: Front, height: Height, what: str, unit: str) -> Trace:
    """Points on the front that set a size when they are clicked."""
    # A bare line takes no clicks, so markers that do not show carry them.
    index = thin(front, _CLICK_POINTS)
    return {
        "type": "scatter",
        "x": listed(front.bytes[index] / 1e6),
        "y": listed(height(front.loss[index])),
        "mode": "markers",
        "marker": {"size": 14, "color": SKY, "opacity": 0},
        "customdata": [
            [f"size:{int(front.bytes[i])}", float(f"{front.loss[i]:.3g}")] for i in index
        ],
        "hovertemplate": (
            f"<b>predicted</b><br>%{{x:.1f}} MB<br>{what} %{{y:.3~g}}{unit}"
            "<br>loss %{customdata[1]:.3~g} nats per token<br>click to set this size<extra></extra>"
        ),
        "name": "sizes to click",
        "showlegend": False,
    }


def knee(front: Front, height: float) -> Trace:
    """The knee of the predicted front."""
    return {
        "type": "scatter",
        "x": [float(front.bytes[front.knee] / 1e6)],
        "y": [height],
        "mode": "markers+text",
        "text": ["knee"],
        "textposition": "bottom left",
        "textfont": {"size": 12},
        "marker": {"symbol": "diamond-tall", "size": 13, "color": BLUE},
        "name": "knee",
        "customdata": [[f"size:{int(front.bytes[front.knee])}"]],
        "hovertemplate": (
            "<b>knee of the predicted front</b><br>%{x:.1f} MB<br>below it errors grow fast, above "
            "it each megabyte buys little<br>click to set this size<extra></extra>"
        ),
    }


def recommended(start: Mark | None, height: Height) -> list[Trace]:
    """The recommended size, where there is one."""
    if start is None:
        return []
    return [
        {
            "type": "scatter",
            "x": [start.bytes / 1e6],
            "y": listed(height(np.array([start.loss]))),
            "mode": "markers",
            "marker": {"symbol": "cross", "size": 12, "color": GREEN},
            "name": "recommended",
            "customdata": [[f"size:{start.bytes}"]],
            "hovertemplate": "<br>".join(
                [
                    "<b>recommended</b>",
                    f"{start.bytes / 1e6:.2f} MB",
                    *start.text,
                    "click to set this size<extra></extra>",
                ]
            ),
        }
    ]


def uniform(
    shown: Sequence[OneWidth],
    height: Height,
    *,
    top: float,
    what: str,
    unit: str,
) -> list[Trace]:
    """What runtimes of one width would get, a trace per runtime."""
    symbols = ("triangle-up-open", "triangle-down-open", "pentagon-open", "hexagon-open")
    traces = []
    for place, target in enumerate(dict.fromkeys(u.target for u in shown)):
        widths_of_it = [u for u in shown if u.target == target]
        values = height(np.array([u.loss for u in widths_of_it]))
        text = [
            "<br>".join(
                [
                    f"<b>{hover(u.target)}, every layer at {hover(u.option)}</b>",
                    "predicted, not measured",
                    f"{u.bytes / 1e6:.1f} MB",
                    f"{what} {value:.3g}{unit}",
                    *u.notes,
                ]
            )
            for u, value in zip(widths_of_it, values, strict=True)
        ]
        traces.append(
            {
                "type": "scatter",
                "x": [u.bytes / 1e6 for u in widths_of_it],
                "y": listed(np.minimum(values, top)),
                "mode": "markers+text",
                "text": [hover(u.option) for u in widths_of_it],
                "textposition": _around(widths_of_it, ("bottom", "top")[place % 2]),
                "textfont": {"size": 10},
                "marker": {
                    "symbol": symbols[place % len(symbols)],
                    "size": 11,
                    "color": PURPLE,
                    "line": {"width": 2},
                },
                "customdata": [["", line] for line in text],
                "hovertemplate": "%{customdata[1]}<extra></extra>",
                "name": f"{target}, one width, predicted",
            }
        )
    return traces


def _around(shown: Sequence[OneWidth], side: str) -> list[str]:
    """Where names stand: the smallest's to the left and the largest's to the right, apart."""
    sizes = [u.bytes for u in shown]
    ends = {min(sizes): "left", max(sizes): "right"}
    return [f"{side} {ends.get(size, 'center')}" for size in sizes]


def measured(
    records: Sequence[Measured], top: float, holds: Holds, pick: Mark | None
) -> tuple[list[Trace], int]:
    """Measured points, grey except the one picked, and how many lie above the axis."""
    picked = pick.digest if pick is not None else ""
    inside = [m for m in records if 100 * m.wer <= top]
    outside = [m for m in records if 100 * m.wer > top]
    held = [m for m in inside if holds(m.options)]
    groups = (
        ("measured, other format", "x-thin-open", [m for m in inside if not holds(m.options)]),
        ("measured, mixed widths", "circle", [m for m in held if not is_uniform(m.options)]),
        ("measured, uniform width", "square-open", [m for m in held if is_uniform(m.options)]),
    )
    traces: list[Trace] = []
    for name, symbol, group in groups:
        if not group:
            continue
        heights = [100 * m.wer for m in group]
        trace = points_at(group, heights, symbol=symbol, colour=GREY, picked=picked)
        trace["error_y"] = bars(group, GREY)
        if symbol == "square-open":
            trace |= {
                "mode": "markers+text",
                "text": [f"{m.options[0].bits}" for m in group],
                "textposition": "top right",
                "textfont": {"size": 11},
            }
        traces.append(trace | {"name": name})
    if outside:
        heights = [top] * len(outside)
        trace = points_at(outside, heights, symbol="triangle-up", colour=GREY, picked=picked)
        traces.append(trace | {"name": "measured, above the axis"})
    return traces, len(outside)


def points_at(
    group: Sequence[Measured],
    heights: Sequence[float],
    *,
    symbol: str,
    colour: str,
    picked: str,
) -> Trace:
    """Measured maps as marks that can be clicked, in a colour of their own where one is picked.

    Args:
        group: the measurements.
        heights: where they lie, per cent.
        symbol, colour: what the marks look like.
        picked: digest of the pick, or "".
    """
    colours = [VERMILION if m.map_digest == picked else colour for m in group]
    return {
        "type": "scatter",
        "x": [m.bytes / 1e6 for m in group],
        "y": list(heights),
        "mode": "markers",
        "marker": {"symbol": symbol, "color": colours, "size": 11, "line": {"width": 2}},
        "customdata": [[f"map:{m.map_digest}", record_text(m)] for m in group],
        "hovertemplate": "%{customdata[1]}<br>click to pick it<extra></extra>",
    }


def bars(group: Sequence[Measured], colour: str) -> dict[str, Any]:
    """The 95 % intervals of measured maps."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * max(m.wer_full_precision + m.ci95[1] - m.wer, 0) for m in group],
        "arrayminus": [100 * max(m.wer - m.wer_full_precision - m.ci95[0], 0) for m in group],
        "thickness": 1.2,
        "width": 4,
        "color": colour,
    }


def record_text(record: Measured) -> str:
    """A measurement's whole record, for hovering."""
    low, high = (record.wer_full_precision + end for end in record.ci95)
    return "<br>".join(
        [
            f"<b>measured: {hover(measured_name(record))}</b>",
            f"{record.bytes / 1e6:.2f} MB, {percent(record.reduction_vs_fp32)} under fp32",
            f"{record.avg_bits:.2f} bits on average ({widths(record.options)})",
            layout(record.options),
            f"{rate_of(record.normalizer)} {percent(record.wer)} "
            f"({100 * low:.1f} to {100 * high:.1f})",
            f"{points(record.wer_increase)} points on full precision",
            f"loss {record.loss:.3g} measured, {record.predicted_loss:.3g} predicted",
            f"{record.utterances} utterances of {hover(record.speech)}, {hover(record.when)}",
            f"map {record.map_digest[:10]}",
        ]
    )


def star(pick: Mark, height: float, value: str) -> list[Trace]:
    """The pick, in a ring: a full star where it was measured, a hollow one where predicted.

    Args:
        pick: the pick.
        height: where it lies on the chart's axis.
        value: what its height says, in words.
    """
    measured = pick.cost is not None and pick.cost.record is not None
    kind = MEASURED if measured else PREDICTED
    lines = [f"<b>your pick, {kind}</b>", f"{pick.bytes / 1e6:.2f} MB", value, *pick.text]
    place = {"type": "scatter", "x": [pick.bytes / 1e6], "y": [height], "mode": "markers"}
    star = {
        "symbol": "star" if measured else "star-open",
        "size": 15,
        "color": VERMILION,
        "line": {"width": 2, "color": VERMILION},
    }
    ring = {"symbol": "circle-open", "size": 30, "color": VERMILION, "line": {"width": 2}}
    return [
        {**place, "marker": ring, "hoverinfo": "skip", "showlegend": False, "name": "ring"},
        {
            **place,
            "marker": star,
            "name": f"your pick, {kind}",
            "hovertemplate": "<br>".join([*lines, f"map {pick.digest[:10]}"]) + "<extra></extra>",
        },
    ]
