"""A Whisper as its settings describe it: sizes, parameters, tokens, features. Without torch.

The architecture is that of Radford et al., "Robust Speech Recognition via Large-Scale Weak
Supervision" (2022), section 2.2, with parameters named as `transformers` names them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import ExportError
from .settings_files import feature_settings, json_object

FAMILY = "whisper"
EMBEDDING = "model.decoder.embed_tokens.weight"
POSITIONS = "model.encoder.embed_positions.weight"
HEAD = "proj_out.weight"
"""The weight of the output layer, where it is not the embedding."""

TEXT_POSITIONS = "model.decoder.embed_positions.weight"

_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_REMEDY = "Export it again from a whole model."
_SIZES = (
    *("d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads"),
    *("decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim", "num_mel_bins"),
    *("max_source_positions", "max_target_positions", "vocab_size"),
)
_MOST_SIZE = 2**24
_MOST_LAYERS = 256


@dataclass(frozen=True, kw_only=True)
class WhisperLayout:
    """A Whisper's settings.

    Attributes:
        where: what they are of, for messages.
        config: of the model.
        generation: of its decoding.
        features: of its ears.
        tokens: the tokenizer's, by what it writes.
        special: those of `tokens` that are no text.
        merges: pairs of tokens that byte-pair encoding joins, in order, with a blank between.
    """

    where: str
    config: dict[str, Any]
    generation: dict[str, Any]
    features: dict[str, Any]
    tokens: dict[str, int]
    special: frozenset[str]
    merges: tuple[str, ...]

    @staticmethod
    def of(files: Mapping[str, bytes], where: str) -> WhisperLayout:
        """The settings that some files hold.

        Args:
            files: contents by name, as `save_pretrained` names them.
            where: what they are of, for messages.

        Raises:
            ExportError: one is missing or damaged, or they are of no Whisper.
        """
        config = json_object(files, "config.json", where)
        if config.get("model_type") != FAMILY:
            raise ExportError(
                f"{where} holds a {config.get('model_type')!r} model, not a Whisper.",
                "Unpack it with --to transformers.",
            )
        for name in _SIZES:
            most = _MOST_LAYERS if name.endswith("_layers") else _MOST_SIZE
            if type(config.get(name)) is not int or not 0 < config[name] <= most:
                raise ExportError(f"config.json of {where} says {name} {config.get(name)!r}.")
        generation = json_object(files, "generation_config.json", where)
        try:
            tokens, special, merges = _tokenizer(files, where)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ExportError(f"The tokenizer of {where} is damaged ({error!r}).") from error
        return WhisperLayout(
            where=where,
            config=config,
            generation=generation,
            features=feature_settings(files, where),
            tokens=tokens,
            special=special,
            merges=merges,
        )

    def size(self, name: str) -> int:
        """A size that the configuration states."""
        return int(self.config[name])

    def said(self, name: str) -> Any:
        """A setting of decoding, from the generation settings or the configuration; or None."""
        found = self.generation.get(name)
        return self.config.get(name) if found is None else found

    def token(self, written: str, setting: str = "") -> int | None:
        """A control token by its setting, else as the tokenizer writes it; None if it has none.

        Raises:
            ExportError: the setting is no token.
        """
        value = self.said(setting) if setting else None
        if value is None:
            value = self.tokens.get(written)
        if value is not None and (type(value) is not int or not 0 <= value < self.vocabulary):
            raise ExportError(f"{self.where} says {setting or written} {value!r}: no token.")
        return value

    def needed_token(self, written: str, setting: str = "") -> int:
        """The same of a token that there must be.

        Raises:
            ExportError: there is none.
        """
        found = self.token(written, setting)
        if found is None:
            raise ExportError(f"The tokenizer of {self.where} has no {written}.", _REMEDY)
        return found

    def barred(self, name: str) -> list[int]:
        """A list of tokens that are not to be written, of those that there are."""
        value = self.said(name)
        listed = value if isinstance(value, list) else []
        return [t for t in listed if type(t) is int and 0 <= t < self.vocabulary]

    @property
    def vocabulary(self) -> int:
        """Tokens that the model writes."""
        return self.size("vocab_size")

    @cached_property
    def token_list(self) -> list[str]:
        """What each token of the vocabulary writes; `<|unused_N|>` where the tokenizer has none.

        Raises:
            ExportError: the tokenizer has tokens that the model lacks.
        """
        listed = [f"<|unused_{index}|>" for index in range(self.vocabulary)]
        for written, token in self.tokens.items():
            if type(token) is not int or not 0 <= token < self.vocabulary:
                raise ExportError(f"The tokenizer of {self.where} has token {token}: no such.")
            listed[token] = written
        return listed

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that it can be asked for; none if it knows only English."""
        table = self.said("lang_to_id")
        if isinstance(table, dict) and table:
            said = list(table)
        elif self.said("is_multilingual") is False or self.token("<|translate|>") is None:
            said = []
        else:
            first = self.needed_token("<|startoftranscript|>")
            last = self.needed_token("<|translate|>")
            said = [text for text in self.token_list[first + 1 : last]]
        if self.said("is_multilingual") is False or self.vocabulary < 51865:
            said = []
        return tuple(m[1] for text in said if (m := _LANGUAGE.fullmatch(str(text))))

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter by name, in the order of the graph."""
        width, bands = self.size("d_model"), self.size("num_mel_bins")
        shapes: dict[str, tuple[int, ...]] = {
            "model.encoder.conv1.weight": (width, bands, 3),
            "model.encoder.conv1.bias": (width,),
            "model.encoder.conv2.weight": (width, width, 3),
            "model.encoder.conv2.bias": (width,),
            POSITIONS: (self.size("max_source_positions"), width),
            **self._layer_shapes("encoder", ("self_attn",)),
            EMBEDDING: (self.vocabulary, width),
            TEXT_POSITIONS: (self.size("max_target_positions"), width),
            **self._layer_shapes("decoder", ("self_attn", "encoder_attn")),
        }
        if self.config.get("tie_word_embeddings") is False:
            shapes[HEAD] = shapes[EMBEDDING]
        return shapes

    def _layer_shapes(self, side: str, attentions: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Shapes of what is in the layers of one side, and of the norm after them."""
        width, hidden = self.size("d_model"), self.size(f"{side}_ffn_dim")
        one: dict[str, tuple[int, ...]] = {}
        for name in attentions:
            one |= dict.fromkeys((f"{name}_layer_norm.weight", f"{name}_layer_norm.bias"), (width,))
            for part in ("q", "k", "v", "out"):
                one[f"{name}.{part}_proj.weight"] = (width, width)
                if part != "k":
                    one[f"{name}.{part}_proj.bias"] = (width,)
        one |= dict.fromkeys(("final_layer_norm.weight", "final_layer_norm.bias"), (width,))
        one |= {"fc1.weight": (hidden, width), "fc1.bias": (hidden,)}
        one |= {"fc2.weight": (width, hidden), "fc2.bias": (width,)}
        layers = range(self.size(f"{side}_layers"))
        shapes = {f"model.{side}.layers.{i}.{name}": s for i in layers for name, s in one.items()}
        ends = (f"model.{side}.layer_norm.weight", f"model.{side}.layer_norm.bias")
        return shapes | dict.fromkeys(ends, (width,))

    def check_usual(self, runtime: str) -> None:
        """Make sure that a Whisper is as OpenAI's are, which is all that other runtimes know.

        Raises:
            ExportError: it is not; what differs is named.
        """
        usual = {
            "activation_function": "gelu",
            "scale_embedding": False,
            "tie_word_embeddings": True,
        }
        for name, value in usual.items():
            if self.config.get(name, value) != value:
                raise ExportError(
                    f"{self.where} has {name} {self.config[name]!r}, which {runtime} does not "
                    "compute.",
                    "Unpack it with --to transformers.",
                )
        length = self.features.get("n_fft", 400)
        if self.features.get("sampling_rate", 16000) != 16000 or length != 400:
            raise ExportError(f"{self.where} has other features than Whisper's.", _REMEDY)
        if self.features.get("feature_size", self.size("num_mel_bins")) != self.size(
            "num_mel_bins"
        ):
            raise ExportError(f"{self.where} has features of another number of bands.", _REMEDY)


