"""Two maps compared: bytes, widths, the layers that differ, and whether their WERs differ.

Word errors are compared on the same utterances, resampled in pairs: two maps may both be far from
full precision and still not differ, which separate intervals would not show.
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
from ..speech.wer import blockwise, count_errors, paired_interval
from ..targets import target_for_map, unit_bytes
from .records import Measured


@dataclass(frozen=True)
class Change:
    """A layer that differs.

    Attributes:
        unit: its index in the profile.
        left, right: its options.
        bytes: how many more it takes in the right map.
        loss: how the predicted loss of the left map changes if this layer alone is taken from the
            right one, nats per token.
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
        widths: widths that either map uses, ascending.
        units, weights: number of layers, and of weights in them, by width in the left map (rows)
            and in the right one (columns), shape (widths, widths), int64.
        changes: the layers that differ, those that change the predicted loss most first.
    """

    left: MapFigures
    right: MapFigures
    widths: tuple[float, ...]
    units: np.ndarray
    weights: np.ndarray
    changes: tuple[Change, ...]


def compare(profile: Profile, left: BitMap, right: BitMap, target: str | None = None) -> Comparison:
    """The figures of two maps of a profile, and the layers that differ.

    Args:
        profile: the profile.
        left, right: the maps.
        target: name of the target whose bytes are meant; see `figures_of`.
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


@dataclass(frozen=True)
class WerDifference:
    """Two maps' word errors on one speech set.

    Attributes:
        speech: the speech set's name.
        utterances: utterances that both were measured on.
        left, right: word error rates, fractions.
        ci95: paired bootstrap interval of right - left; None where the transcripts that it needs
            were not stored.
    """

    speech: str
    utterances: int
    left: float
    right: float
    ci95: tuple[float, float] | None

    @property
    def difference(self) -> float:
        """WER of the right map minus that of the left one, a fraction."""
        return self.right - self.left

    @property
    def significant(self) -> bool | None:
        """Whether the interval excludes zero; None without an interval."""
        if self.ci95 is None:
            return None
        return self.ci95[0] > 0 or self.ci95[1] < 0


def wer_difference(left: Measured, right: Measured, references: Mapping[str, str]) -> WerDifference:
    """The difference of two measurements on one speech set.

    Args:
        left, right: measurements of the same utterances.
        references: what was said, by digest of the recording.

    Raises:
        ValueError: they are of different speech, or their words are counted differently.
    """
    if left.set_key != right.set_key:
        raise ValueError("two measurements on different speech cannot be compared")
    interval = None
    texts = [{audio: text for audio, _, text in m.transcripts} for m in (left, right)]
    common = [audio for audio in texts[0] if audio in texts[1] and audio in references]
    if len(common) == left.utterances == right.utterances:
        reference = [references[audio] for audio in common]
        written = [[t[audio] for audio in common] for t in texts]
        before, after = (
            blockwise(count_errors(reference, w, left.normalizer), reference, w, left.normalizer)
            for w in written
        )
        interval = paired_interval(before, after)
    return WerDifference(
        speech=left.speech,
        utterances=left.utterances,
        left=left.wer,
        right=right.wer,
        ci95=interval,
    )


def _changes(
    profile: Profile, left: Sequence[Option], right: Sequence[Option], target: str | None
) -> tuple[Change, ...]:
    """The layers whose options differ, those that change the predicted loss most first."""
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
    changes = [
        Change(
            unit=unit,
            left=left[unit],
            right=right[unit],
            bytes=sizes[1][unit] - sizes[0][unit],
            loss=step,
        )
        for unit, step in steps
    ]
    return tuple(sorted(changes, key=lambda change: -abs(change.loss)))
