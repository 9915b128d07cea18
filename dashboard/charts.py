"""Figures from core results: pure functions, no Streamlit and no numerics beyond scaling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from genptq_core.front import Front, WerCurve
from genptq_core.options import Option
from genptq_core.store import Measured

from .wording import hover, is_uniform, layout, measured_name, percent, points, widths

# Okabe and Ito, "Color Universal Design" (2008): apart for every common kind of colour vision.
BLUE, SKY, ORANGE, GREEN = "#0072B2", "#56B4E9", "#E69F00", "#009E73"
VERMILION, PURPLE, GREY = "#D55E00", "#CC79A7", "#8A8A8A"

USABLE = 0.20
"""WER increase past which the front's axis is cut off: a transcript so wrong is of no use."""

_TICKS = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.25, 2.5, 3, 3.5, 4, 5, 6, 7, 8)
_LINE_POINTS = 240
_CLICK_POINTS = 48


@dataclass(frozen=True)
class FrontFigure:
    """The front's figure, and how many measured points lie above its axis."""

    figure: go.Figure
    above: int


@dataclass(frozen=True)
class Mark:
    """Where the pick lies: size in bytes, predicted loss, and its measurement if there is one."""

    bytes: int
    loss: float
    digest: str
    measured: Measured | None


def front_figure(
    front: Front,
    curve: WerCurve | None,
    full_wer: float | None,
    records: Sequence[Measured],
    pick: Mark | None,
    largest: float,
    menu: Sequence[Option],
) -> FrontFigure:
    """WER, or predicted loss where no WER can be predicted, against size.

    Args:
        front: the predicted front.
        curve: map from predicted loss to the increase of WER.
        full_wer: WER of full precision on the speech set shown.
        records: what was measured on it.
        pick: the configuration shown.
        largest: right end of the size axis, bytes, if nothing shown lies beyond.
        menu: what the chosen format holds; maps that need more are drawn in grey.
    """
    if full_wer is None or not records:
        return FrontFigure(_loss_figure(front, pick, largest), 0)
    figure = go.Figure()
    top = 100 * (full_wer + USABLE)
    if curve is not None:
        _predicted(figure, front, curve, full_wer)
    above = _measured(figure, records, top, menu)
    if pick is not None:
        if pick.measured is not None:
            height: float | None = 100 * pick.measured.wer
        elif curve is not None:
            height = 100 * (full_wer + float(curve.increase(pick.loss)))
        else:
            height = None
        if height is not None:
            _star(figure, pick, min(height, top), "WER", f"{height:.1f} %")
    figure.add_hline(
        y=100 * full_wer,
        line={"dash": "dash", "color": GREY, "width": 1.5},
        annotation={
            "text": f"full precision {percent(full_wer)}",
            "font": {"size": 11, "color": GREY},
        },
        annotation_position="bottom left",
    )
    low = min([100 * full_wer, *(100 * (m.wer_full_precision + m.ci95[0]) for m in records)])
    figure.update_yaxes(title="Word error rate, %", range=[max(low - 1.5, 0), top + 0.8])
    _size_axis(figure, front, records, pick, largest)
    return FrontFigure(figure, above)


def _thin(front: Front, count: int) -> np.ndarray:
    """Indices of about `count` points of a front, evenly spread over its logarithmic sizes."""
    sizes = np.geomspace(float(front.bytes[0]), float(front.bytes[-1]), count)
    index = np.searchsorted(front.bytes, sizes, side="right") - 1
    return np.unique(np.append(index.clip(0), front.knee))


