"""Offers for one layer, each with its price in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genptq_core.allocation.constraints import BY_BLOCK, matching
from genptq_core.allocation.prices import loss_tied, loss_with
from genptq_core.allocation.solving import choices_of
from genptq_core.errors import GenPTQError

from ..wording import points
from .demands import free, lock, names, tie, tie_choices
from .scene import Scene


@dataclass(frozen=True)
class Offer:
    """Something that can be demanded of a layer.

    Attributes:
        label: what its button says.
        price: what it costs at this size, in words.
        pins: the demands with it.
    """

    label: str
    price: str
    pins: str


def offers(scene: Scene, index: int) -> tuple[Offer, ...]:
    """What can be demanded of a unit at the scene's size; none where no map is shown.

    Raises:
        ConstraintError: the demands so far cannot be read.
    """
    pick, unit, pins = scene.pick, scene.profile.units[index], scene.knobs.pins
    if pick is None:
        return ()
    option, menu = pick.map.options[index], scene.problem.menu
    wider = [o for o in menu if o.bits > option.bits]
    narrower = [o for o in menu if o.bits < option.bits]
    labelled = [(f"Lock at {option.bits:g}", option)]
    labelled += [(f"Raise to {o.bits:g}", o) for o in wider[:1]]
    labelled += [(f"Lower to {o.bits:g}", o) for o in narrower[-1:]]
    choice = None
    if scene.holds(pick.map.options):
        choice = choices_of(scene.problem, pick.map.options)
    made = []
    for label, wanted in labelled:
        price = ""
        if choice is not None and wanted in menu:
            column = menu.index(wanted)
            loss = loss_with(scene.problem, choice, [index], column, pick.allocation.bytes)
            price = _price(scene, loss)
        made.append(Offer(label, price, lock(pins, unit, wanted)))
    for words, pattern in tie_choices(unit, scene.profile.units).items():
        tied = _tied(scene, index, pattern)
        price = ""
        if choice is not None and len(tied) > 1:
            price = _price(scene, loss_tied(scene.problem, choice, tied, pick.allocation.bytes))
        made.append(Offer(f"Tie {words}", price, tie(pins, pattern)))
    if names(pins, unit):
        made.append(Offer("Free it", "", free(pins, unit)))
    return tuple(made)


def _tied(scene: Scene, index: int, pattern: str) -> Sequence[int]:
    """The units that a tie would join with a unit, it included."""
    units = scene.profile.units
    try:
        tied = matching(units, pattern.removeprefix(BY_BLOCK).strip(), "tie")
    except GenPTQError:
        return ()
    if not pattern.startswith(BY_BLOCK):
        return tied
    mine = (units[index].part, units[index].block)
    return [i for i in tied if (units[i].part, units[i].block) == mine]


def _price(scene: Scene, loss: float | None) -> str:
    """What a loss costs beyond the pick's, in words; "" where that cannot be said."""
    pick = scene.pick
    if loss is None or pick is None:
        return "too large here"
    before = pick.allocation.predicted_loss
    if scene.curve is None:
        share = 100 * (loss / before - 1) if before > 0 else 0.0
        return "costs nothing" if share < 0.05 else f"{share:+.1f} % of what is lost"
    more = float(scene.curve.increase(max(loss, before)) - scene.curve.increase(before))
    return "costs nothing" if more < 5e-5 else f"{points(more, 2)} points"


def finite(values: Sequence[float]) -> list[float]:
    """Numbers to four digits, as JSON takes them."""
    return [float(f"{value:.4g}") for value in np.asarray(values, dtype=float)]
