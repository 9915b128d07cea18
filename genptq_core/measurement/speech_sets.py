"""The speech sets that a profile was measured on, and what a map costs on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..allocation.wer_curve import WerCurve, fit_wer_curve
from .records import Measured


@dataclass(frozen=True)
class MeasuredSet:
    """A speech set, its words counted in one way, and all that was measured on it.

    Attributes:
        key: what its measurements share; see `Measured.set_key`.
        name: the speech set's name.
        speech_digest: digest over its recordings and texts.
        normalizer: text normalizer of both sides.
        utterances, words: how much speech it is; words in the normalized references.
        wer_full_precision: word error rate of the unquantized model, a fraction.
        records: its measurements, by rising size.
    """

    key: str
    name: str
    speech_digest: str
    normalizer: str
    utterances: int
    words: int
    wer_full_precision: float
    records: tuple[Measured, ...]

    @property
    def label(self) -> str:
        """A name for lists: `an4/dev, 121 utterances`."""
        return f"{self.name}, {self.utterances} utterances"


def measured_sets(records: Sequence[Measured]) -> tuple[MeasuredSet, ...]:
    """The sets that records were measured on, those with most words first."""
    by_key: dict[str, list[Measured]] = {}
    for record in records:
        by_key.setdefault(record.set_key, []).append(record)
    found = [_measured_set(key, members) for key, members in by_key.items()]
    return tuple(sorted(found, key=lambda s: (-s.words, s.key)))


def across_sets(records: Sequence[Measured], map_digest: str) -> dict[str, Measured]:
    """What one map costs on every set that it was measured on, by the set's key."""
    return {r.set_key: r for r in records if r.map_digest == map_digest}


def _measured_set(key: str, members: list[Measured]) -> MeasuredSet:
    first = members[0]
    return MeasuredSet(
        key=key,
        name=first.speech,
        speech_digest=first.speech_digest,
        normalizer=first.normalizer,
        utterances=first.utterances,
        words=first.words,
        wer_full_precision=first.wer_full_precision,
        records=tuple(sorted(members, key=lambda m: (m.bytes, m.loss))),
    )


def wer_curve(measured: Sequence[Measured], speech_digest: str) -> WerCurve | None:
    """The curve fitted on a profile's measurements (`with_predictions`) on one speech set."""
    points = [m for m in measured if m.speech_digest == speech_digest]
    return fit_wer_curve([m.predicted_loss for m in points], [m.wer_increase for m in points])
