"""Whether a map may be used, in one word, from the worst that is known of it. Pure.

A product manager reads it, so its limits are in words that people say: of a hundred words, how many
more may go wrong than at full precision, on the speech on which that is most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genptq_core.measurement.speech_sets import MeasuredSet

from .measurements import Measurements

SAFE, NOTICEABLE, BREAKS = "Safe", "Noticeable", "Breaks"
UNKNOWN = "Unknown"
WORDS = (SAFE, NOTICEABLE, BREAKS)

LIMITS = (0.01, 0.03)
"""Largest increase of the word error rate that is safe, and that is only noticeable, fractions: one
more word in a hundred, and three."""

MEANING = (
    "at most one more word in a hundred goes wrong, on any speech tried",
    "up to three more words in a hundred go wrong",
    "more than three more words in a hundred go wrong, on some speech",
)
"""What each word says."""


@dataclass(frozen=True)
class Verdict:
    """What is said of a map.

    Attributes:
        level: index into `WORDS`, or None where nothing was measured.
        worst: the largest increase of the word error rate that may be, a fraction.
        speech: the set on which it is that, or None.
        extrapolated: whether more is lost there than by any map that was measured.
    """

    level: int | None
    worst: float = 0.0
    speech: MeasuredSet | None = None
    extrapolated: bool = False

    @property
    def word(self) -> str:
        """The verdict in a word."""
        return UNKNOWN if self.level is None else WORDS[self.level]


def levels(worst: np.ndarray, extrapolated: np.ndarray) -> np.ndarray:
    """The level of each of some worst increases; a guess is never safe, shape as given, int64."""
    level = (worst[..., None] > np.array(LIMITS)).sum(axis=-1)
    return np.asarray(np.maximum(level, extrapolated.astype(np.int64)))


def predicted_worst(
    measured: Measurements, loss: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Sequence[MeasuredSet]]:
    """The upper end of the band on the set where it is highest, of many predicted losses.

    Args:
        measured: everything measured for the profile.
        loss: predicted losses, shape (points,), nats per token.

    Returns:
        The increases, fractions; whether each is extrapolated; the index of its set among the sets
        that have a curve, each shape (points,); and those sets, none where no set has one.
    """
    sets = [s for s in measured.sets if measured.curve(s) is not None]
    curves = [curve for s in sets if (curve := measured.curve(s)) is not None]
    if not curves:
        return np.zeros(len(loss)), np.zeros(len(loss), bool), np.zeros(len(loss), np.int64), ()
    upper = np.array([curve.interval(loss)[1] for curve in curves])
    beyond = np.array([loss > curve.largest for curve in curves])
    which = upper.argmax(axis=0)
    return upper.max(axis=0), np.asarray(beyond.any(axis=0)), which, sets


def verdict_of(measured: Measurements, map_digest: str, loss: float) -> Verdict:
    """The verdict on a map.

    On a set with a curve its band counts, which rests on all maps that were measured there, and a
    measurement of this map that is worse. On a set without one, the upper end of the measurement's
    interval.

    Args:
        measured: everything measured for the profile.
        map_digest: digest of the map.
        loss: its predicted loss, nats per token.
    """
    worst, beyond, which, sets = predicted_worst(measured, np.array([loss]))
    known: list[tuple[float, MeasuredSet]] = []
    if sets:
        known.append((float(worst[0]), sets[int(which[0])]))
    for record_set in measured.sets:
        record = next((m for m in record_set.records if m.map_digest == map_digest), None)
        if record is not None:
            least = record.wer_increase if record_set in sets else record.ci95[1]
            known.append((least, record_set))
    if not known:
        return Verdict(None)
    highest, speech = max(known, key=lambda pair: pair[0])
    guessed = bool(beyond[0]) and all(m.map_digest != map_digest for m in measured.records)
    level = int(levels(np.array([highest]), np.array([guessed]))[0])
    return Verdict(level, highest, speech, guessed)
