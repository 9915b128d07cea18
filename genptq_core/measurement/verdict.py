"""How many more words may go wrong with a map: the worst that is known of any speech set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..allocation.wer_curve import Curve
from .speech_sets import MeasuredSet

LIMITS = (0.01, 0.03)
"""Largest increase of the word error rate that is safe (level 0), and that is only noticeable
(level 1), fractions: one more word in a hundred, and three. What is worse breaks (level 2)."""

RUNAWAYS = 0.01
"""Largest part of the utterances on which a map may run away, where full precision does not, and
still be noticeable; with one or more it is not safe."""


@dataclass(frozen=True)
class Verdict:
    """What is known of a map.

    Attributes:
        level: 0 safe, 1 noticeable, 2 breaks; None where nothing was measured.
        worst: the largest increase of the word error rate that may be, a fraction.
        speech: the set on which it is that, or None.
        extrapolated: whether more is lost there than by any map that was measured.
        runaways: recordings on which this map ran away, and full precision did not.
    """

    level: int | None
    worst: float = 0.0
    speech: MeasuredSet | None = None
    extrapolated: bool = False
    runaways: int = 0


@dataclass(frozen=True)
class Worst:
    """The upper end of the band on the set where it is highest, of many predicted losses.

    Attributes:
        increase: increases of the word error rate, shape (points,), fractions.
        extrapolated: whether each is beyond what was measured, shape (points,).
        which: index into `sets` of the set where it is highest, shape (points,), int64.
        sets: the sets that have a curve; none where no set has one.
    """

    increase: np.ndarray
    extrapolated: np.ndarray
    which: np.ndarray
    sets: tuple[MeasuredSet, ...]


def levels(worst: np.ndarray, guessed: np.ndarray) -> np.ndarray:
    """The level of each of some worst increases; a guess is never safe, shape as given, int64."""
    level = np.searchsorted(LIMITS, worst, side="left")
    return np.asarray(np.maximum(level, np.asarray(guessed).astype(np.int64)))


def predicted_worst(
    sets: Sequence[MeasuredSet], curves: Mapping[str, Curve | None], loss: np.ndarray
) -> Worst:
    """The worst that the sets' curves predict.

    Args:
        sets: what was measured, set by set.
        curves: each set's curve by its key, None where too few maps were measured.
        loss: predicted losses, shape (points,), nats per token.
    """
    known = [(s, curve) for s in sets if (curve := curves[s.key]) is not None]
    if not known:
        count = len(loss)
        return Worst(np.zeros(count), np.zeros(count, bool), np.zeros(count, np.int64), ())
    upper = np.array([curve.interval(loss)[1] for _, curve in known])
    beyond = np.array([np.greater(loss, curve.largest) for _, curve in known], dtype=bool)
    return Worst(
        upper.max(axis=0),
        np.asarray(beyond.any(axis=0)),
        upper.argmax(axis=0),
        tuple(s for s, _ in known),
    )


def borrowed_verdict(curve: Curve, loss: float) -> Verdict:
    """The verdict on a map of a model of which too little was measured: a guess.

    Args:
        curve: a borrowed curve.
        loss: the map's predicted loss, nats per token.
    """
    worst = curve.interval(loss)[1]
    return Verdict(int(levels(worst, np.array(True))), float(worst), extrapolated=True)


def verdict_of(
    sets: Sequence[MeasuredSet],
    curves: Mapping[str, Curve | None],
    map_digest: str,
    loss: float,
) -> Verdict:
    """The verdict on a map.

    On a set with a curve its band counts, which rests on all maps that were measured there, and a
    measurement of this map that is worse. On a set without one, the upper end of the measurement's
    interval. A map that was seen to run away is not safe.

    Args:
        sets: what was measured, set by set.
        curves: each set's curve by its key, None where too few maps were measured.
        map_digest: digest of the map.
        loss: its predicted loss, nats per token.
    """
    predicted = predicted_worst(sets, curves, np.array([loss]))
    known: list[tuple[float, MeasuredSet]] = []
    if predicted.sets:
        known.append((float(predicted.increase[0]), predicted.sets[int(predicted.which[0])]))
    measured, new, seen = False, 0, 0
    for speech in sets:
        record = next((m for m in speech.records if m.map_digest == map_digest), None)
        if record is not None:
            measured = True
            least = record.wer_increase if speech in predicted.sets else record.ci95[1]
            known.append((least, speech))
            if record.runaways is not None:
                new, seen = new + len(record.runaways.new), seen + record.utterances
    if not known:
        return Verdict(None)
    highest, worst_set = max(known, key=lambda pair: pair[0])
    guessed = bool(predicted.extrapolated[0]) and not measured
    level = int(levels(np.array(highest), np.array(guessed)))
    if new:
        level = max(level, 1 if new <= RUNAWAYS * seen else 2)
    return Verdict(level, highest, worst_set, guessed, new)
