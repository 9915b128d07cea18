"""The figure of one map's layers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import Profile
from genptq_core.units import Unit

from ..wording import hover
from .component import Figure
from .traces import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, Trace

_PARTS = ("encoder", "decoder", "embedding")
# Hue tells the part, lightness what the layer does; both survive colour blindness.
_COLOURS = {
    ("encoder", "attention"): BLUE,
    ("encoder", "feed-forward"): SKY,
    ("encoder", "convolution"): "#3B6C96",
    ("encoder", "conv-module"): "#8FA8C4",
    ("decoder", "attention"): "#C07A00",
    ("decoder", "cross-attention"): "#8F5B1C",
    ("decoder", "feed-forward"): ORANGE,
    ("decoder", "output"): VERMILION,
    ("embedding", "embedding"): GREEN,
}
_OTHER = "#666666"
_SHORT = {"convolution": "conv", "embedding": "embedding"}
_MANY = 90
"""Units above which marks are small and blocks have no lines between them."""

_LABELS = 28
"""Blocks named on the axis at most."""


@dataclass(frozen=True)
class Layers:
    """What the layers chart shows.

    Attributes:
        options: option of each unit.
        relaxed: width of each unit in the continuous solution; empty where there is none.
        bytes: bytes of each unit as stored, shape (units,).
        sensitivity: predicted loss of each unit alone at one width, nats per token, shape (units,).
        reference: that width in words.
        locked: units that the user's demands bind.
        chosen: the unit picked by a click, or None.
    """

    options: Sequence[Option]
    relaxed: Sequence[float]
    bytes: np.ndarray
    sensitivity: np.ndarray
    reference: str
    locked: Collection[int] = ()
    chosen: int | None = None


def layers_figure(profile: Profile, shown: Layers) -> Figure:
    """Width, sensitivity and part of the bytes of every unit, in the network's own order."""
    units, options = profile.units, shown.options
    count = len(units)
    of_bytes = 100 * shown.bytes / max(float(shown.bytes.sum()), 1.0)
    weights = np.array([u.weights for u in units], dtype=float)
    of_weights = 100 * weights / weights.sum()
    text = [
        f"<b>{hover(unit.name)}</b><br>{hover(unit.kind)}, {unit.rows} \u00d7 {unit.columns}"
        f"<br><b>{options[i].label}</b>"
        + (f", {shown.relaxed[i]:.2f} continuous" if len(shown.relaxed) else "")
        + ("<br>locked" if i in shown.locked else "")
        + f"<br>{of_bytes[i]:.1f} % of the bytes, {of_weights[i]:.1f} % of the weights"
        f"<br>alone at {shown.reference}: loss {shown.sensitivity[i]:.2g}"
        for i, unit in enumerate(units)
    ]
    place = list(range(count))
    colours = [colour(unit) for unit in units]
    common: Trace = {
        "x": place,
        "customdata": [[f"layer:{i}", line] for i, line in enumerate(text)],
        "hovertemplate": "%{customdata[1]}<extra></extra>",
        "showlegend": False,
    }
    name_and_value = {
        "customdata": [[f"layer:{i}", hover(unit.name)] for i, unit in enumerate(units)],
        "hovertemplate": "%{customdata[1]}<br>%{y:.3~g}<extra></extra>",
    }
    bar = {"type": "bar", "marker": {"color": colours, "line": {"width": 0}}}
    positive = np.where(shown.sensitivity > 0, shown.sensitivity, np.nan)
    traces: list[Trace] = [
        {**common, **bar, "y": [option.bits for option in options], "name": "bits"},
        {
            **common,
            **name_and_value,
            "type": "scatter",
            "mode": "markers",
            "marker": {"color": colours, "size": 6 if count <= _MANY else 4},
            "y": [None if np.isnan(v) else float(f"{v:.3g}") for v in positive],
            "yaxis": "y2",
            "name": "sensitivity",
        },
        {
            **common,
            **name_and_value,
            **bar,
            "y": [float(f"{v:.3g}") for v in of_bytes],
            "yaxis": "y3",
            "name": "bytes",
        },
    ]
    if len(shown.relaxed):
        traces.append(
            _marks(place, [round(b, 2) for b in shown.relaxed], "line-ew-open", GREY)
            | {"name": "continuous solution"}
        )
    if shown.locked:
        locked = sorted(shown.locked)
        heights = [options[i].bits + 0.45 for i in locked]
        traces.append(_marks(locked, heights, "triangle-down", VERMILION) | {"name": "locked"})
    traces += _legend(units)
    return {"data": traces, "layout": _layout(units, shown, float(of_bytes.max(initial=0)))}


def colour(unit: Unit) -> str:
    """The colour of a unit's part and kind."""
    return _COLOURS.get((unit.part, unit.kind), _OTHER)


