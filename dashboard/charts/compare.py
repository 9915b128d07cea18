"""Figures of two maps side by side. Pure."""

from __future__ import annotations

from genptq_core.measurement.comparison import Change, Comparison
from genptq_core.profile import Profile
from genptq_core.units import readable

from ..wording import hover, tick_labels
from .colours import BLUE, GREY, VERMILION, Trace
from .component import Figure


def transition_figure(comparison: Comparison) -> Figure:
    """How many layers go from which width on the left to which on the right."""
    total = max(int(comparison.weights.sum()), 1)
    labels = [f"{width:g}" for width in comparison.widths]
    units, weights = comparison.units.tolist(), comparison.weights.tolist()
    ends = [-0.5, len(labels) - 0.5]
    axis = {"type": "category", "range": ends, "showgrid": False}
    return {
        "data": [
            {
                "type": "heatmap",
                "x": labels,
                "y": labels,
                "z": [
                    [100 * w / total if n else None for n, w in zip(*rows, strict=True)]
                    for rows in zip(units, weights, strict=True)
                ],
                "text": [[str(n) if n else "" for n in row] for row in units],
                "texttemplate": "%{text}",
                "hovertemplate": (
                    "A at %{y} bits, B at %{x} bits<br>%{text} layers, %{z:.1f} % of the weights"
                    "<extra></extra>"
                ),
                "colorscale": [[0, "#DCEBF5"], [1, BLUE]],
                "zmin": 0,
                "xgap": 2,
                "ygap": 2,
                "hoverongaps": False,
                "colorbar": {
                    "title": {"text": "% of<br>weights", "font": {"size": 11}},
                    "thickness": 12,
                },
            }
        ],
        "layout": {
            "xaxis": {**axis, "title": {"text": "bits in B"}},
            "yaxis": {**axis, "title": {"text": "bits in A"}, "scaleanchor": "x"},
            "shapes": [
                {
                    "type": "line",
                    "x0": ends[0],
                    "y0": ends[0],
                    "x1": ends[1],
                    "y1": ends[1],
                    "line": {"color": GREY, "width": 1, "dash": "dot"},
                }
            ],
            "height": 380,
            "margin": {"l": 55, "r": 10, "t": 10, "b": 50},
            "dragmode": False,
        },
    }


def changes_figure(profile: Profile, comparison: Comparison) -> Figure:
    """Widths of the layers that differ, in the network's order: A as circles, B as diamonds."""
    changes = sorted(comparison.changes, key=lambda change: change.unit)
    labels = tick_labels(profile.units)
    x = [labels[change.unit] for change in changes]
    names = [hover(readable(profile.units[change.unit])) for change in changes]
    spans: list[tuple[str | None, float | None]] = []
    for label, change in zip(x, changes, strict=True):
        spans += [(label, change.left.bits), (label, change.right.bits), (None, None)]
    between = {
        "type": "scatter",
        "x": [label for label, _ in spans],
        "y": [bits for _, bits in spans],
        "mode": "lines",
        "line": {"color": GREY, "width": 1.5},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return {
        "data": [
            between,
            _side("A", x, names, changes),
            _side("B", x, names, changes),
        ],
        "layout": {
            "xaxis": {
                "type": "category",
                "categoryorder": "array",
                "categoryarray": x,
                "tickangle": -90,
                "tickfont": {"size": 11},
                "range": [-0.7, len(x) - 0.3],
            },
            "yaxis": {"title": {"text": "bits"}, "rangemode": "tozero"},
            "height": 330,
            "margin": {"l": 50, "r": 10, "t": 10, "b": 70},
            "legend": {"orientation": "h", "y": 1.12, "x": 0},
            "dragmode": False,
            "hoverlabel": {"align": "left"},
        },
    }


def _side(name: str, x: list[str], names: list[str], changes: list[Change]) -> Trace:
    """One map's widths; `name` is A or B."""
    first = name == "A"
    options = [change.left if first else change.right for change in changes]
    return {
        "type": "scatter",
        "x": x,
        "y": [option.bits for option in options],
        "mode": "markers",
        "name": f"bits in {name}",
        "marker": {
            "symbol": "circle" if first else "diamond",
            "size": 9,
            "color": BLUE if first else VERMILION,
        },
        "text": [
            f"{layer}<br>{option.label}<br>A to B: {change.bytes / 1e3:+,.0f} kB, "
            f"{change.loss:+.2g} nats per token"
            for layer, option, change in zip(names, options, changes, strict=True)
        ],
        "hovertemplate": f"<b>{name}</b> %{{text}}<extra></extra>",
    }
