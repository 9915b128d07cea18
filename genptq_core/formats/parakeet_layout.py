"""A Parakeet as its settings describe it: sizes, parameters, labels. Without torch.

The architecture is the Fast Conformer of Rekesh et al., "Fast Conformer with Linearly Scalable
Attention for Efficient Speech Recognition" (2023), section 3, with parameters named as
`transformers` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..errors import ExportError
from .settings_files import feature_settings, json_object

HEADS = {"parakeet_ctc": "ctc", "parakeet_tdt": "tdt", "parakeet_rnnt": "rnnt"}
"""What makes text of the encoder's states, by the model's family."""

EMBEDDING = "decoder.embedding.weight"
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""What stands for a blank between words in the labels of SentencePiece."""

_NEEDED = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("conv_kernel_size", "subsampling_factor", "subsampling_conv_channels", "num_mel_bins"),
    "max_position_embeddings",
)
_MOST_SIZE = 2**24
_MOST_LAYERS = 256
_REMEDY = "Export it again from a whole model."
_HALVINGS = {2: 1, 4: 2, 8: 3, 16: 4}


@dataclass(frozen=True, kw_only=True)
class ParakeetLayout:
    """A Parakeet's settings.

    Attributes:
        where: what they are of, for messages.
        head: one of those of `HEADS`.
        config: all of its configuration.
        encoder: that of its encoder.
        features: of its ears.
        labels: what each label writes, with `SPACE` for a blank.
        silence: the label of no letter.
        unwritten: labels that are not text.
    """

    where: str
    head: str
    config: dict[str, Any]
    encoder: dict[str, Any]
    features: dict[str, Any]
    labels: tuple[str, ...]
    silence: int
    unwritten: frozenset[int]

    @staticmethod
    def of(files: Mapping[str, bytes], where: str) -> ParakeetLayout:
        """The settings that some files hold.

        Args:
            files: contents by name, as `save_pretrained` names them.
            where: what they are of, for messages.

        Raises:
            ExportError: one is missing or damaged, or they are of no Parakeet.
        """
        config = json_object(files, "config.json", where)
        head = HEADS.get(str(config.get("model_type")))
        if head is None:
            raise ExportError(
                f"{where} holds a {config.get('model_type')!r} model, not a Parakeet.",
                "Unpack it with --to transformers.",
            )
        encoder = config.get("encoder_config")
        encoder = encoder if isinstance(encoder, dict) else {}
        for name in _NEEDED:
            most = _MOST_LAYERS if name == "num_hidden_layers" else _MOST_SIZE
            if type(encoder.get(name)) is not int or not 0 < encoder[name] <= most:
                raise ExportError(f"config.json of {where} says {name} {encoder.get(name)!r}.")
        blank = "pad_token_id" if head == "ctc" else "blank_token_id"
        size, silence = config.get("vocab_size"), config.get(blank)
        if type(size) is not int or not 1 < size <= _MOST_SIZE:
            raise ExportError(f"config.json of {where} says vocab_size {size!r}.")
        if type(silence) is not int or not 0 <= silence < size:
            raise ExportError(f"config.json of {where} says {blank} {silence!r}.")
        if head != "ctc":
            _check_transducer(config, where)
        try:
            labels, special = _labels(files, where, size)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
            raise ExportError(f"The tokenizer of {where} is damaged ({error!r}).") from error
        return ParakeetLayout(
            where=where,
            head=head,
            config=config,
            encoder=encoder,
            features=feature_settings(files, where),
            labels=labels,
            silence=silence,
            unwritten=special | {silence},
        )

    def size(self, name: str) -> int:
        """A size that the encoder's configuration states."""
        return int(self.encoder[name])

    @property
    def biased(self) -> bool:
        """Whether Linear modules and convolutions have biases."""
        return bool(self.encoder.get("attention_bias", True))

    @property
    def durations(self) -> tuple[int, ...]:
        """Frames to move on by, for each answer of a TDT."""
        return tuple(self.config["durations"]) if self.head == "tdt" else ()

    @property
    def bands(self) -> int:
        """Bands that are left of the spectrogram after subsampling."""
        bands = self.size("num_mel_bins")
        for _ in range(_HALVINGS.get(self.size("subsampling_factor"), 0)):
            bands = (bands - 1) // 2 + 1
        return bands

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter by name, in the order of the graph."""
        shapes = self._subsampling()
        one = self._block()
        for layer in range(self.size("num_hidden_layers")):
            shapes |= {f"encoder.layers.{layer}.{name}": shape for name, shape in one.items()}
        return shapes | (self._ctc() if self.head == "ctc" else self._transducer())

    def _ctc(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a convolution over single frames."""
        labels = len(self.labels)
        return {
            "ctc_head.weight": (labels, self.size("hidden_size"), 1),
            "ctc_head.bias": (labels,),
        }

    def _transducer(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the prediction network and the joint network."""
        width, labels = int(self.config["decoder_hidden_size"]), len(self.labels)
        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (labels, width)}
        for layer in range(int(self.config["num_decoder_layers"])):
            shapes |= {
                f"decoder.lstm.weight_{of}_l{layer}": (4 * width, width) for of in ("ih", "hh")
            }
            shapes |= {f"decoder.lstm.bias_{of}_l{layer}": (4 * width,) for of in ("ih", "hh")}
        joint = {
            "encoder_projector": (width, self.size("hidden_size")),
            "decoder.decoder_projector": (width, width),
            "joint.head": (labels + len(self.durations), width),
        }
        for name, shape in joint.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        return shapes

    def _subsampling(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the convolutions that shorten the input; each after the first is two."""
        channels, width = self.size("subsampling_conv_channels"), self.size("hidden_size")
        shapes: dict[str, tuple[int, ...]] = {
            "0.weight": (channels, 1, 3, 3),
            "0.bias": (channels,),
        }
        for halving in range(1, _HALVINGS.get(self.size("subsampling_factor"), 1)):
            at = 3 * halving - 1
            shapes |= {f"{at}.weight": (channels, 1, 3, 3), f"{at}.bias": (channels,)}
            shapes |= {
                f"{at + 1}.weight": (channels, channels, 1, 1),
                f"{at + 1}.bias": (channels,),
            }
        named = {f"encoder.subsampling.layers.{name}": shape for name, shape in shapes.items()}
        last = "encoder.subsampling.linear"
        return named | {f"{last}.weight": (width, channels * self.bands), f"{last}.bias": (width,)}

    def _block(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters of one block."""
        width, hidden = self.size("hidden_size"), self.size("intermediate_size")
        heads = self.size("num_attention_heads")
        shapes: dict[str, tuple[int, ...]] = {
            "feed_forward1.linear1.weight": (hidden, width),
            "feed_forward1.linear2.weight": (width, hidden),
            "self_attn.bias_u": (heads, width // heads),
            "self_attn.bias_v": (heads, width // heads),
            **{f"self_attn.{part}_proj.weight": (width, width) for part in "qkvo"},
            "conv.pointwise_conv1.weight": (2 * width, width, 1),
            "conv.depthwise_conv.weight": (width, 1, self.size("conv_kernel_size")),
            "conv.pointwise_conv2.weight": (width, width, 1),
            "feed_forward2.linear1.weight": (hidden, width),
            "feed_forward2.linear2.weight": (width, hidden),
        }
        if self.biased:
            weights = [name for name in shapes if name.endswith(".weight")]
            biases = {name.replace(".weight", ".bias"): shapes[name][:1] for name in weights}
            shapes |= biases
        shapes["self_attn.relative_k_proj.weight"] = (width, width)
        norms = ("norm_feed_forward1", "norm_self_att", "norm_conv", "norm_feed_forward2")
        for norm in (*norms, "norm_out", "conv.norm"):
            shapes |= dict.fromkeys((f"{norm}.weight", f"{norm}.bias"), (width,))
        return shapes


def _check_transducer(config: Mapping[str, Any], where: str) -> None:
    """Make sure that the settings of a transducer's networks are of a sensible kind and size.

    Raises:
        ExportError: they are not.
    """
    most = {"decoder_hidden_size": _MOST_SIZE, "num_decoder_layers": _MOST_LAYERS}
    for name, largest in (most | {"max_symbols_per_step": _MOST_SIZE}).items():
        value = config.get(name)
        if type(value) is not int or not 0 < value <= largest:
            raise ExportError(f"config.json of {where} says {name} {value!r}.")
    durations = config.get("durations", [])
    whole = isinstance(durations, list) and all(type(d) is int and d >= 0 for d in durations)
    if not whole or len(durations) > _MOST_LAYERS or ("durations" in config and not durations):
        raise ExportError(f"config.json of {where} says durations {str(durations)[:40]}.")


def _labels(
    files: Mapping[str, bytes], where: str, size: int
) -> tuple[tuple[str, ...], frozenset[int]]:
    """What each label writes, and which write nothing."""
    special: set[int] = set()
    if "tokenizer.json" in files:
        said = json_object(files, "tokenizer.json", where)
        listed = said["model"]["vocab"]
        written = (
            {str(text): int(index) for text, index in listed.items()}
            if isinstance(listed, dict)
            else {str(one[0]): index for index, one in enumerate(listed)}
        )
        for added in said.get("added_tokens") or ():
            written[str(added["content"])] = int(added["id"])
            if added.get("special"):
                special.add(int(added["id"]))
    else:
        said = json_object(files, "tokenizer_config.json", where)
        if said.get("do_lower_case") or said.get("target_lang"):
            raise ExportError(f"{where} has a tokenizer that changes what labels write.")
        blank = str(said.get("word_delimiter_token", "|"))
        written = {
            SPACE if text == blank else str(text).replace(" ", SPACE): int(index)
            for text, index in json_object(files, "vocab.json", where).items()
        }
        for name in ("pad_token", "unk_token", "bos_token", "eos_token"):
            if said.get(name) in written:
                special.add(written[said[name]])
    labels = {index: text for text, index in written.items() if 0 <= index < size}
    nameless = next((index for index in range(size) if index not in labels), None)
    if nameless is not None:
        labels[nameless] = "<blank>"
    if len(labels) != size:
        raise ExportError(f"The tokenizer of {where} has no text for label {nameless}.", _REMEDY)
    return tuple(labels[index] for index in range(size)), frozenset(special)
