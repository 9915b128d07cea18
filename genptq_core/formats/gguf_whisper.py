"""A Whisper in a GGUF file as transcribe.cpp loads it: keys, names and types of its tensors.

Matrices may be of any type that ggml computes with, one each; convolutions are float16; norms,
biases and positions float32. The embedding, which is also the output layer, is one tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import ExportError
from .gguf_file import Packed, Value
from .gguf_model import RUNTIME, GgufModel
from .whisper_layout import (
    EMBEDDING,
    POSITIONS,
    TEXT_POSITIONS,
    WhisperLayout,
    mel_filters,
    sinusoids,
    window,
)

_FILTERS, _WINDOW = "frontend.mel_filterbank", "frontend.window"
_RATE, _HOP = 16000, 160
_MIXED = 1  # what `general.file_type` says: mostly float16
_SPECIAL, _TEXT = 3, 1

_WHOLE = {
    EMBEDDING: "dec.token_embd.weight",
    POSITIONS: "enc.pos_emb.weight",
    TEXT_POSITIONS: "dec.pos_emb.weight",
}
_SIDES = {"encoder": "enc", "decoder": "dec"}
_PARTS = {
    "encoder": {"self_attn_layer_norm": "norm_attn", "self_attn": "attn"},
    "decoder": {
        "self_attn_layer_norm": "norm_self",
        "self_attn": "self_attn",
        "encoder_attn_layer_norm": "norm_cross",
        "encoder_attn": "cross_attn",
    },
}
_COMMON = {"final_layer_norm": "norm_ffn", "fc1": "ffn.fc1", "fc2": "ffn.fc2"}
_LAYER = re.compile(
    r"model\.(encoder|decoder)\.layers\.(\d+)\.([a-z0-9_]+)(?:\.([a-z]+)_proj)?\.(weight|bias)"
)
_OUTER = re.compile(r"model\.(encoder|decoder)\.(?:conv([12])|(layer_norm))\.(weight|bias)")


def name_of(parameter: str) -> str:
    """What the file calls a parameter of `transformers`.

    Raises:
        ExportError: it is none of a Whisper's.
    """
    if parameter in _WHOLE:
        return _WHOLE[parameter]
    if match := _OUTER.fullmatch(parameter):
        side, convolution, _, kind = match.groups()
        inner = f"conv.{int(convolution) - 1}" if convolution else "final_norm"
        return f"{_SIDES[side]}.{inner}.{kind}"
    match = _LAYER.fullmatch(parameter)
    if match:
        side, index, part, projection, kind = match.groups()
        inner = (_PARTS[side] | _COMMON).get(part, "")
        if inner:
            tail = f".{projection}" if projection else ""
            return f"{_SIDES[side]}.blocks.{index}.{inner}{tail}.{kind}"
    raise ExportError(f"{parameter} is no parameter of a Whisper that {RUNTIME} loads.")


def is_matrix(parameter: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter may be of any type: a weight of two dimensions that is no position."""
    return len(shape) == 2 and parameter not in (POSITIONS, TEXT_POSITIONS)


def model_of(layout: WhisperLayout, name: str) -> GgufModel:
    """What the file of a model holds besides its weights.

    Args:
        layout: the model's settings.
        name: of the model, such as "whisper-tiny.en".

    Raises:
        ExportError: the model is none that transcribe.cpp loads.
    """
    layout.check_usual(RUNTIME)
    return GgufModel(
        where=layout.where,
        keys=keys_of(layout, name),
        shapes=layout.shapes,
        name_of=name_of,
        is_matrix=is_matrix,
        is_half=lambda _, shape: len(shape) == 3,
        constants={_FILTERS: mel_filters(layout.size("num_mel_bins")), _WINDOW: window()},
        computed={POSITIONS: lambda: sinusoids(*layout.shapes[POSITIONS])},
    )


def write(
    path: Path,
    layout: WhisperLayout,
    name: str,
    tensors: Iterable[tuple[str, Packed | np.ndarray]],
) -> int:
    """Write a file, one tensor after another; see `GgufModel.write`.

    Raises:
        ExportError: the model is none that transcribe.cpp loads, or a parameter is missing or has
            another shape, or float16 cannot hold it.
    """
    return model_of(layout, name).write(path, tensors)