def check_tied(config: Mapping[str, Any], where: str, runtime: str) -> None:
    """Make sure that a Whisper's output is its embedding.

    Raises:
        ExportError: it has one of its own.
    """
    if config.get("tie_word_embeddings") is False:
        raise ExportError(
            f"{where} has tie_word_embeddings False: an output layer that is not its embedding, "
            f"which the graph for {runtime} does not have.",
            "Unpack it with --to transformers.",
        )


def _tokenizer(
    files: Mapping[str, bytes], where: str
) -> tuple[dict[str, int], frozenset[str], tuple[str, ...]]:
    """Tokens, those that are no text, and merges."""
    if "tokenizer.json" in files:
        said = json_object(files, "tokenizer.json", where)
        model = said["model"]
        tokens = dict(model["vocab"])
        special = set()
        for added in said.get("added_tokens") or ():
            tokens[added["content"]] = added["id"]
            if added.get("special"):
                special.add(added["content"])
        merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
        return tokens, frozenset(special), tuple(merges)
    if "vocab.json" not in files or "merges.txt" not in files:
        raise ExportError(f"{where} holds no tokenizer.", _REMEDY)
    tokens = dict(json.loads(files["vocab.json"].decode("utf-8-sig")))
    added = json_object(files, "added_tokens.json", where)
    more = json_object(files, "tokenizer_config.json", where).get("added_tokens_decoder") or {}
    named = {one["content"]: int(number) for number, one in more.items()}
    tokens |= added | named
    special = {*added, *(one["content"] for one in more.values() if one.get("special"))}
    special |= {text for text in tokens if re.fullmatch(r"<\|[a-z]+\|>", text)}
    lines = files["merges.txt"].decode("utf-8").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    return tokens, frozenset(special), tuple(merges)


