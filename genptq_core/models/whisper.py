"""Whisper: loading, the units that carry bits, greedy decoding, and decisions on a transcript."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.modeling_whisper import sinusoids

from ..errors import ModelError
from ..speech.utterances import RATE
from ..speech.wer import WHISPER_ENGLISH
from ..units import Unit
from . import Transcript
from .greedy import greedy
from .weights import weights_digest

EMBEDDING = "model.decoder.embed_tokens.weight"
HEAD = "proj_out"
POSITIONS = "model.encoder.embed_positions.weight"

# Token ids run roughly from frequent to rare, so ratios separate what is worth what; the rare
# end is cut evenly, for one large block would make sizes jump.
_BLOCK_EDGES = (512, 2048, 8192, 16384, 24576, 32768, 40960)


@dataclass(frozen=True)
class Encoded:
    """Encoder states of a batch: shape (batch, frames, features)."""

    states: Tensor

    def __getitem__(self, part: slice) -> Encoded:
        return Encoded(self.states[part])


class Whisper:
    """A Whisper model behind the core's protocol; see `SpeechModel` for the methods."""

    family = "whisper"
    head = EMBEDDING
    decoding = "greedy, at most 224 tokens"
    normalizer = WHISPER_ENGLISH

    def __init__(self, name: str, module: Any, features: Any, tokenizer: Any) -> None:
        self.name = name
        self.module: nn.Module = module
        self.units = units(module)
        self.derived = derived(module)
        self.digest = weights_digest(module)
        self._whisper = module
        self._features = features
        self._tokenizer = tokenizer

    def save_settings(self, folder: Path) -> None:
        """Configuration, generation settings, feature settings and tokenizer, as Whisper's are."""
        self._whisper.config.save_pretrained(folder)
        self._whisper.generation_config.save_pretrained(folder)
        self._features.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def encode(self, audio: Sequence[np.ndarray]) -> Encoded:
        """Log-mel features, padded to 30 s as Whisper was trained, through the encoder."""
        batch = self._features(list(audio), sampling_rate=RATE, return_tensors="pt")
        heard = batch.input_features.to(self._whisper.device)
        # One at a time, to the bit the same: what 30 s of sound become stays in the cache.
        encoder = self._whisper.model.encoder
        return Encoded(torch.cat([encoder(one).last_hidden_state for one in heard.split(1)]))

    def transcribe(self, encoded: Encoded) -> list[Transcript]:
        """Greedy decoding without timestamps, of at most half the text context, as OpenAI's is."""
        settings = self._whisper.generation_config
        # A broken model may write times, which nobody asked for.
        times = range(
            int(settings.no_timestamps_token_id) + 1, int(self._whisper.config.vocab_size)
        )
        with torch.no_grad():
            rows = greedy(
                self._whisper,
                encoded.states,
                self.prompt,
                int(settings.eos_token_id),
                self._whisper.config.max_target_positions // 2,
                never=[*(settings.suppress_tokens or ()), *times],
                not_first=settings.begin_suppress_tokens or (),
            )
        return [
            Transcript(self._tokenizer.decode(row, skip_special_tokens=True).strip(), tuple(row))
            for row in rows
        ]

    @property
    def prompt(self) -> list[int]:
        """Tokens that open every decoding: start, (language, task), no timestamps."""
        settings = self._whisper.generation_config
        tokens = [int(settings.decoder_start_token_id)]
        if settings.is_multilingual:
            tokens += [settings.lang_to_id["<|en|>"], settings.task_to_id["transcribe"]]
        return [*tokens, int(settings.no_timestamps_token_id)]

    def head_inputs(self, encoded: Encoded, transcripts: Sequence[Transcript]) -> list[Tensor]:
        """Final decoder states where each transcript token is decided: (tokens, features)."""
        prompt = self.prompt
        lengths = [len(t.tokens) for t in transcripts]
        pad = int(self._whisper.generation_config.pad_token_id or 0)
        rows = torch.full((len(lengths), len(prompt) + max(lengths)), pad)
        for row, transcript in zip(rows, transcripts, strict=True):
            sequence = [*prompt, *transcript.tokens]
            row[: len(sequence)] = torch.tensor(sequence)
        states = self._whisper.model.decoder(
            input_ids=rows[:, :-1].to(self._whisper.device),
            encoder_hidden_states=encoded.states,
            use_cache=False,
        ).last_hidden_state
        first = len(prompt) - 1
        return [state[first : first + n] for state, n in zip(states, lengths, strict=True)]

    def log_probs(self, head_inputs: Tensor) -> Tensor:
        """Log-probabilities over the whole vocabulary, nothing suppressed."""
        states = head_inputs.to(self._whisper.device)
        return torch.log_softmax(self._whisper.proj_out(states), dim=-1)


