"""What two models wrote for each recording, those most worth hearing first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..speech.wer import count_errors
from .records import Measured


@dataclass(frozen=True)
class TranscriptPair:
    """One recording with its reference text and two transcripts.

    Attributes:
        audio: digest of the recording.
        reference: what was said.
        full, picked: what full precision and the quantized model wrote.
        full_errors, picked_errors: word errors in each; where nothing was said, words written.
    """

    audio: str
    reference: str
    full: str
    picked: str
    full_errors: int
    picked_errors: int

    @property
    def newly_wrong(self) -> bool:
        """Whether only the quantized model has errors."""
        return self.picked_errors > 0 and self.full_errors == 0


def worth_hearing(record: Measured, references: Mapping[str, str]) -> list[TranscriptPair]:
    """The transcripts of a measurement, in the order in which to listen to the recordings.

    First come the recordings where only the quantized model has errors, then those where it has
    most errors more than full precision.

    Args:
        record: a measurement; its transcripts without a reference are left out.
        references: what was said, by digest of the recording.
    """
    known = [t for t in record.transcripts if t[0] in references]
    texts = [references[audio] for audio, _, _ in known]
    before = count_errors(texts, [full for _, full, _ in known], record.normalizer)
    after = count_errors(texts, [picked for _, _, picked in known], record.normalizer)
    pairs = [
        TranscriptPair(
            audio=audio,
            reference=references[audio],
            full=full,
            picked=picked,
            full_errors=int(before.errors[index] + before.on_silence[index]),
            picked_errors=int(after.errors[index] + after.on_silence[index]),
        )
        for index, (audio, full, picked) in enumerate(known)
    ]
    return sorted(pairs, key=_order)


def _order(pair: TranscriptPair) -> tuple[bool, int, int]:
    return not pair.newly_wrong, pair.full_errors - pair.picked_errors, -pair.picked_errors
