"""Very small CTC recognizers of random weights, as `save_pretrained` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

PARAKEET, CONFORMER, WAV2VEC2 = "parakeet_ctc", "wav2vec2-conformer", "wav2vec2"
ARCHITECTURES = (PARAKEET, CONFORMER, WAV2VEC2)
VOCABULARY = ("<pad>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz")
WIDTH = 32

_WAV2VEC2: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "pad_token_id": 0,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 2 * WIDTH,
    "conv_dim": (16, 16, 16),
    "conv_stride": (10, 8, 4),
    "conv_kernel": (10, 8, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


def random_ctc(folder: Path, architecture: str, seed: int = 0, **settings: Any) -> Path:
    """Write a recognizer of 2 blocks, 32 wide, whose batch norms have seen something.

    Args:
        folder: where to.
        architecture: one of `ARCHITECTURES`.
        seed: of the weights.
        settings: of the encoder, in place of these.
    """
    torch.manual_seed(seed)
    module = _module(architecture, settings)
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d) and "weight" in part._parameters:
            part.reset_parameters()
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.normal_(std=0.2)
            part.running_var.uniform_(0.5, 2)
    module.save_pretrained(folder)
    extractor = ParakeetFeatureExtractor if architecture == PARAKEET else Wav2Vec2FeatureExtractor
    extractor().save_pretrained(folder)
    vocabulary = folder / "letters.json"
    vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(VOCABULARY)}))
    Wav2Vec2CTCTokenizer(str(vocabulary), bos_token=None, eos_token=None).save_pretrained(folder)
    return folder


def _module(architecture: str, settings: dict[str, Any]) -> Any:
    if architecture == CONFORMER:
        return Wav2Vec2ConformerForCTC(Wav2Vec2ConformerConfig(**{**_WAV2VEC2, **settings}))
    if architecture == WAV2VEC2:
        return Wav2Vec2ForCTC(Wav2Vec2Config(**{**_WAV2VEC2, **settings}))
    encoder = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 2 * WIDTH,
        "subsampling_factor": 4,
        "subsampling_conv_channels": 8,
        "num_mel_bins": 80,
        **settings,
    }
    return ParakeetForCTC(
        ParakeetCTCConfig(vocab_size=len(VOCABULARY), pad_token_id=0, encoder_config=encoder)
    )