def assembled(folder: Path, name: str, parameters: Mapping[str, Tensor]) -> Whisper:
    """A Whisper of a folder's settings with these parameters; the positions are the formula's.

    Raises:
        ModelError: a parameter is missing or has another shape.
    """
    config = WhisperConfig.from_pretrained(folder, local_files_only=True)
    # Made without storage, for drawing initial weights takes longer than loading the real ones.
    with torch.device("meta"):
        module = blank(config)
    shape = module.model.encoder.embed_positions.weight.shape
    state = {POSITIONS: sinusoids(*shape), **parameters}
    try:
        found = module.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise ModelError(f"{folder} has weights of another shape ({error}).") from error
    if found.unexpected_keys or set(found.missing_keys) - {f"{HEAD}.weight"}:
        raise ModelError(f"{folder} lacks {found.missing_keys}, has {found.unexpected_keys}.")
    module.tie_weights()
    module.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    features = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
    tokenizer = WhisperTokenizer.from_pretrained(folder, local_files_only=True)
    return Whisper(name, module.eval(), features, tokenizer)


def load(source: str, name: str, offline: bool) -> Whisper:
    """A Whisper from a `save_pretrained` folder or the model hub.

    Raises:
        OSError, ValueError, RuntimeError, KeyError, SafetensorError: it cannot be loaded.
    """
    module = WhisperForConditionalGeneration.from_pretrained(
        source, local_files_only=offline, dtype=torch.float32
    )
    processor = WhisperProcessor.from_pretrained(source, local_files_only=offline)
    return Whisper(name, module.eval(), processor.feature_extractor, processor.tokenizer)


def blank(config: Any) -> Any:
    """A Whisper of these settings, its weights yet to come."""
    return WhisperForConditionalGeneration(config)


def derived(module: Any) -> dict[str, Tensor]:
    """The encoder's positions, if they are still the sinusoids that Whisper's architecture has.

    Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2;
    16-bit copies differ from the formula in their last places.
    """
    positions = module.model.encoder.embed_positions.weight.detach()
    computed = sinusoids(*positions.shape)
    same = bool(((positions.float() - computed).abs() < 1e-3).all())
    return {POSITIONS: computed} if same else {}


def units(module: Any) -> tuple[Unit, ...]:
    """Every convolution and Linear weight, and the tied embedding in blocks of rows.

    The decoder's positions stay at 16 bit: calibration speech reaches few of them, so nothing
    would tell what the others are worth.
    """
    found: list[Unit] = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv1d):
            rows, columns = len(layer.weight), layer.weight[0].numel()
            parameter, index = f"{name}.weight", int(name[-1]) - 1
            found.append(
                Unit(parameter, parameter, 0, rows, columns, "encoder", "convolution", index, name)
            )
        if isinstance(layer, nn.Linear) and name != HEAD:
            rows, columns = layer.weight.shape
            part = "encoder" if ".encoder.layers." in name else "decoder"
            index = int(name.split(".layers.")[1].split(".")[0])
            parameter = f"{name}.weight"
            found.append(
                Unit(
                    parameter, parameter, 0, rows, columns, part, _kind(name), index, _inputs(name)
                )
            )
    rows, columns = module.model.decoder.embed_tokens.weight.shape
    # Control tokens follow the words; the end token among them is the most frequent of all.
    control = int(module.config.eos_token_id)
    edges = sorted({0, *(edge for edge in _BLOCK_EDGES if edge < control), control, rows})
    for index, (start, stop) in enumerate(itertools.pairwise(edges)):
        name = f"{EMBEDDING}@{start}:{stop}"
        found.append(
            Unit(name, EMBEDDING, start, stop, columns, "embedding", "embedding", index, HEAD)
        )
    return tuple(found)


def _kind(name: str) -> str:
    if ".encoder_attn." in name:
        return "cross-attention"
    return "attention" if ".self_attn." in name else "feed-forward"


def _inputs(name: str) -> str:
    """The module that stands for all modules with the same input."""
    if re.search(r"encoder_attn\.[kv]_proj$", name):
        return re.sub(
            r"layers\.\d+\.encoder_attn\.[kv]_proj$", "layers.0.encoder_attn.k_proj", name
        )
    return re.sub(r"self_attn\.[kv]_proj$", "self_attn.q_proj", name)
