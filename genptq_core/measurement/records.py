"""The record of one measurement: a map on a speech set."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
    with_config,
)

from ..options import Option
from ..storage.json_files import unsealed
from ..storage.validation import first_fault
from .long_figures import LongSpeech
from .runaways import RanAway

_Count = Annotated[int, Strict()]
_Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
_Option = Annotated[Option, PlainValidator(Option.parse)]
_FIRST_NORMALIZER = "whisper-english"  # that of records which do not name theirs


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Measured:
    """One map measured on one speech set.

    Types are checked where records are read from files, not where they are built.

    Attributes:
        label: a short name, such as "uniform 4" or "".
        map_digest: digest of the bit map.
        options: option of each unit, in the profile's order.
        bytes: size of the model, everything counted.
        avg_bits: mean code width over quantizable weights, scales not counted.
        reduction_vs_fp32: 1 - bytes / (4 * parameters).
        wer: error rate of words, or of characters where the normalizer counts those, a fraction.
        wer_full_precision: the same of the unquantized model on the same utterances.
        wer_increase: wer - wer_full_precision.
        ci95: paired bootstrap interval of the increase.
        loss: Kullback-Leibler divergence to full precision on this speech, nats per token.
        predicted_loss: loss that was predicted when it was measured, nats per token;
            `with_predictions` gives what is predicted now.
        speech: name of the speech set.
        speech_digest: digest over its recordings and texts.
        utterances: utterances measured.
        words: words (or characters) in the normalized references.
        normalizer: text normalizer used on both sides.
        method: how weights were rounded and text decoded.
        profile_digest: digest of the profile whose rounding was used.
        seconds: time that the measurement took.
        when: date, ISO 8601.
        looped: utterances on which the quantized model loops. Records without `runaways` count as
            loops what is more than 10 words longer than twice full precision's transcript.
        insertions_on_silence: words that the quantized model wrote for utterances in which
            nothing is said; they are not in `wer`.
        transcripts: (audio digest, full precision text, quantized text) per utterance; may be
            left out of what ships.
        runaways: the recordings on which either model ran away, and error rates without them; None
            of measurements from before they were told apart.
        long: how recordings of more than 30 s were heard; None without any.
        asked: languages and task that were asked for where these are not those of the model's own
            settings, and how it decoded if not greedily, such as "de transcribe" or "fallback".
    """

    label: str
    map_digest: str
    options: tuple[_Option, ...]
    bytes: _Count
    avg_bits: _Number
    reduction_vs_fp32: _Number
    wer: _Number
    wer_full_precision: _Number
    wer_increase: _Number
    ci95: tuple[_Number, _Number]
    loss: _Number
    predicted_loss: _Number
    speech: str
    speech_digest: str
    utterances: _Count
    words: _Count
    normalizer: str
    method: str
    profile_digest: str
    seconds: _Number
    when: str
    looped: _Count | None = None
    insertions_on_silence: _Count = 0
    transcripts: tuple[tuple[str, str, str], ...] = ()
    runaways: RanAway | None = None
    long: LongSpeech | None = None
    asked: str = ""

    @property
    def set_key(self) -> str:
        """What measurements that can be compared share: the speech, how words are counted, and what
        the model was asked for."""
        return "/".join(filter(None, (self.speech_digest, self.normalizer, self.asked)))

    @property
    def bits(self) -> tuple[float, ...]:
        """Width of each unit."""
        return tuple(option.bits for option in self.options)


_READER = TypeAdapter(Measured)


def to_fields(record: Measured) -> dict[str, Any]:
    """A record as JSON fields, options by their keys.

    Without insertions on silence, runaways or long recordings, it is written as before these were
    told, for older readers.
    """
    fields = {**dataclasses.asdict(record), "options": [option.key for option in record.options]}
    if not record.insertions_on_silence:
        del fields["insertions_on_silence"]
    if record.runaways is None:
        del fields["runaways"]
    if record.long is None:
        del fields["long"]
    if not record.asked:
        del fields["asked"]
    return fields


def from_fields(document: object) -> Measured:
    """A record from its JSON fields.

    Records from before there were several normalizers, counts of loops, kept transcripts,
    insertions on silence or runaways lack those fields.

    Raises:
        ValueError: the record does not match its seal, or a field is missing, unknown or of
            another type; the first such field is named.
    """
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    try:
        return _READER.validate_python({"normalizer": _FIRST_NORMALIZER, **unsealed(document)})
    except ValidationError as error:
        raise ValueError(f"wrong in {first_fault(error)}") from error
