"""Figures of one map's layers: pure functions, like `charts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import Profile
from genptq_core.units import Unit

from .charts import BLUE, GREEN, GREY, ORANGE
from .wording import hover, tick_labels

PART_COLOURS = {"encoder": BLUE, "decoder": ORANGE, "embedding": GREEN}
PART_NAMES = {"encoder": "Encoder", "decoder": "Decoder", "embedding": "Embedding"}
_DOTTED = {"color": GREY, "width": 0.6, "dash": "dot"}


def layers_figure(
    profile: Profile, options: Sequence[Option], relaxed: Sequence[float]
) -> go.Figure:
    """Width of every unit in the network's own order, and where the bytes go.

    Args:
        profile: the profile.
        options: option of each unit.
        relaxed: width of each unit in the continuous solution; empty where there is none.
    """
    units = profile.units
    labels = tick_labels(units)
    sizes = profile.option_bytes()
    spent = np.array([sizes[i, profile.menu.index(o)] for i, o in enumerate(options)], dtype=float)
    weights = np.array([u.weights for u in units], dtype=float)
    share_bytes, share_weights = 100 * spent / spent.sum(), 100 * weights / weights.sum()
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.76, 0.24], vertical_spacing=0.05
    )
    for part in dict.fromkeys(u.part for u in units):
        rows = [i for i, u in enumerate(units) if u.part == part]
        colour = PART_COLOURS.get(part, GREY)
        text = [
            f"<b>{hover(units[i].name)}</b><br>{hover(units[i].kind)}, "
            f"{units[i].rows} \u00d7 {units[i].columns}<br><b>{options[i].label}</b>"
            + (f", {relaxed[i]:.2f} continuous" if relaxed else "")
            + f"<br>{share_weights[i]:.1f} % of the weights, {share_bytes[i]:.1f} % of the bytes"
            for i in rows
        ]
        common = {
            "x": [labels[i] for i in rows],
            "customdata": text,
            "hovertemplate": "%{customdata}<extra></extra>",
            "marker": {"color": colour},
            "legendgroup": part,
        }
        name = PART_NAMES.get(part, hover(part))
        figure.add_bar(y=[options[i].bits for i in rows], name=name, row=1, col=1, **common)
        figure.add_bar(
            y=[share_bytes[i] for i in rows], row=2, col=1, showlegend=False, opacity=0.75, **common
        )
    if relaxed:
        figure.add_scatter(
            x=labels,
            y=list(relaxed),
            mode="markers",
            marker={"symbol": "line-ew-open", "size": 9, "color": GREY, "line": {"width": 2.5}},
            name="continuous solution",
            hoverinfo="skip",
            row=1,
            col=1,
        )
    ceiling = 16.6 if UNQUANTIZED in options else 8.6
    figure.update_yaxes(title="Bits", range=[0, ceiling], dtick=2, row=1, col=1)
    figure.update_yaxes(title="% of bytes", rangemode="tozero", nticks=3, row=2, col=1)
    # An explicit order keeps the network's; Plotly drops labels by itself where they do not fit.
    figure.update_xaxes(
        type="category",
        categoryorder="array",
        categoryarray=labels,
        range=[-0.6, len(units) - 0.4],
        tickangle=-90,
        tickfont={"size": 9},
    )
    figure.update_layout(
        height=400,
        bargap=0.15,
        barmode="overlay",
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        hoverlabel={"align": "left"},
        dragmode=False,
        uirevision="layers",
        shapes=_separators(units),
    )
    return figure


def _separators(units: Sequence[Unit]) -> list[dict[str, Any]]:
    """Lines between parts, and finer ones between the blocks of encoder and decoder.

    Made as one list: adding them one by one costs more than all the rest of the figure.
    """
    lines = []
    for edge in range(1, len(units)):
        before, after = units[edge - 1], units[edge]
        solid = before.part != after.part
        if solid or (before.block != after.block and after.part != "embedding"):
            ends = {"x0": edge - 0.5, "x1": edge - 0.5, "y0": 0, "y1": 1}
            line = {"color": GREY, "width": 1.5} if solid else _DOTTED
            lines.append({"type": "line", "xref": "x", "yref": "paper", "line": line, **ends})
    return lines
