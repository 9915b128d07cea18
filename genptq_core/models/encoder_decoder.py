"""Encoder-decoders besides Whisper: Moonshine, Canary and Cohere's, behind one adapter.

They encode an utterance at its own length, and write token after token, each decided with all
those before it. As for Whisper, the decisions are the tokens of the model's own greedy transcript,
the end among them. An output matrix that is tied to the embeddings carries bits in blocks of rows;
embeddings of their own stay at 16 bit, as calibration speech reaches few of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSpeechSeq2Seq, GenerationConfig

from ..errors import ModelError
from ..speech.utterances import RATE
from ..speech.wer import MULTILINGUAL, WHISPER_ENGLISH
from ..units import Unit
from . import Transcript
from .acoustic import check_features, encoder_states, fold_norms, settings
from .checkpoint import check_finite, from_parameters
from .greedy import greedy
from .matrices import Place, block_of, encoder_kind, units_of
from .text_digest import text_digest
from .weights import weights_digest

_TASK = (
    *("<|startofcontext|>", "<|startoftranscript|>", "<|emo:undefined|>", "{0}", "{0}"),
    *("<|pnc|>", "<|noitn|>", "<|notimestamp|>", "<|nodiarize|>"),
)
_PROMPTS = {"moonshine": (), "canary": _TASK, "cohere_asr": ("\N{LOWER ONE EIGHTH BLOCK}", *_TASK)}
"""What opens every transcript, by model type: control tokens as the tokenizer names them, {0} for
the language's; () for the token that the settings name. Canary's are those of NeMo's format
"canary2", which Cohere's model takes after a blank."""

_PER_SECOND = {"moonshine": 6.5}
"""Most tokens for each second of speech (Jeffries et al., "Moonshine: Speech Recognition for Live
Transcription and Voice Commands", 2024: its transcribers stop there); others end by themselves."""

_EDGES = (512, 2048, 8192, 16384, 24576, 32768, 65536)  # of blocks of rows; see `whisper`
_HEAD = "proj_out"
_DECODER = "model.decoder.layers."
_REMEDY = "Take the tokenizer and the generation_config.json that the model was trained with."


@dataclass(frozen=True)
class Prompt:
    """How an encoder-decoder decodes.

    Attributes:
        tokens: that open every transcript.
        ends: tokens, any of which ends one.
        most: most tokens of a transcript.
        per_second: most tokens for each second of speech; 0 for no such bound.
        language: code of the language that is asked for; "" for a model that is not asked.
    """

    tokens: tuple[int, ...]
    ends: tuple[int, ...]
    most: int
    per_second: float
    language: str

    def within(self, seconds: float) -> int:
        """Most tokens of an utterance."""
        bound = int(self.per_second * seconds) if self.per_second else self.most
        return max(1, min(bound, self.most))


@dataclass(frozen=True)
class Heard:
    """Encoder states, one tensor (frames, features) per utterance, and most tokens for each."""

    states: tuple[Tensor, ...]
    most: tuple[int, ...]

    def __getitem__(self, part: slice) -> Heard:
        return Heard(self.states[part], self.most[part])


