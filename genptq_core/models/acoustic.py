"""What recognizers share that hear an utterance at its own length: features, states, labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, AutoTokenizer

from ..errors import ModelError
from ..speech.utterances import RATE
from .folders import FEATURE_FILES, check_rate, own_settings, require

SHORTEST = 0.2
"""Seconds to which shorter recordings are padded with silence: convolutions need some frames."""

_FEATURES = "Take the preprocessor_config.json that the model was trained with."
_TOKENIZER = "Take the tokenizer that the model was trained with."


@dataclass(frozen=True)
class Encoded:
    """Encoder states, one tensor (frames, features) per utterance."""

    states: tuple[Tensor, ...]

    def __getitem__(self, part: slice) -> Encoded:
        return Encoded(self.states[part])


def encoder_states(encoder: nn.Module, features: Any, samples: np.ndarray) -> Tensor:
    """An encoder's states of one utterance, (frames, features).

    Utterances are encoded one at a time: padding would change their states, and add frames.

    Raises:
        ModelError: the recording is longer than the model hears at a time.
    """
    missing = int(SHORTEST * RATE) - len(samples)
    if missing > 0:
        samples = np.pad(samples, (0, missing))
    batch = features([samples], sampling_rate=RATE, return_tensors="pt")
    if len(batch[features.model_input_names[0]]) > 1:
        raise ModelError(
            f"A recording of {len(samples) / RATE:.0f} s is longer than the model hears at a time.",
            "Cut it into shorter ones.",
        )
    inputs, mask = batch[features.model_input_names[0]], batch.get("attention_mask")
    if mask is not None:  # extractors may add a frame of padding at the end
        inputs = inputs[:, : int(mask[0].sum())]
    device = next(encoder.parameters()).device
    states: Tensor = encoder(inputs.to(device)).last_hidden_state[0]
    return states


def settings(source: str, folder: Path, offline: bool) -> tuple[Any, Any]:
    """Features and tokenizer; see `folders.own_settings`."""
    readers = (AutoFeatureExtractor, AutoTokenizer)
    return own_settings(source, folder, offline, readers, _require_settings)


def _require_settings(folder: Path) -> None:
    require(folder, "feature settings", FEATURE_FILES)
    require(folder, "tokenizer", [["tokenizer.json"], ["vocab.json"]])


def check_features(name: str, module: Any, features: Any) -> None:
    """Make sure that features are those that a model hears.

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
            _FEATURES,
        )


def check_labels(name: str, size: int, silences: Sequence[int], tokenizer: Any) -> None:
    """Make sure that a tokenizer has a text for every label of a model, and no more.

    Args:
        name: the model's, for messages.
        size: how many labels it has.
        silences: labels that need none.
        tokenizer: the tokenizer.

    Raises:
        ModelError: it has not.
    """
    named = {index: token for token, index in tokenizer.get_vocab().items()}
    special = set(tokenizer.all_special_tokens)
    beyond = [t for i, t in sorted(named.items()) if i >= size and t not in special]
    nameless = [i for i in range(size) if i not in named and i not in silences]
    if beyond or nameless:
        first = f"label {nameless[0]} has no letter" if nameless else f"{beyond[0]!r} no label"
        raise ModelError(
            f"{name} writes {size} labels, and its tokenizer has {len(named)}: {first}.",
            _TOKENIZER,
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
