"""What is measured on one speech set: speech, and how its words are counted.

The same speech under two normalizers is two sets, and so it is where a model was asked for another
language or decoded by another rule: their word error rates cannot be compared, nor fitted by one
curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..allocation.wer_curve import Curve, WerCurve, can_fit, fit_wer_curve
from ..speech.normalizers import rate_of
from .records import Measured


@dataclass(frozen=True)
class MeasuredSet:
    """Speech, its words counted in one way, and all that was measured on it.

    Attributes:
        key: what its measurements share; see `Measured.set_key`.
        name: the speech set's name, and what the model was asked for where that is not its own.
        speech_digest: digest over its recordings and texts.
        normalizer: text normalizer of both sides.
        utterances, words: how much speech it is; words in the normalized references.
        wer_full_precision: word error rate of the unquantized model, a fraction.
        records: the measurements, by rising size.
        asked: what the model was asked for; see `Measured.asked`.
    """

    key: str
    name: str
    speech_digest: str
    normalizer: str
    utterances: int
    words: int
    wer_full_precision: float
    records: tuple[Measured, ...]
    asked: str = ""

    @property
    def rate(self) -> str:
        """What its error rate is called: "WER", or "CER" where characters are counted."""
        return rate_of(self.normalizer)


def measured_sets(records: Sequence[Measured]) -> tuple[MeasuredSet, ...]:
    """The sets that records were measured on, those with most words first."""
    by_key: dict[str, list[Measured]] = {}
    for record in records:
        by_key.setdefault(record.set_key, []).append(record)
    sets = [_measured_set(key, members) for key, members in by_key.items()]
    return tuple(sorted(sets, key=lambda s: (-s.words, s.key)))


def curve_of(measured_set: MeasuredSet) -> WerCurve | None:
    """The curve from predicted loss to the increase of WER, fitted on one set's measurements.

    Args:
        measured_set: a set whose records say what is predicted now (`with_predictions`).

    Returns:
        The curve, or None where too few maps were measured on the set.
    """
    return fit_wer_curve(*_points(measured_set))


def usual_set(
    sets: Sequence[MeasuredSet], curves: Mapping[str, Curve | None] | None = None
) -> MeasuredSet | None:
    """The set that is meant where none is named, or None without sets.

    That is the one with most words, of those with a curve; without any curve, the one on which
    most maps were measured.

    Args:
        sets: what to choose from.
        curves: each set's curve by its key, where they are fitted already.
    """
    with_curve = [
        s for s in sets if (can_fit(*_points(s)) if curves is None else curves[s.key] is not None)
    ]
    if with_curve:
        return min(with_curve, key=lambda s: (-s.words, s.key))
    return min(sets, key=lambda s: (-len(s.records), -s.words, s.key), default=None)


def across_sets(records: Sequence[Measured], map_digest: str) -> dict[str, Measured]:
    """What one map costs on every set that it was measured on, by the set's key."""
    return {r.set_key: r for r in records if r.map_digest == map_digest}


def _points(measured_set: MeasuredSet) -> tuple[list[float], list[float]]:
    """Predicted loss and increase of WER of all maps of a set."""
    records = measured_set.records
    return [m.predicted_loss for m in records], [m.wer_increase for m in records]


def _measured_set(key: str, members: list[Measured]) -> MeasuredSet:
    first = members[0]
    return MeasuredSet(
        key=key,
        name=f"{first.speech}, {first.asked}" if first.asked else first.speech,
        speech_digest=first.speech_digest,
        normalizer=first.normalizer,
        utterances=first.utterances,
        words=first.words,
        wer_full_precision=first.wer_full_precision,
        records=tuple(sorted(members, key=lambda m: (m.bytes, m.loss))),
        asked=first.asked,
    )
