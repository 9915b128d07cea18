"""The record of one measured configuration."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ..options import Option
from ..storage.json_files import unsealed


@dataclass(frozen=True)
class Measured:
    """One configuration measured on one speech set.

    Attributes:
        label: a short name, such as "uniform 4" or "".
        map_digest: digest of the bit map.
        options: option of each unit, in the profile's order.
        bytes: size of the model, everything counted.
        avg_bits: mean code width over quantizable weights, scales not counted.
        reduction_vs_fp32: 1 - bytes / (4 * parameters).
        wer: word error rate, a fraction.
        wer_full_precision: the same of the unquantized model on the same utterances.
        wer_increase: wer - wer_full_precision.
        ci95: paired bootstrap interval of the increase.
        loss: Kullback-Leibler divergence to full precision on this speech, nats a token.
        predicted_loss: what was predicted then, nats per token; `with_predictions` says what is
            predicted now.
        speech: name of the speech set.
        speech_digest: digest over its recordings and texts.
        utterances: utterances measured.
        words: words in the normalized references.
        normalizer: text normalizer used on both sides.
        method: how weights were rounded and text decoded.
        profile_digest: digest of the profile whose rounding was used.
        seconds: time the measurement took.
        when: date, ISO 8601.
        looped: utterances on which the quantized model ran away; see `count_loops`.
        transcripts: (audio digest, full precision text, quantized text) an utterance; may be
            left out of what ships.
    """

    label: str
    map_digest: str
    options: tuple[Option, ...]
    bytes: int
    avg_bits: float
    reduction_vs_fp32: float
    wer: float
    wer_full_precision: float
    wer_increase: float
    ci95: tuple[float, float]
    loss: float
    predicted_loss: float
    speech: str
    speech_digest: str
    utterances: int
    words: int
    normalizer: str
    method: str
    profile_digest: str
    seconds: float
    when: str
    looped: int | None = None
    transcripts: tuple[tuple[str, str, str], ...] = ()

    @property
    def set_key(self) -> str:
        """What measurements that can be compared share: the speech, and how words are counted."""
        return f"{self.speech_digest}/{self.normalizer}"

    @property
    def bits(self) -> tuple[float, ...]:
        """Width of each unit."""
        return tuple(option.bits for option in self.options)


def to_fields(record: Measured) -> dict[str, Any]:
    return {**dataclasses.asdict(record), "options": [option.key for option in record.options]}


_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}


_KINDS["int | None"] = (int, type(None))


def from_fields(fields: dict[str, Any]) -> Measured:
    fields = unsealed(fields)
    fields.setdefault("normalizer", "whisper-english")
    fields["options"] = tuple(Option.parse(key) for key in fields["options"])
    fields["ci95"] = (float(fields["ci95"][0]), float(fields["ci95"][1]))
    fields["transcripts"] = tuple((a, b, c) for a, b, c in fields.get("transcripts", ()))
    record = Measured(**fields)
    for field in dataclasses.fields(Measured):
        value, kinds = getattr(record, field.name), _KINDS.get(str(field.type))
        if kinds and (type(value) not in kinds or value != value):  # NaN differs from itself
            raise TypeError(f"{field.name} is {value!r}")
    return record
