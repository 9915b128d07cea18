"""Marks on the front that are no measured maps: the pick, a recommended size, other tools."""

from __future__ import annotations

from dataclasses import dataclass

from genptq_core.allocation.predicted_loss import QuadraticLoss
from genptq_core.allocation.problem import problem
from genptq_core.allocation.uniform_tools import UniformPoint, uniform_points
from genptq_core.errors import GenPTQError
from genptq_core.profile import Profile
from genptq_core.targets import TARGETS

from .costs import Cost


@dataclass(frozen=True)
class Mark:
    """A place on the front.

    Attributes:
        bytes: size.
        loss: predicted loss, nats per token.
        digest: digest of the map there, or "" where it is only a size.
        cost: what the map costs on the speech set shown, or None where nothing was measured.
        text: what hovering over it says, one line each.
    """

    bytes: int
    loss: float
    digest: str = ""
    cost: Cost | None = None
    text: tuple[str, ...] = ()


@dataclass(frozen=True)
class OneWidth:
    """What a runtime that stores every layer alike would get: predicted, not measured.

    Attributes:
        target: the runtime.
        option: how it calls the width.
        bytes: size of the model.
        loss: predicted loss, nats per token.
        notes: where the figures come from, one line each.
    """

    target: str
    option: str
    bytes: int
    loss: float
    notes: tuple[str, ...] = ()


def one_width(profile: Profile, loss: QuadraticLoss | None = None) -> tuple[OneWidth, ...]:
    """What each runtime that stores all layers alike would get at each of its widths.

    Args:
        profile: the profile.
        loss: predicted loss over its whole menu, where it is at hand.
    """
    points = []
    for name, target in TARGETS.items():
        if target.grain != "model":
            continue
        try:
            alike = problem(profile, loss=loss, target=name)
        except GenPTQError:  # the profile has nothing that the target holds
            continue
        for row, bytes_, nats in zip(*alike.candidates, strict=True):
            option = alike.menu[int(row.max())]
            points.append(OneWidth(target.title, option.label, int(bytes_), float(nats)))
    points += [
        OneWidth(
            point.tool.tool, point.tool.way, bytes=point.bytes, loss=point.loss, notes=_notes(point)
        )
        for point in uniform_points(profile, loss)
    ]
    return tuple(sorted(set(points), key=lambda u: (u.target, u.bytes)))


def _notes(point: UniformPoint) -> tuple[str, ...]:
    """Where the figures of a tool's point come from."""
    return (
        f"predicted from our own rounding at {point.option.label},",
        "not from the tool, which rounds without calibration",
        "size: " + ("exact, by its format" if point.exact else "at most; see its format"),
    )
