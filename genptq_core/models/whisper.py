"""Whisper: loading, the units that carry bits, greedy decoding, and decisions on a transcript."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSpeechSeq2Seq,
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.models.whisper.modeling_whisper import sinusoids

from ..errors import ModelError
from ..speech.languages import whisper_normalizer
from ..speech.utterances import RATE
from ..units import Unit
from . import Transcript
from .asking import generation_settings
from .checkpoint import check_finite, check_shapes, outline
from .decoding import GREEDY, Decoding, seed_of
from .folders import FEATURE_FILES, check_rate, own_settings, require
from .greedy import Choose, Written, drawn, likeliest, write
from .text_digest import text_digest
from .timed_windows import TimedWindows, timestamps_of, with_times
from .timestamps import Timestamps
from .weights import weights_digest
from .whisper_asking import asked_for
from .whisper_settings import WhisperSettings, known_of, settings_of

EMBEDDING = "model.decoder.embed_tokens.weight"
HEAD = "proj_out"
POSITIONS = "model.encoder.embed_positions.weight"

# Token ids run roughly from frequent to rare, so blocks grow by a ratio, and rows in one block
# matter about equally. The rare end is cut evenly: one large block would make sizes jump.
_BLOCK_EDGES = (512, 2048, 8192, 16384, 24576, 32768, 40960)


@dataclass(frozen=True)
class Encoded:
    """Encoder outputs of a batch.

    Attributes:
        states: shape (batch, frames, features).
        seeds: of what is drawn for each utterance; none if nothing is ever drawn.
    """

    states: Tensor
    seeds: tuple[int, ...] = ()

    def __getitem__(self, part: slice) -> Encoded:
        return Encoded(self.states[part], self.seeds[part])


class Whisper:
    """A Whisper model behind the core's protocol; see `SpeechModel` for the methods."""

    family = "whisper"

    def __init__(self, name: str, module: Any, features: Any, tokenizer: Any) -> None:
        check_finite(module, name)
        _check_fit(name, module, features)
        self.name = name
        self.settings = settings_of(
            name, module.config, module.generation_config, tokenizer.get_vocab()
        )
        self.own_settings = self.settings
        self.asked = ("", "")
        self.decoding = self.settings.words
        self.normalizer = whisper_normalizer(self.settings.language, self.settings.english)
        self.module: nn.Module = module
        self.head = head_of(module)
        self.units = units(module)
        self.derived = derived(module)
        self.digest = weights_digest(module)
        self._whisper = module
        self._features = features
        self._tokenizer = tokenizer
        self._rule = GREEDY
        self._times: Timestamps | None = None

    def with_decoding(self, rule: Decoding) -> Whisper:
        """The same model, its weights shared, that decodes by a rule."""
        return self._changed(self.settings, rule)

    def with_language(self, language: str, task: str) -> Whisper:
        """The same model, its weights shared, asked for a language and a task; "" for its own.

        Raises:
            ModelError: it does not know one of them.
        """
        module, vocabulary = self._whisper, self._tokenizer.get_vocab()
        known = known_of(self.name, module.config, module.generation_config, vocabulary)
        settings = asked_for(self.name, self.settings, known, language, task)
        other = self if settings == self.settings else self._changed(settings, self._rule)
        if (language, task) != self.asked:
            other = copy.copy(other)
            other.__dict__.pop("_by_language", None)
            other.asked = (language, task)
        return other

    def _changed(self, settings: WhisperSettings, rule: Decoding) -> Whisper:
        other = copy.copy(self)
        for name in ("text_digest", "_by_language"):
            other.__dict__.pop(name, None)
        other.settings, other._rule = settings, rule
        other.decoding = "; ".join(filter(None, (settings.words, rule.words)))
        other.normalizer = whisper_normalizer(settings.language, settings.english)
        return other

    def long_form(self) -> TimedWindows:
        """How it hears recordings of more than 30 s.

        Raises:
            ModelError: it has no tokens for times.
        """
        times = timestamps_of(self.settings, self._whisper.config.vocab_size, self.name)
        other = copy.copy(self)
        other.settings = with_times(self.settings, times)
        other._times = times
        return TimedWindows(other, times, self._tokenizer)

    @cached_property
    def text_digest(self) -> str:
        """SHA-256 over all that turns audio into text besides the weights."""
        asked: Any = asdict(self.settings)
        if self._rule != GREEDY:
            asked = [asked, self._rule.key]
        return text_digest(self.save_settings, asked)

    def save_settings(self, folder: Path) -> None:
        """Configuration, generation settings, feature settings and tokenizer, as Whisper's are."""
        self._whisper.config.save_pretrained(folder)
        generation = self._whisper.generation_config
        if self.settings != self.own_settings:
            asked = self.settings
            generation = generation_settings(self._whisper, asked.language, asked.task)
        generation.save_pretrained(folder)
        self._features.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def encode(self, audio: Sequence[np.ndarray]) -> Encoded:
        """Log-mel features, padded to 30 s as Whisper was trained, through the encoder."""
        batch = self._features(list(audio), sampling_rate=RATE, return_tensors="pt")
        features = batch.input_features.to(self._whisper.device)
        # One at a time gives the same bits and is faster: its activations fit in the CPU's cache.
        encoder = self._whisper.model.encoder
        states = torch.cat([encoder(f).last_hidden_state for f in features.split(1)])
        return Encoded(states, tuple(map(seed_of, audio)) if self._rule.falls_back else ())

    def transcribe(self, encoded: Encoded) -> list[Transcript]:
        """Decoding without timestamps, of at most half the text context as OpenAI's decoder.

        Greedy; where the model's rule has more temperatures, what it does not trust is decoded
        again, one utterance at a time, and what the last temperature gave stays.
        """
        if not self._rule.falls_back:
            return [self._transcript(row) for row in self._write(encoded.states)]
        written = self._write(encoded.states, count=True)
        found = []
        for index, row in enumerate(written):
            one = self._transcript(row)
            for number, temperature in enumerate(self._rule.temperatures):
                if number:
                    choose = drawn(temperature, (encoded.seeds[index], number))
                    states = encoded.states[index : index + 1]
                    (row,) = self._write(states, choose=choose, count=True)
                    one = self._transcript(row)
                if self._rule.trusts(one.text, row.log_prob, len(row.tokens)):
                    break
            found.append(one)
        return found

    def _write(
        self, states: Tensor, *, choose: Choose = likeliest, count: bool = False
    ) -> list[Written]:
        """The tokens of each row; see `greedy.write`."""
        settings = self.settings
        with torch.no_grad():
            return write(
                self._whisper,
                states,
                settings.prompt,
                settings.ends,
                settings.most,
                # A model that was rounded too far may write timestamps, which were not asked for.
                never=settings.never,
                not_first=settings.not_first,
                choose=choose,
                count=count,
                times=self._times,
            )

    def _transcript(self, row: Written) -> Transcript:
        tokens = row.tokens
        if self._times is not None:  # some tokenizers do not name them
            tokens = [token for token in tokens if not self._times.is_time(token)]
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return Transcript(text.strip(), tuple(row.tokens))

    @property
    def prompt(self) -> list[int]:
        """Tokens that open every decoding: start, (language, task), no timestamps."""
        return list(self.settings.prompt)

    def head_inputs(self, encoded: Encoded, transcripts: Sequence[Transcript]) -> list[Tensor]:
        """Final decoder states where each transcript token is decided: (tokens, features)."""
        prompt = self.prompt
        lengths = [len(t.tokens) for t in transcripts]
        rows = torch.full((len(lengths), len(prompt) + max(lengths)), self.settings.pad)
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


