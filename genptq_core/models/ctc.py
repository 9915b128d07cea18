"""CTC recognizers: Conformers and similar models that decide each frame on its own.

One adapter holds Parakeet's FastConformer, LASR, Wav2Vec2 with its Conformer and its BERT, HuBERT and
WavLM; another architecture with such a head is a line in `_PARTS`.

Labels are drawn, and divergence is counted, frame by frame: given the audio, CTC's frames are
independent (Graves et al., "Connectionist temporal classification", 2006, section 3.1), so drawing
each frame's label draws an alignment from the model's own distribution over alignments, and the
divergence between two models' alignments is the sum over frames. It bounds the divergence between
their transcripts from above, since a transcript follows from its alignment. A sum over all
alignments, which could neither be sampled from nor measured exactly, is not needed. A "token" of a
transcript is therefore a frame here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

from ..errors import ModelError
from ..speech.utterances import RATE
from ..speech.wer import BASIC
from ..units import Unit
from . import Transcript
from .checkpoint import check_finite, check_shapes
from .folders import FEATURE_FILES, check_rate, own_settings, require
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

ARCHITECTURES = tuple(_PARTS)

SHORTEST = 0.2
"""Seconds to which shorter recordings are padded with silence: convolutions need some frames."""

_FEWEST_COLUMNS = 32  # with fewer, scales take as many bytes as rounding saves


@dataclass(frozen=True)
class Encoded:
    """Encoder states, one tensor (frames, features) per utterance."""

    states: tuple[Tensor, ...]

    def __getitem__(self, part: slice) -> Encoded:
        return Encoded(self.states[part])


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
        self.units = self._units(head)
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
        return Encoded(tuple(self._states(samples) for samples in audio))

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

    def _states(self, samples: np.ndarray) -> Tensor:
        missing = int(SHORTEST * RATE) - len(samples)
        if missing > 0:
            samples = np.pad(samples, (0, missing))
        batch = self._features([samples], sampling_rate=RATE, return_tensors="pt")
        inputs, mask = batch[self._features.model_input_names[0]], batch.get("attention_mask")
        if mask is not None:  # extractors may add a frame of padding at the end
            inputs = inputs[:, : int(mask[0].sum())]
        return self._encoder(inputs.to(self._ctc.device)).last_hidden_state[0]

    def _units(self, head: str) -> tuple[Unit, ...]:
        """Every matrix, in the order in which the network uses them; see `_is_matrix`."""
        layers = {n: m for n, m in self.module.named_modules() if _is_matrix(m)}
        return tuple(
            _unit(name, layers[name], inputs, name == head)
            for name, inputs in self._shared_inputs(layers).items()
        )

    def _shared_inputs(self, layers: Mapping[str, nn.Module]) -> dict[str, str]:
        """By layer, the first layer that gets the same input tensor; from a run on silence."""
        first: dict[int, str] = {}
        kept: list[Tensor] = []  # as long as they live, no other tensor has their identity
        sources: dict[str, str] = {}

        def note(name: str) -> Any:
            def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                kept.append(inputs[0])
                sources[name] = first.setdefault(id(inputs[0]), name)

            return hook

        handles = [layer.register_forward_pre_hook(note(n)) for n, layer in layers.items()]
        try:
            with torch.no_grad():
                self.log_probs(self._states(np.zeros(RATE // 2, dtype=np.float32)))
        finally:
            for handle in handles:
                handle.remove()
        return sources


MODEL, CHECKPOINT = Ctc, AutoModelForCTC
"""What a loaded model is, and the class of `transformers` that reads its weights."""


def assembled(folder: Path, name: str, parameters: Mapping[str, Tensor]) -> Ctc:
    """A recognizer with a folder's settings and these parameters.

    Its batch norms' statistics are the trivial ones that `fold_norms` left.

    Raises:
        ModelError: a parameter is missing or has another shape.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device(
        "meta"
    ):  # what it would take is not taken before the weights are known to fit
        check_shapes(folder, dict(blank(config).named_parameters()), parameters)
    module = blank(config)
    module.load_state_dict(dict(parameters), strict=False)
    return Ctc(name, module.eval(), *settings(str(folder), folder, offline=True))


def blank(config: Any) -> Any:
    """A recognizer with these settings; its weights are still to be loaded."""
    return CHECKPOINT.from_config(config, dtype=torch.float32, trust_remote_code=False)


def computed(name: str, parameter: Tensor) -> Tensor | None:
    """What stands for masked frames is used in training only, and often not stored."""
    return torch.zeros_like(parameter) if name.endswith(".masked_spec_embed") else None


