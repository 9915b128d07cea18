"""The page's two charts of one scene, for whoever shows them: the views, and the report."""

from __future__ import annotations

import numpy as np

from ..page.marks import Mark
from ..page.scene import Scene
from ..wording import bound, layout, percent, widths
from .component import Figure
from .front import FrontFigure, front_figure
from .layers import Layers, layers_figure
from .second_set import SecondSet

REFERENCE_BITS = 3
"""Width, or the nearest on offer, at which layers' sensitivities are compared."""


def front_of(scene: Scene) -> FrontFigure:
    """The front with the pick on it."""
    pick = scene.pick
    mark = None
    if pick is not None:
        found = pick.allocation
        lines = [
            f"{percent(found.reduction_vs_fp32)} under fp32, {found.avg_bits:.2f} bits on average",
            f"{widths(found.options)}, {layout(found.options)}",
            f"loss {found.predicted_loss:.3g} nats a token, predicted",
        ]
        if pick.bounded:
            lines.append(f"off the proven optimum: {bound(found, None)[0]}")
        record = scene.measurement(pick.map.digest)
        mark = Mark(found.bytes, found.predicted_loss, pick.map.digest, record, tuple(lines))
    return front_figure(
        scene.front,
        scene.curve,
        scene.speech.full_precision if scene.speech is not None else None,
        scene.shown,
        mark,
        scene.sizes.usual,
        scene.holds,
        scene.one_width,
        scene.start,
        beside_of(scene),
        scene.speech.name if scene.speech is not None else "",
    )


def beside_of(scene: Scene) -> SecondSet | None:
    """The speech set shown beside the first."""
    second = scene.beside
    if second is None:
        return None
    curve = scene.curves.get(second.digest)
    return SecondSet(second.name, second.full_precision, scene.on(second), curve)


def layers_of(scene: Scene, chosen: int | None = None) -> Figure:
    """The pick's widths layer by layer, and the width at which sensitivities are compared.

    Args:
        scene: a scene with a pick.
        chosen: the unit to mark.
    """
    pick = scene.pick
    options = pick.map.options if pick is not None else ()
    column = int(np.abs(scene.task.widths - REFERENCE_BITS).argmin())
    shown = Layers(
        options,
        pick.allocation.relaxed_bits if pick is not None else (),
        scene.spent(options),
        scene.task.loss.separable[:, column],
        f"{scene.task.menu[column].bits:g} bits",
        scene.bound_units,
        chosen,
    )
    return layers_figure(scene.profile, shown)
