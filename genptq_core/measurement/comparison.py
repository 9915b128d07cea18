"""Two maps side by side: bytes, widths, the layers that differ, and whether words tell them apart.

Word errors are compared on the same utterances, resampled in pairs: two maps far from full
precision in the same way may still be alike, and intervals of their own would not say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..allocation.predicted_loss import quadratic_loss
from ..bitmaps.bitmap import BitMap
from ..bitmaps.figures import MapFigures, figures_of
from ..options import Option
from ..profile import Profile
from ..speech.wer import count_errors, paired_interval
from ..targets import target_for_map, unit_bytes
from .records import Measured


@dataclass(frozen=True)
class Change:
    """A layer that differs.

    Attributes:
        unit: its index in the profile.
        left, right: its options.
        bytes: what it takes more on the right.
        loss: how the predicted loss of the left map changes if this layer alone becomes the
            right one's, nats a token.
    """

    unit: int
    left: Option
    right: Option
    bytes: int
    loss: float


@dataclass(frozen=True)
class Comparison:
    """Two maps of one profile.

    Attributes:
        left, right: their figures.
        widths: widths that either uses, ascending.
        units, weights: layers, and weights in them, by width on the left (rows) and on the right
            (columns), shape (widths, widths), int64.
        changes: the layers that differ, those that move the predicted loss most first.
    """

    left: MapFigures
    right: MapFigures
    widths: tuple[float, ...]
    units: np.ndarray
    weights: np.ndarray
    changes: tuple[Change, ...]


def compare(profile: Profile, left: BitMap, right: BitMap, target: str | None = None) -> Comparison:
    """Compare two maps of a profile.

    Args:
        profile: the profile.
        left, right: the maps.
        target: whose bytes are meant, for maps that it can hold; the native one's if absent.
    """
    widths = tuple(sorted({*left.bits, *right.bits}))
    place = {width: index for index, width in enumerate(widths)}
    rows, columns = ([place[width] for width in side.bits] for side in (left, right))
    units = np.zeros((len(widths), len(widths)), dtype=np.int64)
    weights = np.zeros_like(units)
    np.add.at(units, (rows, columns), 1)
    np.add.at(weights, (rows, columns), [unit.weights for unit in profile.units])
    return Comparison(
        left=figures_of(profile, left, target),
        right=figures_of(profile, right, target),
        widths=widths,
        units=units,
        weights=weights,
        changes=_changes(profile, left.options, right.options, target),
    )


def _changes(
    profile: Profile, left: Sequence[Option], right: Sequence[Option], target: str | None
) -> tuple[Change, ...]:
    index = {option: column for column, option in enumerate(profile.menu)}
    before = np.array([index[option] for option in left])
    after = np.array([index[option] for option in right])
    differing = np.flatnonzero(before != after)
    if not len(differing):
        return ()
    # The left map, and one map for each layer that differs, with that layer exchanged.
    tried = np.repeat(before[None], len(differing) + 1, axis=0)
    tried[np.arange(1, len(tried)), differing] = after[differing]
    loss = quadratic_loss(profile)(tried)
    sizes = [
        unit_bytes(target_for_map(target, profile, side), profile, side) for side in (left, right)
    ]
    steps = zip(differing.tolist(), (loss[1:] - loss[0]).tolist(), strict=True)
    found = [Change(u, left[u], right[u], sizes[1][u] - sizes[0][u], step) for u, step in steps]
    return tuple(sorted(found, key=lambda change: -abs(change.loss)))


@dataclass(frozen=True)
class WerDifference:
    """Two maps' word errors on one speech set.

    Attributes:
        speech: the speech set's name.
        utterances: utterances that both were measured on.
        left, right: word error rates, fractions.
        ci95: paired bootstrap interval of right - left; absent where the texts that it needs
            were not kept.
    """

    speech: str
    utterances: int
    left: float
    right: float
    ci95: tuple[float, float] | None

    @property
    def difference(self) -> float:
        """How much larger the right one's is."""
        return self.right - self.left

    @property
    def significant(self) -> bool | None:
        """Whether the interval leaves zero out; None without an interval."""
        if self.ci95 is None:
            return None
        return self.ci95[0] > 0 or self.ci95[1] < 0


def wer_difference(left: Measured, right: Measured, references: Mapping[str, str]) -> WerDifference:
    """How two measurements on one speech set differ.

    Args:
        left, right: measurements of the same utterances.
        references: what was said, by digest of the recording.

    Raises:
        ValueError: they are of different speech, or counted differently.
    """
    if left.set_key != right.set_key:
        raise ValueError("two measurements on different speech cannot be compared")
    interval = None
    texts = [{audio: text for audio, _, text in m.transcripts} for m in (left, right)]
    common = [audio for audio in texts[0] if audio in texts[1] and audio in references]
    if len(common) == left.utterances == right.utterances:
        said = [references[audio] for audio in common]
        before, after = (
            count_errors(said, [t[audio] for audio in common], left.normalizer) for t in texts
        )
        interval = paired_interval(before, after)
    return WerDifference(left.speech, left.utterances, left.wer, right.wer, interval)
