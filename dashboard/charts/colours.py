"""The colours of charts: apart for every common kind of colour vision."""

from __future__ import annotations

from typing import Any

from genptq_core.units import Unit

# Okabe and Ito, "Color Universal Design" (2008).
BLUE, SKY, ORANGE, GREEN = "#0072B2", "#56B4E9", "#E69F00", "#009E73"
VERMILION, GREY = "#D55E00", "#8A8A8A"

# Hue tells the part, lightness what the layer does; both survive colour blindness.
_LAYERS = {
    ("encoder", "attention"): BLUE,
    ("encoder", "feed-forward"): SKY,
    ("encoder", "convolution"): "#3B6C96",
    ("encoder", "conv-module"): "#8FA8C4",
    ("decoder", "attention"): "#C07A00",
    ("decoder", "cross-attention"): "#8F5B1C",
    ("decoder", "feed-forward"): ORANGE,
    ("decoder", "projection"): "#B98A52",
    ("decoder", "prediction"): "#C07A00",
    ("decoder", "joint"): ORANGE,
    ("decoder", "output"): VERMILION,
    ("embedding", "embedding"): GREEN,
}
_OTHER = "#7A7A7A"

Trace = dict[str, Any]
"""A trace as Plotly's JavaScript takes it."""


def colour(unit: Unit) -> str:
    """The colour of a unit's part and kind."""
    return _LAYERS.get((unit.part, unit.kind), _OTHER)