def settings(source: str, folder: Path, offline: bool) -> tuple[Any, Any]:
    """Features and tokenizer; see `folders.own_settings`."""
    readers = (AutoFeatureExtractor, AutoTokenizer)
    return own_settings(source, folder, offline, readers, _require_settings)


def _require_settings(folder: Path) -> None:
    require(folder, "feature settings", FEATURE_FILES)
    require(folder, "tokenizer", [["tokenizer.json"], ["vocab.json"]])


def _blank(config: Any, tokenizer: Any) -> int:
    """The label of no letter: the configuration's, else the tokenizer's padding."""
    said = config.pad_token_id
    return int(said if said is not None else tokenizer.pad_token_id or 0)


def _check_fit(name: str, module: Any, features: Any, tokenizer: Any) -> None:
    """Make sure that features and labels are those of the model.

    Raises:
        ModelError: they are not.
    """
    check_rate(name, features)
    config = module.config
    bands = getattr(getattr(config, "encoder_config", None), "num_mel_bins", None)
    bands = bands or getattr(config, "feature_projection_input_dim", None)
    inputs = features.model_input_names[0]
    # Neighbouring frames may be put together into one.
    made = features.feature_size * getattr(features, "stride", 1)
    if inputs != module.main_input_name or (bands and made != bands):
        raise ModelError(
            f"{name} hears {module.main_input_name}"
            + (f" of {bands} mel bands" if bands else "")
            + f", and its preprocessor_config.json makes {inputs} of {made}.",
            "Take the preprocessor_config.json that the model was trained with.",
        )
    named = {index: token for token, index in tokenizer.get_vocab().items()}
    size, silence = int(config.vocab_size), _blank(config, tokenizer)
    special = set(tokenizer.all_special_tokens)
    beyond = [t for i, t in sorted(named.items()) if i >= size and t not in special]
    nameless = [i for i in range(size) if i not in named and i != silence]
    if beyond or nameless:
        first = f"label {nameless[0]} has no letter" if nameless else f"{beyond[0]!r} no label"
        raise ModelError(
            f"{name} writes {size} labels, and its tokenizer has {len(named)}: {first}.",
            "Take the tokenizer that the model was trained with.",
        )
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != silence:
        raise ModelError(
            f"{name} says in its config.json that label {silence} is the blank (pad_token_id), and "
            f"its tokenizer that {tokenizer.pad_token_id} is.",
            "Correct pad_token_id in config.json, or take the tokenizer that the model was trained "
            "with.",
        )


def fold_norms(module: nn.Module) -> None:
    """Move the statistics of batch norms into their weights and biases, in place.

    A trained batch norm is a scale and a shift. With mean 0 and variance 1 as its statistics, all
    of a model is in its parameters, which are counted and exported. Folding twice changes nothing.
    """
    for norm in module.modules():
        mean, variance = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
        if isinstance(norm, nn.BatchNorm1d) and mean is not None and variance is not None:
            with torch.no_grad():
                scale = ((1 + norm.eps) / (variance + norm.eps)).sqrt()
                norm.bias.sub_(norm.weight * scale * mean / (1 + norm.eps) ** 0.5)
                norm.weight.mul_(scale)
            mean.zero_()
            variance.fill_(1.0)


def _is_matrix(module: nn.Module) -> bool:
    """Whether a module is a Linear or full convolution that is wide enough to be worth rounding.

    One whose weight is computed from others, as weight normalization does, is none.

    Depthwise and grouped convolutions stay at 16 bit: they have a few weights per row, and are
    thousandths of a model.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups != 1:
        return False
    if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) or is_parametrized(module):
        return False
    return module.weight[0].numel() >= _FEWEST_COLUMNS


def _unit(name: str, layer: nn.Module, inputs: str, head: bool) -> Unit:
    parameter = f"{name}.weight"
    weight = layer.get_parameter("weight")
    rows, columns = len(weight), weight[0].numel()
    numbers = [int(n) for n in re.findall(r"\.(\d+)(?=\.|$)", name)]
    part, kind = ("decoder", "output") if head else ("encoder", _kind(name))
    return Unit(
        name=parameter,
        parameter=parameter,
        start=0,
        stop=rows,
        columns=columns,
        part=part,
        kind=kind,
        block=numbers[0] if numbers else 0,
        inputs=inputs,
    )


def _kind(name: str) -> str:
    """What a layer of the encoder does; "convolution" is one of the front end, as in Whisper."""
    if not re.search(r"encoder\.layers\.\d+\.", name):
        return "convolution"
    if re.search(r"attention|attn", name):
        return "attention"
    return "conv-module" if ".conv" in name else "feed-forward"