class EncoderDecoder:
    """An encoder-decoder behind the core's protocol; see `SpeechModel` for the methods."""

    def __init__(self, name: str, module: Any, features: Any, tokenizer: Any) -> None:
        check_finite(module, name)
        check_features(name, module, features)
        self.prompt = _prompt(name, module, tokenizer)
        fold_norms(module)
        check_finite(module, name)  # a statistic may be below zero
        self.name = name
        self.family = str(module.config.model_type)
        asked = f", {self.prompt.language} transcribe" if self.prompt.language else ""
        self.decoding = f"greedy, at most {self.prompt.most} tokens{asked}"
        self.normalizer = WHISPER_ENGLISH if self.prompt.language in ("", "en") else MULTILINGUAL
        self.module: nn.Module = module
        self._model = module
        self._features = features
        self._tokenizer = tokenizer
        self.derived: dict[str, Tensor] = {}
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        self.head = names[id(module.proj_out.weight)]
        self.units = self._units()
        self.digest = weights_digest(module)

    @cached_property
    def text_digest(self) -> str:
        """SHA-256 over all that turns audio into text besides the weights."""
        return text_digest(self.save_settings, asdict(self.prompt))

    def save_settings(self, folder: Path) -> None:
        """Configuration, generation settings, feature settings and tokenizer."""
        self._model.config.save_pretrained(folder)
        self._model.generation_config.save_pretrained(folder)
        self._features.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def encode(self, audio: Sequence[np.ndarray]) -> Heard:
        """Encoder states, one utterance at a time: padding would change them and add frames."""
        encoder = self._model.model.encoder
        return Heard(
            tuple(encoder_states(encoder, self._features, samples) for samples in audio),
            tuple(self.prompt.within(len(samples) / RATE) for samples in audio),
        )

    def transcribe(self, encoded: Heard) -> list[Transcript]:
        """Greedily, one utterance after another."""
        transcripts = []
        for states, most in zip(encoded.states, encoded.most, strict=True):
            with torch.no_grad():
                (row,) = greedy(
                    self._model, states[None], self.prompt.tokens, self.prompt.ends, most
                )
            text = self._tokenizer.decode(row, skip_special_tokens=True)
            transcripts.append(Transcript(str(text).strip(), tuple(row)))
        return transcripts

    def head_inputs(self, encoded: Heard, transcripts: Sequence[Transcript]) -> list[Tensor]:
        """Final decoder states where each transcript token is decided: (tokens, features)."""
        return [
            self._decided(states, transcript.tokens)
            for states, transcript in zip(encoded.states, transcripts, strict=True)
        ]

    def _decided(self, states: Tensor, tokens: Sequence[int]) -> Tensor:
        before = torch.tensor([[*self.prompt.tokens, *tokens[:-1]]], device=self._model.device)
        outputs = self._model.model.decoder(
            input_ids=before, encoder_hidden_states=states[None], use_cache=False
        ).last_hidden_state
        decided: Tensor = outputs[0, len(self.prompt.tokens) - 1 :]
        return decided

    def log_probs(self, head_inputs: Tensor) -> Tensor:
        """Log-probabilities over the whole vocabulary."""
        return torch.log_softmax(self._model.proj_out(head_inputs.to(self._model.device)), dim=-1)

    def _units(self) -> tuple[Unit, ...]:
        """Every matrix; a head that is tied to the embeddings in blocks of rows."""
        tied = self.head != f"{_HEAD}.weight"

        def place(name: str) -> Place:
            if name == _HEAD:
                return ("embedding", "embedding", 0) if tied else ("decoder", "output", 0)
            if name.startswith("model.encoder."):
                return "encoder", encoder_kind(name), block_of(name)
            if not name.startswith(_DECODER):
                return "decoder", "projection", 0
            kind = "cross-attention" if ".encoder_attn." in name else "feed-forward"
            return "decoder", "attention" if ".self_attn." in name else kind, block_of(name)

        *others, head = units_of(self.module, self._run, place)
        return (*others, *(_in_rows(head) if tied else [head]))

    def _run(self) -> None:
        """Everything once, on silence."""
        with torch.no_grad():
            states = self.encode([np.zeros(RATE // 2, dtype=np.float32)]).states[0]
            self.log_probs(self._decided(states, self.prompt.ends[:1]))


MODEL = EncoderDecoder
CHECKPOINTS = dict.fromkeys(_PROMPTS, AutoModelForSpeechSeq2Seq)
"""The class of `transformers` that reads the weights, by model type."""


def assembled(folder: Path, name: str, parameters: Mapping[str, Tensor]) -> EncoderDecoder:
    """A recognizer with a folder's settings and these parameters.

    Raises:
        ModelError: a parameter is missing or has another shape.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    module = from_parameters(AutoModelForSpeechSeq2Seq, config, folder, parameters)
    module.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return EncoderDecoder(name, module, *settings(str(folder), folder, offline=True))


def computed(name: str, parameter: Tensor) -> Tensor | None:
    """None: all parameters are stored."""
    return None


def _in_rows(unit: Unit) -> list[Unit]:
    """Blocks of a matrix's rows, which run roughly from frequent tokens to rare ones."""
    edges = [0, *(edge for edge in _EDGES if edge < unit.stop), unit.stop]
    return [
        replace(unit, name=f"{unit.parameter}@{start}:{stop}", start=start, stop=stop, block=index)
        for index, (start, stop) in enumerate(pairwise(edges))
    ]


def _prompt(name: str, module: Any, tokenizer: Any) -> Prompt:
    """How a model decodes, from all that came with it.

    Raises:
        ModelError: a token that decoding needs cannot be had, or the tokenizer is of another size.
    """
    config, generation = module.config, module.generation_config
    vocabulary = tokenizer.get_vocab()
    size = int(config.vocab_size)
    if max(vocabulary.values(), default=-1) >= size:
        raise ModelError(
            f"{name} writes {size} tokens, and its tokenizer has {len(vocabulary)}.", _REMEDY
        )
    said = {
        key: next(
            (v for s in (generation, config) if (v := getattr(s, key, None)) is not None), None
        )
        for key in ("decoder_start_token_id", "eos_token_id", "language")
    }
    language = ""
    opening = _PROMPTS[config.model_type]
    if opening:
        language = str(said["language"] or "en")
        wanted = [token.format(f"<|{language}|>") for token in opening]
        missing = next((token for token in wanted if token not in vocabulary), None)
        if missing is not None:
            raise ModelError(f"The tokenizer of {name} has no {missing}.", _REMEDY)
        tokens = [int(vocabulary[token]) for token in wanted]
    else:
        tokens = [cast(int, said["decoder_start_token_id"])]
    end: Any = said["eos_token_id"]
    ends = list(end) if isinstance(end, list | tuple) else [end]
    for key, values in (("decoder_start_token_id", tokens), ("eos_token_id", ends)):
        if not values or any(type(v) is not int or not 0 <= v < size for v in values):
            raise ModelError(f"{name} says {key} {str(values)[:40]}.", _REMEDY)
    positions = int(config.get_text_config(decoder=True).max_position_embeddings)
    most = positions - len(tokens)
    if most < 1:
        raise ModelError(f"{name} has no room for a transcript of one token.")
    per_second = _PER_SECOND.get(config.model_type, 0.0)
    return Prompt(tuple(tokens), tuple(ends), most, per_second, language)