MODEL, CHECKPOINTS = Whisper, {"whisper": AutoModelForSpeechSeq2Seq}
"""What a loaded model is, and the class of `transformers` that reads its weights, by model type."""


def assembled(folder: Path, name: str, parameters: Mapping[str, Tensor]) -> Whisper:
    """A Whisper with a folder's settings and these parameters; missing positions are computed.

    Raises:
        ModelError: a parameter is missing or has another shape.
    """
    config = WhisperConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    module = outline(lambda: WhisperForConditionalGeneration(config))
    wanted = dict(module.named_parameters())
    check_shapes(folder, wanted, parameters, {POSITIONS})
    state = dict(parameters)
    if POSITIONS not in state:
        state[POSITIONS] = sinusoids(*wanted[POSITIONS].shape)
    module.load_state_dict(state, strict=False, assign=True)
    module.tie_weights()
    module.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return Whisper(name, module.eval(), *settings(str(folder), folder, offline=True))


def computed(name: str, parameter: Tensor) -> Tensor | None:
    """The encoder's positions follow from a formula, and need not be stored."""
    return sinusoids(*parameter.shape) if name == POSITIONS else None


def settings(source: str, folder: Path, offline: bool) -> tuple[Any, Any]:
    """Features and tokenizer; see `folders.own_settings`."""
    readers = (WhisperFeatureExtractor, WhisperTokenizer)
    return own_settings(source, folder, offline, readers, require_settings)


