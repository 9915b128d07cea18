"""A Parakeet in a GGUF file as transcribe.cpp loads it: keys, names, types.

Linear modules and an LSTM's matrices may be of any type that ggml computes with, one each;
convolutions over all channels, a CTC head among them, are float16, and those of single channels
float32, as are embeddings. Batch norms' statistics are in their weights and biases, as the program
keeps every model. An LSTM's two biases, which are added, are one.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ..errors import ExportError
from .gguf_file import Value
from .gguf_model import RUNTIME, GgufModel
from .parakeet_layout import EMBEDDING, ParakeetLayout

_FACTOR = 8
"""How much shorter than the features the encoder's states are, as the runtime computes it."""

_PARTS = {
    "norm_feed_forward1": "norm_ff1",
    "norm_feed_forward2": "norm_ff2",
    "norm_self_att": "norm_attn",
    "norm_conv": "norm_conv",
    "norm_out": "norm_out",
    "feed_forward1.linear1": "ff1.linear1",
    "feed_forward1.linear2": "ff1.linear2",
    "feed_forward2.linear1": "ff2.linear1",
    "feed_forward2.linear2": "ff2.linear2",
    "self_attn.q_proj": "attn.linear_q",
    "self_attn.k_proj": "attn.linear_k",
    "self_attn.v_proj": "attn.linear_v",
    "self_attn.o_proj": "attn.linear_out",
    "self_attn.relative_k_proj": "attn.linear_pos",
    "conv.pointwise_conv1": "conv.pointwise1",
    "conv.depthwise_conv": "conv.depthwise",
    "conv.pointwise_conv2": "conv.pointwise2",
    "conv.norm": "conv.bn",
}
_BLOCK = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_POSITION = re.compile(r"encoder\.layers\.(\d+)\.self_attn\.bias_([uv])")
_SUBSAMPLING = re.compile(r"encoder\.subsampling\.(?:layers\.(\d+)|(linear))\.(weight|bias)")
_HEADS = {
    "ctc_head": "head.ctc",
    "decoder.embedding": "pred.embed",
    "encoder_projector": "joint.enc",
    "decoder.decoder_projector": "joint.pred",
    "joint.head": "joint.out",
}
_HEAD = re.compile(r"(.+)\.(weight|bias)")
_LSTM = re.compile(r"decoder\.lstm\.(weight_ih|weight_hh|bias)_l(\d+)")
_LSTM_PARTS = {"weight_ih": "Wx", "weight_hh": "Wh", "bias": "bias"}
_MOST_SYMBOLS = 10
"""Tokens of an RNN-T at one frame, as the runtime has it."""

_ACTIVATIONS = ("relu", "sigmoid", "tanh")
_HEAD_TYPES = ("encoder_projector", "decoder.", "joint.")
_TEXT, _CONTROL = 1, 3
_FEWEST_COLUMNS = 32  # as `models.matrices` has it


def name_of(parameter: str) -> str:
    """What the file calls a parameter of `transformers`.

    Raises:
        ExportError: it is none of a Parakeet's.
    """
    if match := _BLOCK.fullmatch(parameter):
        block, part, kind = match.groups()
        if part in _PARTS:
            return f"enc.blocks.{block}.{_PARTS[part]}.{kind}"
    if match := _POSITION.fullmatch(parameter):
        return f"enc.blocks.{match[1]}.attn.pos_bias_{match[2]}"
    if match := _SUBSAMPLING.fullmatch(parameter):
        layer, _, kind = match.groups()
        return f"enc.pre_encode.{f'conv.{layer}' if layer else 'out'}.{kind}"
    if match := _LSTM.fullmatch(parameter):
        return f"pred.lstm.{match[2]}.{_LSTM_PARTS[match[1]]}"
    if (match := _HEAD.fullmatch(parameter)) and match[1] in _HEADS:
        return f"{_HEADS[match[1]]}.{match[2]}"
    raise ExportError(f"{parameter} is no parameter of a Parakeet that {RUNTIME} loads.")


