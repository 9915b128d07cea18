"""What the decoder of an ONNX export carries with it: how it is to be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..models.folders import MOST_LAYERS

_LONGEST = 4096  # tokens; no recognizer writes as many


@dataclass(frozen=True)
class Notes:
    """How the decoder of an export is used.

    Attributes:
        prompt: tokens that open every decoding.
        ends: tokens, any of which ends a transcript.
        never: tokens that must not be written.
        not_first: tokens that must not be written first.
        most: most tokens of a transcript.
        layers: layers of the decoder.
    """

    prompt: tuple[int, ...]
    ends: tuple[int, ...]
    never: tuple[int, ...]
    not_first: tuple[int, ...]
    most: int
    layers: int

    def as_json(self) -> dict[str, Any]:
        """The notes as a decoder's metadata holds them."""
        return {
            "prompt": list(self.prompt),
            "end": self.ends[0] if len(self.ends) == 1 else list(self.ends),
            "suppressed": list(self.never),
            "suppressed_at_first": list(self.not_first),
            "most": self.most,
            "layers": self.layers,
        }

    @classmethod
    def of(cls, said: Any, vocabulary: int) -> Notes:
        """Notes from a decoder's metadata.

        Args:
            said: their JSON.
            vocabulary: tokens that the decoder has.

        Raises:
            ValueError: one is missing, or no number that can be; it is named.
        """
        if not isinstance(said, dict):
            raise ValueError("its notes on decoding are no table")
        end = said.get("end")
        return cls(
            prompt=_tokens("prompt", said.get("prompt"), vocabulary),
            ends=_tokens("end", end if isinstance(end, list) else [end], vocabulary),
            never=_tokens("suppressed", said.get("suppressed"), vocabulary, none=True),
            not_first=_tokens(
                "suppressed_at_first", said.get("suppressed_at_first"), vocabulary, none=True
            ),
            most=_number("most", said.get("most"), _LONGEST),
            layers=_number("layers", said.get("layers"), MOST_LAYERS),
        )


def _number(name: str, value: Any, most: int) -> int:
    if type(value) is not int or not 0 < value <= most:
        raise ValueError(f"its notes say {name}, which is no number from 1 to {most}")
    return value


def _tokens(name: str, value: Any, vocabulary: int, none: bool = False) -> tuple[int, ...]:
    if not isinstance(value, list) or not (value or none):
        raise ValueError(f"its notes say {name}, which is no list of tokens")
    if any(type(token) is not int or not 0 <= token < vocabulary for token in value):
        raise ValueError(f"its notes say {name}, with tokens that its decoder does not have")
    return tuple(value)
