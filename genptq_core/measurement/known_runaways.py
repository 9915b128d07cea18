"""What is known of the runaways of maps: of old measurements too, and asked of a pick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .records import Measured
from .runaways import RanAway, ran_away


def runaways_of(record: Measured, references: Mapping[str, str] | None = None) -> RanAway | None:
    """The runaways of a measurement, or None where they are not known.

    Args:
        record: a measurement. Those from before runaways were told apart are judged anew, where
            all of their transcripts were kept.
        references: what was said, by digest of the recording; needed for such records alone.
    """
    if record.runaways is not None or not references:
        return record.runaways
    texts = [references.get(audio) for audio, _, _ in record.transcripts]
    said = [text for text in texts if text is not None]
    if not said or len(said) != record.utterances or len(said) != len(texts):
        return None
    return ran_away(said, record.transcripts, record.normalizer)


@dataclass(frozen=True)
class Trial:
    """What measurements say to the demand that a map never runs away.

    Attributes:
        utterances: utterances on which the map was measured with its runaways told, each
            recording counted once.
        new: recordings on which it ran away and full precision did not, by digest.
    """

    utterances: int
    new: tuple[str, ...]

    def meets(self, demanded: int) -> bool | None:
        """Whether the map does not run away in so many utterances more than full precision does.

        Returns:
            False where it did on any; None where it did not, and was measured on fewer.
        """
        if self.new:
            return False
        return True if self.utterances >= demanded else None


def trial_of(
    records: Sequence[Measured], map_digest: str, references: Mapping[str, str] | None = None
) -> Trial:
    """What measurements say of the runaways of a map, on all speech sets together.

    Args:
        records: measurements.
        map_digest: digest of the map.
        references: what was said, by digest of the recording; see `runaways_of`.
    """
    heard: set[str] = set()
    unnamed: dict[str, int] = {}
    new: dict[str, None] = {}
    for record in records:
        found = runaways_of(record, references) if record.map_digest == map_digest else None
        if found is None:
            continue
        new |= dict.fromkeys(found.new)
        heard |= {audio for audio, _, _ in record.transcripts}
        if not record.transcripts:  # the same speech under two normalizers is the same speech
            unnamed[record.speech_digest] = record.utterances
    return Trial(len(heard) + sum(unnamed.values()), tuple(new))
