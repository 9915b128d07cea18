"""A very small Whisper whose rows blocks of 32 weights divide."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers import WhisperFeatureExtractor as FeatureExtractor
from transformers import WhisperTokenizer as Tokenizer

from genptq_core.loading import load_model
from genptq_core.models import SpeechModel


def widened(small: Path, folder: Path) -> SpeechModel:
    """A model like the one in a folder, 32 wide, written to another folder."""
    config = WhisperConfig.from_pretrained(
        small, d_model=32, encoder_ffn_dim=256, decoder_ffn_dim=64
    )
    torch.manual_seed(0)
    module = WhisperForConditionalGeneration(config)
    module.generation_config = GenerationConfig.from_pretrained(small)
    module.save_pretrained(folder)
    FeatureExtractor.from_pretrained(small).save_pretrained(folder)
    Tokenizer.from_pretrained(small).save_pretrained(folder)
    return load_model(str(folder))