def _marks(x: list[int], y: list[float], symbol: str, shade: str) -> Trace:
    size = 8 if len(x) <= _MANY else 4
    return {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": y,
        "marker": {"symbol": symbol, "size": size, "color": shade, "line": {"width": 2}},
        "hoverinfo": "skip",
    }


def _legend(units: Sequence[Unit]) -> list[Trace]:
    """Empty traces that put part and kind in the legend, in the network's order."""
    kinds = dict.fromkeys((u.part, u.kind) for u in units)
    traces: list[Trace] = []
    for part, kind in sorted(kinds, key=lambda k: _PARTS.index(k[0]) if k[0] in _PARTS else 9):
        name = "Embedding" if part == "embedding" else f"{part.capitalize()} {kind}"
        traces.append(
            {
                "type": "bar",
                "x": [None],
                "y": [None],
                "marker": {"color": _COLOURS.get((part, kind), _OTHER)},
                "name": hover(name),
            }
        )
    return traces


def _layout(units: Sequence[Unit], shown: Layers, most: float) -> dict[str, Any]:
    """The axes and lines; `most` is the largest part of the bytes that a unit takes, per cent."""
    ticks = _block_ticks(units)
    ceiling = 16.9 if UNQUANTIZED in shown.options else 8.9
    return {
        "xaxis": {
            "range": [-0.6, len(units) - 0.4],
            "tickvals": [place for place, _ in ticks],
            "ticktext": [label for _, label in ticks],
            "tickangle": 0,
            "tickfont": {"size": 11},
            "ticks": "",
            "showgrid": False,
            "anchor": "y3",
        },
        "yaxis": {
            "title": {"text": "Bits"},
            "range": [0, ceiling],
            "dtick": 4 if ceiling > 10 else 2,
            "domain": [0.46, 0.97],
        },
        "yaxis2": {
            "title": {"text": "Sensitivity"},
            "type": "log",
            "domain": [0.21, 0.41],
            "exponentformat": "power",
            "nticks": 4,
            "dtick": 1,
        },
        "yaxis3": {
            "title": {"text": "% of bytes"},
            "range": [0, _ceiling(most)],
            "nticks": 3,
            "domain": [0, 0.16],
        },
        "height": 500,
        "bargap": 0.15,
        "barmode": "overlay",
        "margin": {"l": 55, "r": 10, "t": 10, "b": 30},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        "hoverlabel": {"align": "left"},
        "hovermode": "x",
        "dragmode": False,
        "shapes": [*_separators(units), *_chosen(shown.chosen)],
    }


def _ceiling(most: float) -> float:
    """The end of an axis, in steps so coarse that a small change leaves it where it is."""
    return next((end for end in (2.0, 5.0, 10.0, 20.0, 50.0) if most <= end), 100.0)


def _block_ticks(units: Sequence[Unit]) -> list[tuple[float, str]]:
    """The middle of each block and its name; a name per layer would make redraws slow."""
    blocks: dict[tuple[str, int], list[int]] = {}
    for index, unit in enumerate(units):
        blocks.setdefault(_block(unit), []).append(index)
    ticks = []
    for (part, block), places in blocks.items():
        label = f"{part[:1].upper()}{block}" if part in _PARTS[:2] else _SHORT.get(part, part)
        ticks.append(((places[0] + places[-1]) / 2, label))
    every = -(-len(ticks) // _LABELS)
    return ticks[::every]


def _block(unit: Unit) -> tuple[str, int]:
    """What a name on the axis stands for: a layer's block, all convolutions, or the embedding."""
    alone = unit.kind in ("convolution", "embedding")
    return (unit.kind, 0) if alone else (unit.part, unit.block)


def _separators(units: Sequence[Unit]) -> list[dict[str, Any]]:
    """Lines between parts, and finer ones between the blocks of encoder and decoder."""
    lines = []
    for edge in range(1, len(units)):
        before, after = units[edge - 1], units[edge]
        solid = before.part != after.part
        if solid or (_block(before) != _block(after) and len(units) <= _MANY):
            ends = {"x0": edge - 0.5, "x1": edge - 0.5, "y0": 0, "y1": 0.97}
            line = {"color": GREY, "width": 1.5 if solid else 0.6, "dash": "dot"}
            if solid:
                line["dash"] = "solid"
            lines.append({"type": "line", "xref": "x", "yref": "paper", "line": line, **ends})
    return lines


def _chosen(index: int | None) -> list[dict[str, Any]]:
    if index is None:
        return []
    ends = {"x0": index - 0.5, "x1": index + 0.5, "y0": 0, "y1": 0.97}
    line = {"color": VERMILION, "width": 2}
    return [{"type": "rect", "xref": "x", "yref": "paper", "line": line, **ends}]