def sinusoids(length: int, width: int) -> np.ndarray:
    """Whisper's positions of the encoder: shape (length, width), float32."""
    # In single precision, as the models were trained.
    step = np.float32(np.log(10000.0) / (width // 2 - 1))
    rates = np.exp(-step * np.arange(width // 2, dtype=np.float32))
    angles = np.arange(length, dtype=np.float32)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def mel_filters(bands: int, length: int = 400, rate: int = 16000) -> np.ndarray:
    """The filters that give log-mel features: triangles of equal area, on Slaney's mel scale.

    Slaney, "Auditory Toolbox" (1998): linear up to 1000 Hz, 27 bands to a factor of 6.4 above.

    Returns:
        Shape (bands, length // 2 + 1), float32.
    """
    linear, corner, ratio = 200.0 / 3, 1000.0, 27.0 / np.log(6.4)
    top = corner / linear + np.log(rate / 2 / corner) * ratio
    mels = np.linspace(0.0, top, bands + 2)
    above = corner * np.exp((mels - corner / linear) / ratio)
    edges = np.where(mels < corner / linear, mels * linear, above)
    bins = np.linspace(0, rate // 2, length // 2 + 1)
    slopes = edges[:, None] - bins
    widths = np.diff(edges)[:, None]
    triangles = np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:])
    heights = 2.0 / (edges[2:] - edges[:-2])
    return (np.maximum(triangles, 0.0) * heights[:, None]).astype(np.float32)


def window(length: int = 400) -> np.ndarray:
    """The periodic Hann window: shape (length,), float32."""
    angles = 2 * np.pi * np.arange(length, dtype=np.float64) / length
    return (0.5 - 0.5 * np.cos(angles)).astype(np.float32)
