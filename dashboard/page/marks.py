"""Marks on the front besides the measured maps: a pick, a recommended size, tools of one width."""

from __future__ import annotations

from dataclasses import dataclass

from genptq_core.measurement.records import Measured


@dataclass(frozen=True)
class Mark:
    """Where the pick lies: size in bytes, predicted loss, and its measurement if there is one.

    Attributes:
        text: what hovering over it says, one line each.
    """

    bytes: int
    loss: float
    digest: str
    measured: Measured | None
    text: tuple[str, ...] = ()


@dataclass(frozen=True)
class OneWidth:
    """What a runtime that stores every layer alike would get: predicted, not measured.

    Attributes:
        target: the runtime.
        option: how it calls the width.
        bytes: size of the model.
        loss: predicted loss, nats a token.
        notes: where the figures come from, one line each.
    """

    target: str
    option: str
    bytes: int
    loss: float
    notes: tuple[str, ...] = ()