def require_settings(folder: Path) -> None:
    """Make sure that a folder holds a Whisper's feature settings and tokenizer.

    Raises:
        ModelError: one of them is missing.
    """
    require(folder, "feature settings", FEATURE_FILES)
    require(folder, "tokenizer", [["tokenizer.json"], ["vocab.json", "merges.txt"]])


def _check_fit(name: str, module: Any, features: Any) -> None:
    """Make sure that features are those of the model.

    Raises:
        ModelError: they are not.
    """
    config = module.config
    check_rate(name, features)
    bands, frames = int(features.feature_size), int(features.nb_max_frames)
    if bands != config.num_mel_bins or frames != 2 * config.max_source_positions:
        raise ModelError(
            f"{name} hears {config.num_mel_bins} mel bands and {2 * config.max_source_positions} "
            f"frames, and its preprocessor_config.json makes {bands} and {frames}.",
            "Take the preprocessor_config.json that the model was trained with.",
        )


def derived(module: Any) -> dict[str, Tensor]:
    """The encoder's positions, if they are still the sinusoids that Whisper's architecture has.

    Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2;
    16-bit copies differ from the formula in their last places.
    """
    positions = module.model.encoder.embed_positions.weight.detach()
    computed = sinusoids(*positions.shape)
    same = bool(((positions.float() - computed).abs() < 1e-3).all())
    return {POSITIONS: computed} if same else {}


def head_of(module: Any) -> str:
    """The name of the output layer's weight: the embedding's, as in OpenAI's, or one of its own."""
    tied = module.proj_out.weight is module.model.decoder.embed_tokens.weight
    return EMBEDDING if tied else f"{HEAD}.weight"


def units(module: Any) -> tuple[Unit, ...]:
    """Every convolution and Linear weight, and that of the output in blocks of rows.

    The decoder's positions stay at 16 bit: calibration speech reaches few of them, so the others
    could not be scored. So do embeddings that are not the output's.
    """
    head = head_of(module)
    listed: list[Unit] = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv1d):
            listed.append(
                Unit(
                    name=f"{name}.weight",
                    parameter=f"{name}.weight",
                    start=0,
                    stop=len(layer.weight),
                    columns=layer.weight[0].numel(),
                    part="encoder",
                    kind="convolution",
                    block=int(name[-1]) - 1,
                    inputs=name,
                )
            )
        if isinstance(layer, nn.Linear) and name != HEAD:
            rows, columns = layer.weight.shape
            listed.append(
                Unit(
                    name=f"{name}.weight",
                    parameter=f"{name}.weight",
                    start=0,
                    stop=rows,
                    columns=columns,
                    part="encoder" if ".encoder.layers." in name else "decoder",
                    kind=_kind(name),
                    block=int(name.split(".layers.")[1].split(".")[0]),
                    inputs=_inputs(name),
                )
            )
    rows, columns = module.model.decoder.embed_tokens.weight.shape
    # Control tokens follow the words; the end token among them is the most frequent of all.
    control = module.config.eos_token_id
    control = int(min(control) if isinstance(control, list) else control)
    edges = sorted({0, *(edge for edge in _BLOCK_EDGES if edge < control), control, rows})
    for index, (start, stop) in enumerate(itertools.pairwise(edges)):
        listed.append(
            Unit(
                name=f"{head}@{start}:{stop}",
                parameter=head,
                start=start,
                stop=stop,
                columns=columns,
                part="embedding",
                kind="embedding",
                block=index,
                inputs=HEAD,
            )
        )
    return tuple(listed)


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
