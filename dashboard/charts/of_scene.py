"""The two charts of a scene, as the views and the report show them. Pure."""

from __future__ import annotations

import numpy as np

from genptq_core.measurement.speech_sets import MeasuredSet

from ..page.marks import Mark
from ..page.scene import Scene
from ..wording import bound, layout, percent, widths
from .component import Figure
from .front import FrontFigure, front_figure
from .layers import Layers, layers_figure
from .traces import ChartedSet

REFERENCE_BITS = 3
"""Width, or the nearest on offer, at which layers' sensitivities are compared."""


def front_of(scene: Scene) -> FrontFigure:
    """The front with the pick on it."""
    return front_figure(
        scene.front,
        _charted(scene, scene.speech),
        pick=_mark(scene),
        largest=scene.sizes.usual,
        holds=scene.holds,
        uniform=scene.one_width,
        start=scene.start,
        second=_charted(scene, scene.second),
    )


def _mark(scene: Scene) -> Mark | None:
    """The pick as a mark on the front."""
    pick = scene.pick
    if pick is None:
        return None
    figures = pick.allocation
    lines = [
        f"{percent(figures.reduction_vs_fp32)} under fp32, {figures.avg_bits:.2f} bits on average",
        f"{widths(figures.options)}, {layout(figures.options)}",
        f"loss {figures.predicted_loss:.3g} nats per token, predicted",
    ]
    if pick.bounded:
        lines.append(f"off the proven optimum: {bound(figures, None)[0]}")
    return Mark(
        figures.bytes,
        figures.predicted_loss,
        pick.map.digest,
        cost=scene.pick_cost,
        text=tuple(lines),
    )


def _charted(scene: Scene, speech: MeasuredSet | None) -> ChartedSet | None:
    if speech is None:
        return None
    return ChartedSet(
        scene.measured.name(speech),
        speech.wer_full_precision,
        speech.records,
        scene.measured.curve(speech),
        speech.rate,
    )


def layers_of(scene: Scene, chosen: int | None = None) -> Figure:
    """The pick's widths layer by layer, and the width at which sensitivities are compared.

    Args:
        scene: a scene with a pick.
        chosen: the unit to mark.
    """
    pick = scene.pick
    options = pick.map.options if pick is not None else ()
    column = int(np.abs(scene.problem.widths - REFERENCE_BITS).argmin())
    return layers_figure(
        scene.profile,
        Layers(
            options=options,
            relaxed=pick.allocation.relaxed_bits if pick is not None else (),
            bytes=scene.bytes_per_unit(options),
            sensitivity=scene.problem.loss.separable[:, column],
            reference=f"{scene.problem.menu[column].bits:g} bits",
            locked=scene.bound_units,
            chosen=chosen,
        ),
    )
