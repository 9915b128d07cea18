"""What the pick costs on every speech set of a profile, measured or predicted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from genptq_core.measurement.records import Measured

from ..wording import markdown, percent, points
from .scene import Scene, Speech


@dataclass(frozen=True)
class Cost:
    """A map on one speech set.

    Attributes:
        speech: the set.
        record: its measurement there, or None.
        wer: word error rate, measured or predicted, a fraction; None where neither is known.
        interval: ends of the increase's 95 % interval where measured, of the 90 % band where
            predicted, fractions.
    """

    speech: Speech
    record: Measured | None
    wer: float | None
    interval: tuple[float, float] | None

    @property
    def how(self) -> str:
        """Where the figures are from."""
        if self.record is not None:
            return "measured"
        return "predicted" if self.wer is not None else "not measured"

    @property
    def increase(self) -> float | None:
        """Increase on full precision, a fraction."""
        return None if self.wer is None else self.wer - self.speech.full_precision


def costs(scene: Scene) -> tuple[Cost, ...]:
    """The pick on every speech set that maps of the profile were measured on."""
    pick = scene.pick
    if pick is None:
        return ()
    found = []
    loss = pick.allocation.predicted_loss
    for speech in scene.sets:
        record = scene.measurement(pick.map.digest, speech)
        curve = scene.curves.get(speech.digest)
        if record is not None:
            found.append(Cost(speech, record, record.wer, record.ci95))
        elif curve is not None:
            low, high = (float(end) for end in curve.interval(loss))
            wer = speech.full_precision + float(curve.increase(loss))
            found.append(Cost(speech, None, wer, (low, high)))
        else:
            found.append(Cost(speech, None, None, None))
    return tuple(found)


def sentence(scene: Scene) -> str:
    """What the pick costs on the sets that are not shown first; "" where there are none."""
    shown = scene.speech.digest if scene.speech is not None else ""
    parts = []
    for cost in costs(scene):
        if cost.speech.digest == shown:
            continue
        name = markdown(cost.speech.name)
        if cost.wer is None or cost.increase is None or cost.interval is None:
            parts.append(f"{name}: not measured")
            continue
        low, high = cost.interval
        parts.append(
            f"{name}: **{percent(cost.wer)}** {cost.how}, {points(cost.increase)} points "
            f"({points(low)} to {points(high)})"
        )
    return f"On other speech: {'; '.join(parts)}." if parts else ""
