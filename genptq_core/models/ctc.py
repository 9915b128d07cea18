"""CTC recognizers: Conformers and similar models that decide each frame on its own.

One adapter holds Parakeet's FastConformer, LASR, Wav2Vec2 with its Conformer and its BERT, HuBERT
and WavLM; another architecture with such a head is a line in `_PARTS`.

Labels are drawn, and divergence is counted, frame by frame: given the audio, CTC's frames are
independent (Graves et al., "Connectionist temporal classification", 2006, section 3.1), so drawing
each frame's label draws an alignment from the model's own distribution over alignments, and the
divergence between two models' alignments is the sum over frames. It bounds the divergence between
their transcripts from above, since a transcript follows from its alignment. A sum over all
alignments, which could neither be sampled from nor measured exactly, is not needed. A "token" of a
transcript is therefore a frame here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCTC

from ..errors import ModelError
from ..speech.utterances import RATE
from ..speech.wer import BASIC
from . import Transcript
from .acoustic import (
    Encoded,
    check_features,
    check_labels,
    encoder_states,
    fold_norms,
    settings,
)
from .checkpoint import check_finite, from_parameters
from .matrices import Place, block_of, encoder_kind, units_of
from .overlapping_windows import OverlappingWindows
from .text_digest import text_digest
from .wavlm import call_linear_modules
from .weights import weights_digest

_PARTS = {
    "parakeet_ctc": ("encoder", "ctc_head"),
    "lasr_ctc": ("encoder", "ctc_head"),
    "wav2vec2": ("wav2vec2", "lm_head"),
    "wav2vec2-conformer": ("wav2vec2_conformer", "lm_head"),
    "wav2vec2-bert": ("wav2vec2_bert", "lm_head"),
    "hubert": ("hubert", "lm_head"),
    "wavlm": ("wavlm", "lm_head"),
}
"""Names of the encoder and the head in each architecture, by `model_type`."""


class Ctc:
    """A CTC recognizer behind the core's protocol; see `SpeechModel` for the methods."""

    decoding = "greedy, frame by frame"
    normalizer = BASIC

    def __init__(self, name: str, module: Any, features: Any, tokenizer: Any) -> None:
        check_finite(module, name)
        _check_fit(name, module, features, tokenizer)
        fold_norms(module)
        call_linear_modules(module)
        check_finite(module, name)  # a statistic may be below zero
        self.name = name
        self.family = str(module.config.model_type)
        encoder, head = _PARTS[self.family]
        self.head = f"{head}.weight"
        self.module: nn.Module = module
        self._ctc = module
        self._config = module.config
        self.derived: dict[str, Tensor] = {}
        self._encoder = getattr(module, encoder)
        self._head = getattr(module, head)
        self._features = features
        self._tokenizer = tokenizer
        self._blank = _blank(module.config, tokenizer)
        self.units = units_of(module, self._run, lambda name: _place(name, head))
        self.digest = weights_digest(module)

    @cached_property
    def text_digest(self) -> str:
        """SHA-256 over all that turns audio into text besides the weights."""
        return text_digest(self.save_settings, [self.decoding, self._blank])

    def save_settings(self, folder: Path) -> None:
        """Configuration, feature settings and tokenizer."""
        self._config.save_pretrained(folder)
        self._features.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def encode(self, audio: Sequence[np.ndarray]) -> Encoded:
        """Encoder states, one utterance at a time: padding would change them and add frames."""
        return Encoded(
            tuple(encoder_states(self._encoder, self._features, samples) for samples in audio)
        )

    def transcribe(self, encoded: Encoded) -> list[Transcript]:
        """The likeliest label of each frame; equal neighbours become one, then blanks go."""
        transcripts = []
        for states in encoded.states:
            with torch.no_grad():
                path = self.log_probs(states).argmax(dim=-1).tolist()
            transcripts.append(Transcript(self.text(path), tuple(path)))
        return transcripts

    def text(self, path: Sequence[int]) -> str:
        """The text of an alignment; `path` holds one label per frame.

        Neighbours are merged here: a tokenizer told to skip special tokens drops blanks first, and
        so merges equal labels that a blank separates.
        """
        labels = [label for label, _ in groupby(path) if label != self._blank]
        return str(
            self._tokenizer.decode(labels, skip_special_tokens=True, group_tokens=False)
        ).strip()

    def head_inputs(self, encoded: Encoded, transcripts: Sequence[Transcript]) -> list[Tensor]:
        """Encoder states, (frames, features): every frame is a decision, whatever was written."""
        return list(encoded.states)

    def log_probs(self, head_inputs: Tensor) -> Tensor:
        """Log-probabilities over labels and blank: (frames, labels)."""
        states = head_inputs.to(self._ctc.device)
        return torch.log_softmax(self._head(states[None])[0], dim=-1)

    def long_form(self) -> OverlappingWindows:
        """How it hears recordings of more than 30 s."""
        return OverlappingWindows(self, self._hop)

    @cached_property
    def _hop(self) -> int:
        """Samples from one frame to the next: of what 8 s of silence more give in frames."""
        more = 8 * RATE
        with torch.no_grad():
            lengths = [
                len(self.encode([np.zeros(size, dtype=np.float32)]).states[0])
                for size in (RATE, RATE + more)
            ]
        return round(more / (lengths[1] - lengths[0]))

    def _run(self) -> None:
        """Everything once, on silence."""
        with torch.no_grad():
            self.log_probs(self.encode([np.zeros(RATE // 2, dtype=np.float32)]).states[0])


MODEL, CHECKPOINTS = Ctc, dict.fromkeys(_PARTS, AutoModelForCTC)
"""What a loaded model is, and the class of `transformers` that reads its weights, by model type."""


def assembled(folder: Path, name: str, parameters: Mapping[str, Tensor]) -> Ctc:
    """A recognizer with a folder's settings and these parameters.

    Its batch norms' statistics are the trivial ones that `fold_norms` left.

    Raises:
        ModelError: a parameter is missing or has another shape.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    module = from_parameters(AutoModelForCTC, config, folder, parameters)
    return Ctc(name, module, *settings(str(folder), folder, offline=True))


def computed(name: str, parameter: Tensor) -> Tensor | None:
    """What stands for masked frames is used in training only, and often not stored."""
    return torch.zeros_like(parameter) if name.endswith(".masked_spec_embed") else None


def _blank(config: Any, tokenizer: Any) -> int:
    """The label of no letter: the configuration's, else the tokenizer's padding."""
    said = config.pad_token_id
    return int(said if said is not None else tokenizer.pad_token_id or 0)


def _check_fit(name: str, module: Any, features: Any, tokenizer: Any) -> None:
    """Make sure that features and labels are those of the model.

    Raises:
        ModelError: they are not.
    """
    check_features(name, module, features)
    silence = _blank(module.config, tokenizer)
    check_labels(name, int(module.config.vocab_size), [silence], tokenizer)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != silence:
        raise ModelError(
            f"{name} says in its config.json that label {silence} is the blank (pad_token_id), and "
            f"its tokenizer that {tokenizer.pad_token_id} is.",
            "Correct pad_token_id in config.json, or take the tokenizer that the model was trained "
            "with.",
        )


def _place(name: str, head: str) -> Place:
    """Where a layer belongs."""
    if name == head:
        return "decoder", "output", 0
    return "encoder", encoder_kind(name), block_of(name)
