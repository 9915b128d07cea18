"""How a model turns what it hears into text: greedily, or with a guard against running away.

Runtimes of Whisper decode again, at rising temperature, what repeats itself or what the model holds
to be unlikely (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022,
section 4.5). What is drawn depends on the samples of an utterance alone, so that neither the order
of a set nor how it is shared out changes a text.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, cast

import numpy as np

from ..errors import ModelError
from . import SpeechModel


@dataclass(frozen=True)
class Decoding:
    """A rule for decoding.

    Attributes:
        name: as the command line names it.
        temperatures: what to decode at, one after another, until a text is trusted; 0 is greedy.
        most_compression: a text that compresses by more repeats itself.
        least_log_prob: a text whose tokens have a smaller mean log-probability (nats) is not
            trusted.
    """

    name: str
    temperatures: tuple[float, ...] = (0.0,)
    most_compression: float = 2.4
    least_log_prob: float = -1.0

    @property
    def falls_back(self) -> bool:
        """Whether a text may be decoded again."""
        return len(self.temperatures) > 1

    @property
    def key(self) -> dict[str, Any]:
        """What stands for the rule in the keys of caches."""
        return asdict(self)

    @property
    def words(self) -> str:
        """The rule in a few words; "" for greedy decoding."""
        if not self.falls_back:
            return ""
        return (
            f"again at temperature {self.temperatures[1]:g} to {self.temperatures[-1]:g} if it "
            f"compresses {self.most_compression:g} times or its mean log-probability is below "
            f"{self.least_log_prob:g}"
        )

    def trusts(self, text: str, log_prob: float, tokens: int) -> bool:
        """Whether a text stays as it is.

        Args:
            text: what was written.
            log_prob: sum of its tokens' log-probabilities, the end's among them, nats.
            tokens: how many they are.
        """
        likely = log_prob / max(tokens, 1) >= self.least_log_prob
        return likely and compression(text) <= self.most_compression


GREEDY = Decoding("greedy")
FALLBACK = Decoding("fallback", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))

DECODINGS = {decoding.name: decoding for decoding in (GREEDY, FALLBACK)}
"""Rules by name."""


def compression(text: str) -> float:
    """How many times shorter a text gets when it is deflated; far above 2 if it repeats itself."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def seed_of(samples: np.ndarray) -> int:
    """The seed of what is drawn for an utterance: from its samples alone, (samples,), float32."""
    data = np.ascontiguousarray(samples, dtype="<f4").tobytes()
    return int.from_bytes(sha256(data).digest()[:8], "little")


def decoding_of(model: SpeechModel) -> Decoding:
    """The rule that a model decodes by."""
    return cast(Decoding, vars(model).get("_rule", GREEDY))


def with_decoding(model: SpeechModel, decoding: Decoding) -> SpeechModel:
    """A model that decodes by a rule; it shares its weights with the one that is given.

    Raises:
        ModelError: the model cannot decode by it.
    """
    if decoding == GREEDY:
        return model
    # Asked of the class: models of other runtimes answer for every attribute that they lack.
    own = getattr(type(model), "with_decoding", None)
    if own is None:
        raise ModelError(
            f"{model.name} ({model.family}) cannot decode with {decoding.name}: only a Whisper "
            "that this program computes decodes a text again.",
            "Leave out --decoding.",
        )
    return cast(SpeechModel, own(model, decoding))
