"""What every model family offers the core: one small protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..files import sha256, sha256_array
from ..units import Unit
from .made import Made, worn


@dataclass(frozen=True)
class Transcript:
    """What a model wrote for one utterance.

    Attributes:
        text: the transcript as the model writes it.
        tokens: what the model decided: output tokens without prompt, with the end token where it
            came; of a CTC model the label of each frame.
    """

    text: str
    tokens: tuple[int, ...]


class SpeechModel(Protocol):
    """A loaded speech recognizer. Batches are lists of mono float32 samples at 16 kHz."""

    name: str
    family: str
    digest: str
    module: nn.Module
    units: tuple[Unit, ...]
    head: str
    """Name of the output projection's weight."""
    derived: dict[str, Tensor]
    """Parameters that the architecture computes anew, by name, as it computes them."""
    decoding: str
    """How it transcribes, in a few words."""
    normalizer: str
    """The text normalizer that fits what it writes; see `wer.NORMALIZERS`."""

    def save_settings(self, folder: Path) -> None:
        """Write all that loading needs beside the parameters: settings, tokenizer, features."""
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
            One tensor an utterance, shape (decisions, features).
        """
        ...

    def log_probs(self, head_inputs: Tensor) -> Tensor:
        """Log-probabilities of the output units, shape (decisions, outputs), in nats."""
        ...


def parameter_count(module: nn.Module) -> int:
    """Parameters of a module, tied ones once."""
    return sum(p.numel() for p in module.parameters())


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over all parameters' names and contents, as float16 where that loses nothing."""
    lines = []
    for name, parameter in sorted(module.named_parameters()):
        half = parameter.detach().to(torch.float16)
        exact = bool((half.to(parameter.dtype) == parameter).all())
        array = (half if exact else parameter.detach().float()).cpu().numpy()
        lines.append(f"{name} {sha256_array(array)}")
    return sha256("\n".join(lines).encode())


@contextmanager
def replaced(model: SpeechModel, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Run with some parameters' contents exchanged; put the originals back afterwards.

    Args:
        model: the model to change in place.
        weights: new content by parameter name, each of the parameter's shape; where they are
            `Made`, layer by layer.
    """
    parameters = dict(model.module.named_parameters())
    held = weights.ready if isinstance(weights, Made) else weights
    layers = worn(model.module, weights.makers) if isinstance(weights, Made) else nullcontext()
    originals = {name: parameters[name].data for name in held}
    try:
        for name, weight in held.items():
            original = originals[name]
            parameters[name].data = weight.to(original.dtype).to(original.device)
        with layers:
            yield
    finally:
        for name, original in originals.items():
            parameters[name].data = original