def _predicted(figure: go.Figure, front: Front, curve: WerCurve, full_wer: float) -> None:
    index = _thin(front, _LINE_POINTS)
    size, loss = front.bytes[index] / 1e6, front.loss[index]
    middle = 100 * (full_wer + curve.increase(loss))
    low, high = (100 * (full_wer + end) for end in curve.interval(loss))
    figure.add_scatter(
        x=np.concatenate([size, size[::-1]]),
        y=np.concatenate([high, np.maximum(low, 0)[::-1]]),
        fill="toself",
        fillcolor="rgba(86,180,233,0.22)",
        line={"width": 0},
        hoverinfo="skip",
        name="predicted, 90 % band",
        mode="lines",
    )
    figure.add_scatter(
        x=size,
        y=middle,
        mode="lines",
        line={"color": SKY, "width": 2.5},
        name="predicted front",
        hoverinfo="skip",
    )
    _click_targets(figure, front, lambda x: 100 * (full_wer + curve.increase(x)), "WER", " %")
    knee = front.knee
    _knee(figure, front, float(100 * (full_wer + curve.increase(front.loss[knee]))))


def _click_targets(
    figure: go.Figure,
    front: Front,
    height: Callable[[np.ndarray], np.ndarray],
    what: str,
    unit: str,
) -> None:
    # Clicks on a bare line select nothing, so markers that do not show carry them.
    index = _thin(front, _CLICK_POINTS)
    figure.add_scatter(
        x=front.bytes[index] / 1e6,
        y=height(front.loss[index]),
        mode="markers",
        marker={"size": 14, "color": SKY, "opacity": 0},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        customdata=[[f"size:{int(front.bytes[i])}", float(front.loss[i])] for i in index],
        hovertemplate=(
            f"<b>predicted</b><br>%{{x:.1f}} MB<br>{what} %{{y:.3~g}}{unit}"
            "<br>loss %{customdata[1]:.3~g} nats a token<br>click to set this size<extra></extra>"
        ),
        showlegend=False,
    )


def _knee(figure: go.Figure, front: Front, height: float) -> None:
    figure.add_scatter(
        x=[front.bytes[front.knee] / 1e6],
        y=[height],
        mode="markers",
        marker={
            "symbol": "line-ns-open",
            "size": 16,
            "color": SKY,
            "line": {"width": 3, "color": SKY},
        },
        name="knee",
        hovertemplate="knee of the predicted front<br>%{x:.1f} MB<extra></extra>",
    )


def _measured(
    figure: go.Figure, records: Sequence[Measured], top: float, menu: Sequence[Option]
) -> int:
    """Draw measured points; returns how many lie above the axis."""
    inside = [m for m in records if 100 * m.wer <= top]
    outside = [m for m in records if 100 * m.wer > top]
    mine = [m for m in inside if set(m.options) <= set(menu)]
    mixed = [m for m in mine if not is_uniform(m.options)]
    uniform = [m for m in mine if is_uniform(m.options)]
    other = [m for m in inside if not set(m.options) <= set(menu)]
    groups = (
        ("measured, other format", "circle", GREY, other),
        ("measured, mixed widths", "circle", BLUE, mixed),
        ("measured, uniform width", "square", PURPLE, uniform),
    )
    for name, symbol, colour, group in groups:
        if not group:
            continue
        wer = np.array([100 * m.wer for m in group])
        ends = np.array([[100 * (m.wer_full_precision + e) for e in m.ci95] for m in group])
        figure.add_scatter(
            x=[m.bytes / 1e6 for m in group],
            y=wer,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": np.maximum(ends[:, 1] - wer, 0),
                "arrayminus": np.maximum(wer - ends[:, 0], 0),
                "thickness": 1.2,
                "width": 4,
            },
            mode="markers+text" if symbol == "square" else "markers",
            text=[f"{m.options[0].bits}" for m in group] if symbol == "square" else None,
            textposition="top right",
            textfont={"color": colour, "size": 11},
            name=name,
            **_points(group, symbol, colour, 10),
        )
    if outside:
        figure.add_scatter(
            x=[m.bytes / 1e6 for m in outside],
            y=[top] * len(outside),
            mode="markers",
            name="measured, above the axis",
            **_points(outside, "triangle-up", GREY, 11),
        )
    return len(outside)


def _points(group: Sequence[Measured], symbol: str, colour: str, size: int) -> dict[str, Any]:
    return {
        "marker": {"symbol": symbol, "color": colour, "size": size, "opacity": 1},
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 1}},
        "customdata": [[f"map:{m.map_digest}", _record_text(m)] for m in group],
        "hovertemplate": "%{customdata[1]}<br>click to pick it<extra></extra>",
    }


