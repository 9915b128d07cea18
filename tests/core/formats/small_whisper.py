"""A very small Whisper of random weights as files and arrays, without torch or transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from genptq_core.formats.whisper_layout import POSITIONS, WhisperLayout

WIDTH = 64
WORDS = ("!", '"', "a", "b", "c", "Ġ", "Ġa", "ab", "é")
CONTROLS = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>")
CONTROLS += ("<|transcribe|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")


def files(**config: Any) -> dict[str, bytes]:
    """Settings, by the names that `save_pretrained` gives; its vocabulary has one token unnamed."""
    tokens = [*WORDS, *CONTROLS]
    said = {
        "model_type": "whisper",
        "d_model": WIDTH,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 96,
        "num_mel_bins": 80,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "vocab_size": len(tokens) + 1,
        **config,
    }
    generation = {
        "decoder_start_token_id": tokens.index("<|startoftranscript|>"),
        "no_timestamps_token_id": tokens.index("<|notimestamps|>"),
        "is_multilingual": True,
        "lang_to_id": {text: tokens.index(text) for text in ("<|en|>", "<|de|>")},
        "suppress_tokens": [0, 1],
    }
    tokenizer = {
        "added_tokens": [
            {"id": len(WORDS) + i, "content": text, "special": True}
            for i, text in enumerate(CONTROLS)
        ],
        "model": {
            "type": "BPE",
            "vocab": {text: i for i, text in enumerate(WORDS)},
            "merges": [["Ġ", "a"], ["a", "b"]],
        },
    }
    contents = {
        "config.json": said,
        "generation_config.json": generation,
        "preprocessor_config.json": {"feature_size": 80, "sampling_rate": 16000, "n_fft": 400},
        "tokenizer.json": tokenizer,
    }
    return {name: json.dumps(content).encode() for name, content in contents.items()}


def tensors(layout: WhisperLayout, seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Every stored parameter, float32."""
    random = np.random.default_rng(seed)
    for name, shape in layout.shapes.items():
        if name != POSITIONS:
            scale = 1.0 if name.endswith("norm.weight") else 0.0
            yield name, (scale + 0.1 * random.normal(size=shape)).astype(np.float32)
