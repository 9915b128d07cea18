"""What was measured for a profile, set by set, and what the page calls each set. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genptq_core.allocation.wer_curve import Curve, WerCurve
from genptq_core.measurement.borrowing import borrowed_curve
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import MeasuredSet, curve_of, measured_sets, usual_set
from genptq_core.profile import Profile
from genptq_core.speech.names import readable

from .knobs import SHORT


@dataclass(frozen=True)
class Measurements:
    """Everything measured for a profile.

    Attributes:
        records: the measurements.
        sets: those that tell what the chosen format's maps cost, gathered by speech and
            normalizer; those with most words first.
        curves: map from predicted loss to the increase of WER by a set's key, None where too few
            maps were measured.
        borrowed: where no set has a curve, what other models say of this one; None where one has,
            or where their words are not what is counted here.
    """

    records: tuple[Measured, ...] = ()
    sets: tuple[MeasuredSet, ...] = ()
    curves: Mapping[str, WerCurve | None] = field(default_factory=dict)
    borrowed: Curve | None = None

    @property
    def usual(self) -> MeasuredSet | None:
        """The set shown where the user names none."""
        return usual_set(self.sets, self.curves)

    def curve(self, speech: MeasuredSet | None) -> WerCurve | None:
        """The curve of a set; None without a set, too."""
        return None if speech is None else self.curves[speech.key]

    def guide(self, speech: MeasuredSet | None) -> Curve | None:
        """The curve of a set, or else the borrowed one: what an accuracy is asked for by."""
        return self.curve(speech) or self.borrowed

    def word(self, speech: MeasuredSet) -> str:
        """A set as links write it: the short digest of its speech.

        Where two sets share the speech, the normalizer follows, and what the model was asked for:
        `0123456789:basic`, `0123456789:basic:fallback`.
        """
        short = speech.speech_digest[:SHORT]
        how = (speech.normalizer, *filter(None, [speech.asked]))
        return ":".join((short, *how)) if self._shared(speech) else short

    def named(self, word: str) -> MeasuredSet | None:
        """The set of a link's word, or None; the usual one where the word fits several."""
        short, _, how = word.partition(":")
        normalizer, _, asked = how.partition(":")
        fitting = [s for s in self.sets if s.speech_digest[:SHORT] == short]
        if normalizer:
            fitting = [s for s in fitting if (s.normalizer, s.asked) == (normalizer, asked)]
        return usual_set(fitting, self.curves)

    def name(self, speech: MeasuredSet) -> str:
        """A set as people read it, with what tells it from others that share the speech."""
        name = ", ".join(filter(None, (readable(speech.name, speech.speech_digest), speech.asked)))
        return f"{name}, {speech.normalizer}" if self._counted_twice(speech) else name

    def label(self, speech: MeasuredSet) -> str:
        """A set in lists: its name, how much speech it is, and how many maps were measured."""
        maps = "1 map" if len(speech.records) == 1 else f"{len(speech.records)} maps"
        return f"{self.name(speech)} ({speech.utterances} utterances, {maps})"

    def _shared(self, speech: MeasuredSet) -> bool:
        return len(self._of_speech(speech)) > 1

    def _counted_twice(self, speech: MeasuredSet) -> bool:
        return len({s.normalizer for s in self._of_speech(speech)}) > 1

    def _of_speech(self, speech: MeasuredSet) -> list[MeasuredSet]:
        return [s for s in self.sets if s.speech_digest == speech.speech_digest]


def measurements_of(
    records: Sequence[Measured],
    own: Sequence[Measured] | None = None,
    borrower: tuple[Profile, str] | None = None,
) -> Measurements:
    """Records gathered into sets, with the curve of each.

    Args:
        records: everything measured.
        own: those that the sets and their curves are of; all if None.
        borrower: the profile and its target, for which a curve is borrowed where none has its own;
            nothing is borrowed if None.
    """
    sets = measured_sets(records if own is None else own)
    curves = {s.key: curve_of(s) for s in sets}
    borrowed = None
    usual = usual_set(sets, curves)
    counted = usual is None or usual.rate == "WER"
    if borrower is not None and counted and not any(curves.values()):
        borrowed = borrowed_curve(*borrower, usual)
    return Measurements(tuple(records), sets, curves, borrowed)
