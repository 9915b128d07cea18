"""Listening: what each model wrote for a recording, and the recordings worth hearing first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..speech.wer import count_errors
from .records import Measured


@dataclass(frozen=True)
class TranscriptPair:
    """One recording, what was said, and what two models wrote.

    Attributes:
        audio: digest of the recording.
        reference: what was said.
        full, picked: what full precision and the quantized model wrote.
        full_errors, picked_errors: word errors in each.
    """

    audio: str
    reference: str
    full: str
    picked: str
    full_errors: int
    picked_errors: int

    @property
    def newly_wrong(self) -> bool:
        """Whether the quantized model errs where full precision does not."""
        return self.picked_errors > 0 and self.full_errors == 0


def worth_hearing(record: Measured, references: Mapping[str, str]) -> list[TranscriptPair]:
    """What a measurement's transcripts say, in the order in which to listen.

    First the recordings where only the quantized model errs, then those that it made worse, most
    errors first.

    Args:
        record: a measurement with transcripts; those without a reference are left out.
        references: what was said, by digest of the recording.
    """
    known = [t for t in record.transcripts if t[0] in references]
    said = [references[audio] for audio, _, _ in known]
    counting = record.normalizer
    before = count_errors(said, [full for _, full, _ in known], counting).errors.tolist()
    after = count_errors(said, [picked for _, _, picked in known], counting).errors.tolist()
    found = [
        TranscriptPair(audio, reference, full, picked, was, now)
        for (audio, full, picked), reference, was, now in zip(
            known, said, before, after, strict=True
        )
    ]
    return sorted(
        found,
        key=lambda h: (not h.newly_wrong, h.full_errors - h.picked_errors, -h.picked_errors),
    )
