"""What stands nearest to a model that is of no supported family."""

from __future__ import annotations

_KINDS = (
    ("MODEL_FOR_CTC_MAPPING_NAMES", "a CTC model", "wav2vec2"),
    ("MODEL_FOR_TDT_MAPPING_NAMES", "a transducer with durations", "parakeet_tdt"),
    ("MODEL_FOR_RNNT_MAPPING_NAMES", "a transducer", "parakeet_rnnt"),
    ("MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES", "a recognizer that writes tokens", "whisper"),
)
"""Tables of `transformers`, what their classes are, and a family of the same kind."""


def nearest(model_type: str) -> str:
    """A sentence on what a model type is to `transformers`, and the supported family next to it."""
    from transformers.models.auto import modeling_auto

    for table, what, family in _KINDS:
        kind = getattr(modeling_auto, table).get(model_type)
        if kind is not None:
            name = kind if isinstance(kind, str) else kind[0]
            return f"{name} is {what}; the nearest family that is supported is {family}."
    return "It is no speech recognizer that transformers knows."