def overhead(layout: WhisperLayout, name: str) -> int:
    """Bytes of a file beyond those of its parameters, whatever their types."""
    return model_of(layout, name).overhead


def keys_of(layout: WhisperLayout, name: str) -> dict[str, Value]:
    """All keys of a file with their values."""
    config, end = layout.size, layout.needed_token("<|endoftext|>")
    activation = str(layout.config.get("activation_function", "gelu"))
    start = layout.needed_token("<|startoftranscript|>", "decoder_start_token_id")
    tokens: dict[str, int | None] = {
        "decoder_start": start,
        "no_timestamps": layout.needed_token("<|notimestamps|>", "no_timestamps_token_id"),
        "sot": layout.token("<|startoftranscript|>"),
        "transcribe": layout.token("<|transcribe|>"),
        "translate": layout.token("<|translate|>"),
        "prev_sot": layout.token("<|startofprev|>"),
    }
    several = len(layout.languages) > 1
    keys: dict[str, Value] = {
        "general.architecture": "whisper",
        "general.name": name,
        "general.basename": "whisper",
        "general.file_type": _MIXED,
        "general.languages": list(layout.languages) or ["en"],
        "stt.variant": name,
        "stt.capability.lang_detect": several,
        "stt.capability.translate": several,
        "stt.capability.timestamps": True,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt2",
        "tokenizer.ggml.tokens": layout.token_list,
        "tokenizer.ggml.token_type": [
            _SPECIAL if text in layout.special else _TEXT for text in layout.token_list
        ],
        "tokenizer.ggml.merges": list(layout.merges),
        "tokenizer.ggml.bos_token_id": end,
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.padding_token_id": end,
        "tokenizer.ggml.add_bos_token": False,
    }
    for side in ("encoder", "decoder"):
        keys |= {
            f"stt.whisper.{side}.n_layers": config(f"{side}_layers"),
            f"stt.whisper.{side}.d_model": config("d_model"),
            f"stt.whisper.{side}.n_heads": config(f"{side}_attention_heads"),
            f"stt.whisper.{side}.ffn_dim": config(f"{side}_ffn_dim"),
            f"stt.whisper.{side}.activation": activation,
        }
    keys |= {
        "stt.whisper.encoder.num_mel_bins": config("num_mel_bins"),
        "stt.whisper.encoder.max_source_positions": config("max_source_positions"),
        "stt.whisper.decoder.max_target_positions": config("max_target_positions"),
        "stt.whisper.decoder.vocab_size": layout.vocabulary,
        "stt.whisper.decoder.tie_word_embeddings": True,
        "stt.whisper.decoder.scale_embedding": False,
    }
    keys |= {f"stt.whisper.{k}_token_id": v for k, v in tokens.items() if v is not None}
    barred = {k: layout.barred(k) for k in ("suppress_tokens", "begin_suppress_tokens")}
    keys |= {f"stt.whisper.{key}": listed for key, listed in barred.items() if listed}
    frames = 2 * config("max_source_positions")
    return keys | {
        "stt.frontend.type": "mel",
        "stt.frontend.num_mels": config("num_mel_bins"),
        "stt.frontend.sample_rate": _RATE,
        "stt.frontend.n_fft": len(window()),
        "stt.frontend.win_length": len(window()),
        "stt.frontend.hop_length": _HOP,
        "stt.frontend.window": "hann_periodic",
        "stt.frontend.normalize": "whisper_logmel",
        "stt.frontend.dither": 0.0,
        "stt.frontend.pre_emphasis": 0.0,
        "stt.frontend.f_min": 0.0,
        "stt.frontend.f_max": _RATE / 2,
        "stt.frontend.pad_mode": "reflect",
        "stt.frontend.center": True,
        "stt.frontend.mel_norm": "slaney",
        "stt.frontend.chunk_length": frames * _HOP // _RATE,
        "stt.frontend.n_samples": frames * _HOP,
        "stt.frontend.nb_max_frames": frames,
    }
