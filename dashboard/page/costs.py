"""What a map costs in words on a speech set: measured, else predicted, else not known. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from genptq_core.allocation.wer_curve import WerCurve
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import MeasuredSet

MEASURED, PREDICTED, UNKNOWN = "measured", "predicted", "not measured"


@dataclass(frozen=True)
class Cost:
    """A map on one speech set.

    Attributes:
        speech: the set.
        record: the map's measurement on it, or None.
        wer: word error rate, measured or predicted, a fraction; None where neither is known.
        increase: how much that is above full precision, a fraction; None with `wer`.
        interval: ends of the increase's 95 % interval where measured, of the 90 % band where
            predicted, fractions; None with `wer`.
        extrapolated: whether it is predicted, from more loss than any map that the curve was
            fitted on.
    """

    speech: MeasuredSet
    record: Measured | None = None
    wer: float | None = None
    increase: float | None = None
    interval: tuple[float, float] | None = None
    extrapolated: bool = False

    @property
    def how(self) -> str:
        """Where the figures are from: "measured", "predicted" or "not measured"."""
        if self.record is not None:
            return MEASURED
        return UNKNOWN if self.wer is None else PREDICTED

    @property
    def wer_interval(self) -> tuple[float, float] | None:
        """Ends of the interval as word error rates, fractions of 0 or more."""
        if self.wer is None or self.increase is None or self.interval is None:
            return None
        full = self.wer - self.increase
        low, high = self.interval
        return max(full + low, 0.0), max(full + high, 0.0)


def cost_on(speech: MeasuredSet, curve: WerCurve | None, map_digest: str, loss: float) -> Cost:
    """What a map costs on a speech set.

    Args:
        speech: the set.
        curve: map from predicted loss to the increase of WER on it, or None.
        map_digest: digest of the map.
        loss: its predicted loss, nats per token.
    """
    record = next((m for m in speech.records if m.map_digest == map_digest), None)
    if record is not None:
        return Cost(
            speech,
            record=record,
            wer=record.wer,
            increase=record.wer_increase,
            interval=record.ci95,
        )
    if curve is None:
        return Cost(speech)
    increase = float(curve.increase(loss))
    low, high = (float(end) for end in curve.interval(loss))
    return Cost(
        speech,
        wer=speech.wer_full_precision + increase,
        increase=increase,
        interval=(low, high),
        extrapolated=loss > curve.largest,
    )
