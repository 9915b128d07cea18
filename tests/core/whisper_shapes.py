"""Very small Whispers of random weights, in the shapes that people have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from genptq_core.models import bundled
from genptq_core.models.whisper_settings import ENGLISH_WORDS
from genptq_core.speech.languages import LANGUAGES

SHAPES: dict[str, dict[str, Any]] = {
    "large-v3": {"languages": 100, "bands": 128},
    "multilingual, resized": {"languages": 99, "more": 7},
    "turbo": {"words": 768, "bands": 128, "encoder_layers": 2},
    "untied": {"words": 768, "tied": False},
}
"""By name: languages (none of a model of English alone), words (all of tiny.en's by default), mel
bands, layers of each side, tokens that were added, and whether the output is the embedding.

Distilled models have the shape of turbo.
"""

_LAST = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
_TIMES = 1501


def shaped_whisper(folder: Path, shape: str) -> Path:
    """Write a Whisper of one of `SHAPES`, 32 wide, with words of tiny.en and control tokens."""
    said = {"languages": 0, "bands": 80, "encoder_layers": 1, "decoder_layers": 1, **SHAPES[shape]}
    tokenizer, control, size = _tokenizer(
        said["languages"], said.get("words", ENGLISH_WORDS), said.get("more", 0)
    )
    end, start = control["endoftext"], control["startoftranscript"]
    tokens = {
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end),
        "decoder_start_token_id": start,
    }
    config = WhisperConfig(
        vocab_size=size,
        num_mel_bins=said["bands"],
        d_model=32,
        encoder_layers=said["encoder_layers"],
        decoder_layers=said["decoder_layers"],
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_target_positions=16,
        begin_suppress_tokens=None,
        tie_word_embeddings=said.get("tied", True),
        **tokens,
    )
    torch.manual_seed(0)
    module = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        module.model.decoder.layer_norm.weight *= (
            40  # it is sure enough that no runtime decodes again
        )
        module.proj_out.weight[end:] *= 0.01  # words are likelier than what is no text
    several = said["languages"] > 0
    tables: dict[str, Any] = {
        "lang_to_id": {f"<|{code}|>": control[code] for code in LANGUAGES[: said["languages"]]},
        "task_to_id": {task: control[task] for task in _LAST[:2]},
    }
    module.generation_config = GenerationConfig(
        is_multilingual=several,
        no_timestamps_token_id=control["notimestamps"],
        max_length=448,
        **(tables if several else {}),
        **tokens,
    )
    module.half().float().save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=said["bands"]).save_pretrained(folder)
    WhisperTokenizer(tokenizer_object=tokenizer).save_pretrained(folder)
    return folder


def _tokenizer(languages: int, first: int, more: int) -> tuple[Tokenizer, dict[str, int], int]:
    """A tokenizer, its control tokens by name, and the size of its vocabulary with times."""
    content = json.loads((bundled.folder() / "tokenizer.json").read_text())
    model = content["model"]
    words = {word: i for word, i in model["vocab"].items() if i < first}
    model["vocab"] = words
    # The first 256 words are the bytes, and each later one is made by the merge in its place.
    model["merges"] = model["merges"][: first - 256]
    if languages:
        words["qzqzq"] = len(words)  # multilingual vocabularies have one word more
    names = ["endoftext", "startoftranscript", *LANGUAGES[: languages or 99], *_LAST]
    control = {name: len(words) + place for place, name in enumerate(names)}
    size = control["notimestamps"] + 1 + _TIMES
    content["added_tokens"] = [
        {"id": number, "content": f"<|{name}|>", "special": True, **_PLAIN}
        for name, number in control.items()
    ]
    content["added_tokens"] += [
        {"id": size + place, "content": f"newword{place}", "special": False, **_PLAIN}
        for place in range(more)
    ]
    content["post_processor"] = None
    return Tokenizer.from_str(json.dumps(content)), control, size + more


_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