def is_matrix(parameter: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter may be of any type: the weight of a Linear module or of an LSTM."""
    if parameter == EMBEDDING:
        return False
    return len(shape) == 2 and (parameter.endswith(".weight") or ".weight_" in parameter)


def is_packable(parameter: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter is packed where all matrices are: all but that of the front end, which
    stays at 16 bit, as in maps of ggml's types."""
    inside = _BLOCK.fullmatch(parameter) is not None or parameter.startswith(_HEAD_TYPES)
    return is_matrix(parameter, shape) and inside


def is_half(parameter: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter is float16: a convolution over all channels that is wide enough to be a
    unit."""
    return len(shape) >= 3 and shape[1] > 1 and math.prod(shape[1:]) >= _FEWEST_COLUMNS


def model_of(layout: ParakeetLayout, name: str) -> GgufModel:
    """What the file of a model holds besides its weights.

    Args:
        layout: the model's settings.
        name: of the model.

    Raises:
        ExportError: the model is none that transcribe.cpp loads.
    """
    check_usual(layout)
    width = layout.size("hidden_size")
    trivial = {
        "running_mean": np.zeros(width, np.float32),
        "running_var": np.ones(width, np.float32),
    }
    statistics = {
        f"enc.blocks.{block}.conv.bn.{kind}": values
        for block in range(layout.size("num_hidden_layers"))
        for kind, values in trivial.items()
    }
    biases = {
        f"decoder.lstm.bias_l{layer}": tuple(
            f"decoder.lstm.bias_{of}_l{layer}" for of in ("ih", "hh")
        )
        for layer in range(0 if layout.head == "ctc" else layout.config["num_decoder_layers"])
    }
    return GgufModel(
        where=layout.where,
        keys=keys_of(layout, name),
        shapes=layout.shapes,
        sums=biases,
        name_of=name_of,
        is_matrix=is_matrix,
        is_half=is_half,
        constants=statistics,
        computed={},
    )


def check_usual(layout: ParakeetLayout) -> None:
    """Make sure that a Parakeet is as the runtime computes it.

    Raises:
        ExportError: it is not; what differs is named.
    """
    usual = {
        "subsampling_factor": _FACTOR,
        "subsampling_conv_kernel_size": 3,
        "subsampling_conv_stride": 2,
        "hidden_act": "silu",
        "convolution_bias": layout.biased,
    }
    for setting, value in usual.items():
        if layout.encoder.get(setting, value) != value:
            raise ExportError(
                f"{layout.where} has {setting} {layout.encoder[setting]!r}, which {RUNTIME} does "
                f"not compute; it does {value!r}.",
                "Unpack it with --to transformers.",
            )
    most, act = (layout.config.get(key) for key in ("max_symbols_per_step", "hidden_act"))
    if layout.head == "rnnt" and most != _MOST_SYMBOLS:
        raise ExportError(
            f"{layout.where} writes up to {most} tokens a frame; {RUNTIME} up to {_MOST_SYMBOLS}."
        )
    if layout.head != "ctc" and act not in _ACTIVATIONS:
        raise ExportError(f"{layout.where} has hidden_act {act!r}, which {RUNTIME} does not know.")
    length = layout.features.get("n_fft", 512)
    if type(length) is not int or length < 1 or length & (length - 1):
        raise ExportError(f"{layout.where} has features of n_fft {length!r}: no power of two.")


def check_start(layout: ParakeetLayout, blank: np.ndarray) -> None:
    """Make sure that a transducer starts from nothing, as the runtime has it start.

    Args:
        layout: its settings.
        blank: the row of the blank token in its embeddings.

    Raises:
        ExportError: it starts from something else.
    """
    if blank.any():
        raise ExportError(
            f"{layout.where} starts from an embedding of its blank that is not zero; {RUNTIME} "
            "starts from zeros.",
            "Unpack it with --to transformers.",
        )


def keys_of(layout: ParakeetLayout, name: str) -> dict[str, Value]:
    """All keys of a file with their values."""
    rate = int(layout.features.get("sampling_rate", 16000))
    encoder: dict[str, Value] = {
        "n_layers": layout.size("num_hidden_layers"),
        "d_model": layout.size("hidden_size"),
        "n_heads": layout.size("num_attention_heads"),
        "d_ff": layout.size("intermediate_size"),
        "conv_kernel": layout.size("conv_kernel_size"),
        "subsampling_factor": layout.size("subsampling_factor"),
        "subsampling_channels": layout.size("subsampling_conv_channels"),
        "pos_emb_max_len": layout.size("max_position_embeddings"),
        "use_bias": layout.biased,
        "xscaling": bool(layout.encoder.get("scale_input", True)),
    }
    frontend: dict[str, Value] = {
        "type": "mel",
        "num_mels": layout.size("num_mel_bins"),
        "sample_rate": rate,
        "n_fft": int(layout.features.get("n_fft", 512)),
        "win_length": int(layout.features.get("win_length", 400)),
        "hop_length": int(layout.features.get("hop_length", 160)),
        "window": "hann",
        "normalize": "per_feature",
        "dither": 0.0,
        "pre_emphasis": float(layout.features.get("preemphasis", 0.97)),
        "f_min": 0.0,
        "f_max": rate / 2,
    }
    kinds = [_CONTROL if i in layout.unwritten else _TEXT for i in range(len(layout.labels))]
    return {
        "general.architecture": "parakeet",
        "general.name": name,
        "general.basename": f"parakeet-{layout.head}",
        "general.languages": ["en"],
        "stt.variant": name,
        "stt.parakeet.head_kind": layout.head,
        "tokenizer.ggml.model": "bpe",
        "tokenizer.ggml.tokens": list(layout.labels),
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.blank_token_id": layout.silence,
        **{f"stt.parakeet.encoder.{key}": value for key, value in encoder.items()},
        **({} if layout.head == "ctc" else _transducer_keys(layout)),
        **{f"stt.frontend.{key}": value for key, value in frontend.items()},
    }


def _transducer_keys(layout: ParakeetLayout) -> dict[str, Value]:
    """Keys of the prediction network, the joint network, and the walk."""
    width = int(layout.config["decoder_hidden_size"])
    keys: dict[str, Value] = {
        "predictor.hidden": width,
        "predictor.n_layers": int(layout.config["num_decoder_layers"]),
        "predictor.vocab": len(layout.labels),
        "joint.hidden": width,
        "joint.num_extra_outputs": len(layout.durations),
        "joint.activation": str(layout.config["hidden_act"]),
    }
    if layout.durations:
        keys["tdt.durations"] = list(layout.durations)
        keys["tdt.max_symbols"] = int(layout.config["max_symbols_per_step"])
    return {f"stt.parakeet.{key}": value for key, value in keys.items()}
