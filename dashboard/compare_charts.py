"""Figures of two maps side by side: pure functions, like `charts`."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from genptq_core.comparison import Comparison
from genptq_core.profile import Profile

from .charts import BLUE, GREY, VERMILION
from .wording import hover, tick_labels

LEFT, RIGHT = BLUE, VERMILION


def transition_figure(found: Comparison) -> go.Figure:
    """How many layers go from which width on the left to which on the right."""
    total = max(int(found.weights.sum()), 1)
    share = 100 * found.weights / total
    labels = [f"{width:g}" for width in found.widths]
    text = [[str(n) if n else "" for n in row] for row in found.units]
    figure = go.Figure(
        go.Heatmap(
            z=np.where(found.units > 0, share, np.nan),
            x=labels,
            y=labels,
            text=text,
            texttemplate="%{text}",
            customdata=found.units,
            hovertemplate=(
                "A at %{y} bits, B at %{x} bits<br>%{customdata} layers, %{z:.1f} % of the weights"
                "<extra></extra>"
            ),
            colorscale=[[0, "#DCEBF5"], [1, BLUE]],
            zmin=0,
            xgap=2,
            ygap=2,
            hoverongaps=False,
            colorbar={"title": {"text": "% of<br>weights", "font": {"size": 11}}, "thickness": 12},
        )
    )
    ends = [-0.5, len(labels) - 0.5]
    figure.add_shape(
        type="line",
        x0=ends[0],
        y0=ends[0],
        x1=ends[1],
        y1=ends[1],
        line={"color": GREY, "width": 1, "dash": "dot"},
    )
    figure.update_xaxes(title="bits in B", type="category", range=ends, showgrid=False)
    figure.update_yaxes(
        title="bits in A", type="category", range=ends, showgrid=False, scaleanchor="x"
    )
    figure.update_layout(height=380, margin={"l": 10, "r": 10, "t": 10, "b": 10}, dragmode=False)
    return figure


def changes_figure(profile: Profile, found: Comparison) -> go.Figure:
    """Widths of the layers that differ, in the network's order: A as circles, B as diamonds."""
    changes = sorted(found.changes, key=lambda change: change.unit)
    labels = tick_labels(profile.units)
    x = [labels[change.unit] for change in changes]
    names = [hover(profile.units[change.unit].name) for change in changes]
    figure = go.Figure()
    spans: list[tuple[str | None, float | None]] = []
    for label, change in zip(x, changes, strict=True):
        spans += [(label, change.left.bits), (label, change.right.bits), (None, None)]
    figure.add_scatter(
        x=[label for label, _ in spans],
        y=[bits for _, bits in spans],
        mode="lines",
        line={"color": GREY, "width": 1.5},
        hoverinfo="skip",
        showlegend=False,
    )
    sides = (("A", "circle", LEFT, 9), ("B", "diamond", RIGHT, 9))
    for name, symbol, colour, size in sides:
        options = [change.left if name == "A" else change.right for change in changes]
        figure.add_scatter(
            x=x,
            y=[option.bits for option in options],
            mode="markers",
            name=f"bits in {name}",
            marker={"symbol": symbol, "size": size, "color": colour},
            customdata=[
                [layer, option.label, change.bytes / 1e3, change.loss]
                for layer, option, change in zip(names, options, changes, strict=True)
            ],
            hovertemplate=(
                f"<b>{name}</b> %{{customdata[0]}}<br>%{{customdata[1]}}"
                "<br>A to B: %{customdata[2]:+,.0f} kB, "
                "%{customdata[3]:+.2g} nats a token<extra></extra>"
            ),
        )
    figure.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=x,
        tickangle=-90,
        tickfont={"size": 10},
        range=[-0.7, len(x) - 0.3],
    )
    figure.update_yaxes(title="bits", rangemode="tozero")
    figure.update_layout(
        height=330,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.12, "x": 0},
        dragmode=False,
        hoverlabel={"align": "left"},
    )
    return figure