def _record_text(record: Measured) -> str:
    low, high = (record.wer_full_precision + end for end in record.ci95)
    return "<br>".join(
        [
            f"<b>measured: {hover(measured_name(record))}</b>",
            f"{record.bytes / 1e6:.2f} MB, {percent(record.reduction_vs_fp32)} under fp32",
            f"{record.avg_bits:.2f} bits on average ({widths(record.options)})",
            layout(record.options),
            f"WER {percent(record.wer)} ({100 * low:.1f} to {100 * high:.1f})",
            f"{points(record.wer_increase)} points on full precision",
            f"loss {record.loss:.3g} measured, {record.predicted_loss:.3g} predicted",
            f"{record.utterances} utterances of {hover(record.speech)}, {hover(record.when)}",
            f"map {record.map_digest[:10]}",
        ]
    )


def _star(figure: go.Figure, pick: Mark, height: float, what: str, value: str) -> None:
    kind = "measured" if pick.measured is not None else "predicted"
    figure.add_scatter(
        x=[pick.bytes / 1e6],
        y=[height],
        mode="markers",
        marker={
            "symbol": "star",
            "size": 15,
            "color": VERMILION if pick.measured is not None else "rgba(0,0,0,0)",
            "line": {"width": 2, "color": VERMILION},
            "opacity": 1,
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        name=f"your pick, {kind}",
        hovertemplate=(
            f"<b>your pick</b><br>%{{x:.2f}} MB<br>{what} {value}, {kind}"
            f"<br>map {pick.digest[:10]}<extra></extra>"
        ),
    )
    figure.add_scatter(
        x=[pick.bytes / 1e6],
        y=[height],
        mode="markers",
        marker={"symbol": "circle-open", "size": 30, "color": VERMILION, "line": {"width": 2}},
        hoverinfo="skip",
        showlegend=False,
    )


def _loss_figure(front: Front, pick: Mark | None, largest: float) -> go.Figure:
    figure = go.Figure()
    index = _thin(front, _LINE_POINTS)
    index = index[front.loss[index] > 0]
    figure.add_scatter(
        x=front.bytes[index] / 1e6,
        y=front.loss[index],
        mode="lines",
        line={"color": SKY, "width": 2.5},
        name="predicted front",
        hoverinfo="skip",
    )
    _click_targets(figure, front, lambda x: x, "loss", "")
    _knee(figure, front, float(front.loss[front.knee]))
    if pick is not None and pick.loss > 0:
        _star(figure, pick, pick.loss, "loss", f"{pick.loss:.3g} nats a token")
    figure.update_yaxes(
        title="Predicted loss, nats a token", type="log", exponentformat="power", dtick=1
    )
    _size_axis(figure, front, (), pick, largest)
    return figure


def _size_axis(
    figure: go.Figure,
    front: Front,
    records: Sequence[Measured],
    pick: Mark | None,
    largest: float,
) -> None:
    low = min([int(front.bytes[0]), *(m.bytes for m in records)])
    high = max([largest, *(m.bytes for m in records if m.bytes <= 1.2 * largest)])
    if pick is not None:
        low, high = min(low, pick.bytes), max(high, pick.bytes)
    ends = math.log10(low / 1e6), math.log10(high / 1e6)
    room = 0.03 * (ends[1] - ends[0])
    ticks = [t * 10**power for power in range(-4, 5) for t in _TICKS]
    ticks = [t for t in ticks if low / 1.1e6 < t < high * 1.1 / 1e6]
    # Logarithmic: the sizes where words are lost would else be crowded at the left edge.
    figure.update_xaxes(
        title="Size, MB (logarithmic)",
        type="log",
        range=[ends[0] - room, ends[1] + room],
        tickvals=ticks,
        ticktext=[f"{t:g}" for t in ticks],
    )
    figure.update_layout(
        height=430,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0, "font": {"size": 11}},
        hoverlabel={"align": "left"},
        clickmode="event+select",
        dragmode=False,
        uirevision="front",
    )
