"""What every model family offers the core: one small protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..units import Unit

if TYPE_CHECKING:  # what is told of models is read without torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Transcript:
    """What a model wrote for one utterance.

    Attributes:
        text: the transcript as the model writes it.
        tokens: what the model decided: output tokens without the prompt, with the end token if it
            was written; for a CTC model the label of each frame.
    """

    text: str
    tokens: tuple[int, ...]


class SpeechModel(Protocol):
    """A loaded speech recognizer. Batches are lists of mono float32 samples at 16 kHz."""

    name: str
    family: str
    digest: str
    """SHA-256 over its weights; profiles are matched by it."""
    module: nn.Module
    units: tuple[Unit, ...]
    head: str
    """Name of the output projection's weight."""
    derived: dict[str, Tensor]
    """Parameters that follow from a formula of the architecture, by name, as it gives them."""
    decoding: str
    """How it transcribes, in a few words: what it is asked for, if it can be asked."""
    normalizer: str
    """The text normalizer that fits what it writes; see `wer.NORMALIZERS`."""

    @property
    def text_digest(self) -> str:
        """SHA-256 over all that turns audio into text besides the weights.

        Configuration, features, tokenizer, language and task: with it and `digest`, transcripts
        are cached.
        """
        ...

    def save_settings(self, folder: Path) -> None:
        """Write all that loading needs except the parameters: settings, tokenizer, features."""
        ...

    def encode(self, audio: Sequence[np.ndarray]) -> Any:
        """Run the acoustic encoder on a batch; the result can be sliced by utterance."""
        ...

    def transcribe(self, encoded: Any) -> list[Transcript]:
        """Decode a batch greedily."""
        ...

    def head_inputs(self, encoded: Any, transcripts: Sequence[Transcript]) -> list[Tensor]:
        """Inputs of the output projection at each decision on the given transcripts.

        Returns:
            One tensor per utterance, shape (decisions, features).
        """
        ...

    def log_probs(self, head_inputs: Tensor) -> Tensor:
        """Log-probabilities of the output units, shape (decisions, outputs), in nats."""
        ...
