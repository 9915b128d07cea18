"""Very small recognizers of random weights, as `save_pretrained` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import (
    CanaryConfig,
    CanaryForConditionalGeneration,
    CohereAsrConfig,
    CohereAsrFeatureExtractor,
    CohereAsrForConditionalGeneration,
    GenerationConfig,
    HubertConfig,
    HubertForCTC,
    LasrCTCConfig,
    LasrFeatureExtractor,
    LasrForCTC,
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetForRNNT,
    ParakeetForTDT,
    ParakeetRNNTConfig,
    ParakeetTDTConfig,
    PreTrainedTokenizerFast,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from genptq_core.models import bundled
from genptq_core.models.whisper_settings import ENGLISH_WORDS

PARAKEET, CONFORMER, WAV2VEC2 = "parakeet_ctc", "wav2vec2-conformer", "wav2vec2"
HUBERT, WAVLM, BERT, LASR = "hubert", "wavlm", "wav2vec2-bert", "lasr_ctc"
ARCHITECTURES = (PARAKEET, CONFORMER, WAV2VEC2, HUBERT, WAVLM, BERT, LASR)
TDT, RNNT = "parakeet_tdt", "parakeet_rnnt"
TRANSDUCERS = (TDT, RNNT)
MOONSHINE, CANARY, COHERE = "moonshine", "canary", "cohere_asr"
ENCODER_DECODERS = (MOONSHINE, CANARY, COHERE)
WHISPER = "whisper"
FAMILIES = (WHISPER, *ARCHITECTURES, *TRANSDUCERS, *ENCODER_DECODERS)
"""All of which `random_model` makes one."""

VOCABULARY = ("<pad>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz")
WIDTH = 32

WORDS = 768
"""Words of a short vocabulary: 256 bytes, and the most frequent of tiny.en's pieces."""

_TIMES = 124  # in a short vocabulary; the embedding has 1000 rows then

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

_FAST: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 2 * WIDTH,
    "subsampling_conv_channels": 8,
    "num_mel_bins": 80,
}
_ENCODERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    PARAKEET: (ParakeetForCTC, ParakeetCTCConfig, {"subsampling_factor": 4}),
    LASR: (
        LasrForCTC,
        LasrCTCConfig,
        {"num_mel_bins": 128, "conv_kernel_size": 8, "subsampling_conv_channels": WIDTH},
    ),
}
"""Classes of model and configuration, and settings, of those that name their encoder's."""

_PLAIN: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    CONFORMER: (Wav2Vec2ConformerForCTC, Wav2Vec2ConformerConfig, {}),
    WAV2VEC2: (Wav2Vec2ForCTC, Wav2Vec2Config, {}),
    HUBERT: (HubertForCTC, HubertConfig, {}),
    WAVLM: (WavLMForCTC, WavLMConfig, {"num_buckets": 16, "max_bucket_distance": 32}),
    BERT: (
        Wav2Vec2BertForCTC,
        Wav2Vec2BertConfig,
        {"conv_depthwise_kernel_size": 7, "left_max_position_embeddings": 8},
    ),
}
_EXTRACTORS: dict[str, Any] = {
    PARAKEET: ParakeetFeatureExtractor,
    LASR: LasrFeatureExtractor,
    BERT: SeamlessM4TFeatureExtractor,
}


def random_model(folder: Path, family: str, gain: float = 2.0) -> Path:
    """Write a very small recognizer of one of `FAMILIES` that every target can hold exactly.

    Args:
        folder: where to.
        family: one of `FAMILIES`.
        gain: what its matrices are multiplied by, so that what it writes varies.
    """
    settings: dict[str, Any] = {"num_hidden_layers": 1}
    if family in (PARAKEET, *TRANSDUCERS):
        settings |= {"subsampling_factor": 8, "subsampling_conv_channels": 32}
    if family == WHISPER:
        random_whisper(folder)
    elif family in ENCODER_DECODERS:
        random_encoder_decoder(folder, family)
    else:
        (random_transducer if family in TRANSDUCERS else random_ctc)(folder, family, **settings)
    path = folder / "model.safetensors"
    weights = {
        name: (tensor * (gain if tensor.dim() > 1 else 1)).half().float()
        if tensor.is_floating_point()
        else tensor
        for name, tensor in load_file(path).items()
    }
    save_file(weights, path, metadata={"format": "pt"})
    return folder


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
    _vary(module)
    module.save_pretrained(folder)
    _save_settings(folder, architecture, VOCABULARY)
    return folder


def random_transducer(folder: Path, architecture: str, seed: int = 2, **settings: Any) -> Path:
    """Write a Parakeet TDT or RNN-T of 2 blocks and 2 layers of LSTM, 32 wide.

    Args:
        folder: where to.
        architecture: one of `TRANSDUCERS`.
        seed: of the weights.
        settings: of the encoder, in place of these.
    """
    torch.manual_seed(seed)
    kind, form = (
        (ParakeetForTDT, ParakeetTDTConfig)
        if architecture == TDT
        else (ParakeetForRNNT, ParakeetRNNTConfig)
    )
    blank = len(VOCABULARY)
    module = kind(
        form(
            vocab_size=blank + 1,
            blank_token_id=blank,
            pad_token_id=0,
            decoder_hidden_size=WIDTH,
            encoder_config={**_FAST, "subsampling_factor": 8, **settings},
        )
    )
    _vary(module)
    with torch.no_grad():
        module.decoder.embedding.weight.normal_()
        module.decoder.embedding.weight[blank] = 0  # as it is trained
        for matrix in (module.encoder_projector, module.decoder.decoder_projector):
            matrix.weight *= 3
        module.joint.head.weight *= 2
        # So that it gets on: RNN-T does so by blanks alone.
        module.joint.head.bias[blank] += 2.5 if architecture == TDT else 12
        if architecture == TDT:
            module.joint.head.bias[blank + 1] -= 1
    module.save_pretrained(folder)
    _save_settings(folder, PARAKEET, (*VOCABULARY, "<blank>"))
    return folder


def random_encoder_decoder(folder: Path, architecture: str, seed: int = 0, **settings: Any) -> Path:
    """Write a recognizer of one block on each side, 32 wide, that writes words of a few letters.

    Args:
        folder: where to.
        architecture: one of `ENCODER_DECODERS`.
        seed: of the weights.
        settings: of the configuration, in place of these.
    """
    torch.manual_seed(seed)
    control = ["<pad>", "<s>", "</s>", "\N{LOWER ONE EIGHTH BLOCK}", "<|en|>", "<|de|>"]
    task = ("startofcontext", "startoftranscript", "emo:undefined", "pnc", "noitn")
    control += [f"<|{token}|>" for token in (*task, "notimestamp", "nodiarize")]
    letters = VOCABULARY[3:]
    words = [*control, *letters, *(a + b for a in letters[:20] for b in letters)]
    tokens: dict[str, Any] = {
        "vocab_size": len(words),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": {CANARY: 6, COHERE: 3}.get(architecture, 1),
    }
    sizes: dict[str, Any] = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": 24,
        "head_dim": WIDTH // 2,
    }
    encoder = {**_FAST, "num_hidden_layers": 1, "subsampling_factor": 8, "num_mel_bins": 128}
    if architecture == MOONSHINE:
        both = {f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in sizes.items()}
        kept = {k: v for k, v in both.items() if "_num_" in k}
        plain = {k: sizes[k] for k in ("hidden_size", "intermediate_size")}
        config: Any = MoonshineConfig(**{**tokens, **plain, **kept, **settings})
        module: Any = MoonshineForConditionalGeneration(config)
    elif architecture == CANARY:
        decoder = {**sizes, **{k: v for k, v in tokens.items() if "start" not in k}}
        config = CanaryConfig(
            **{**tokens, "encoder_config": encoder, "decoder_config": decoder, **settings}
        )
        module = CanaryForConditionalGeneration(config)
    else:
        config = CohereAsrConfig(**{**tokens, **sizes, "encoder_config": encoder, **settings})
        module = CohereAsrForConditionalGeneration(config)
    _vary(module)
    with torch.no_grad():
        module.model.decoder.embed_tokens.weight.normal_(std=0.1)
        module.model.decoder.norm.weight *= 3 if architecture == MOONSHINE else 5
        if architecture != MOONSHINE:
            module.model.decoder.embedding_layernorm.weight *= 0.1
        for layer in module.model.decoder.layers:  # what it writes depends on what it hears
            layer.encoder_attn.o_proj.weight *= 4
        if architecture == COHERE:  # its output is no embedding
            module.proj_out.weight *= 3
        module.proj_out.weight[: len(control)] *= 0.2  # it seldom ends, and writes words
    module.save_pretrained(folder)
    extractor = {
        CANARY: ParakeetFeatureExtractor(feature_size=128),
        COHERE: CohereAsrFeatureExtractor(),
    }.get(architecture, Wav2Vec2FeatureExtractor())
    extractor.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.add_special_tokens(control)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder)
    return folder


def _vary(module: Any) -> None:
    """Let weights be as torch starts them, and norms have seen something."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d) and "weight" in part._parameters:
            part.reset_parameters()
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.normal_(std=0.2)
            part.running_var.uniform_(0.5, 2)


def _save_settings(folder: Path, architecture: str, letters: tuple[str, ...]) -> None:
    """Write feature settings, and a tokenizer that has these letters."""
    _EXTRACTORS.get(architecture, Wav2Vec2FeatureExtractor)().save_pretrained(folder)
    vocabulary = folder / "letters.json"
    vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    Wav2Vec2CTCTokenizer(str(vocabulary), bos_token=None, eos_token=None).save_pretrained(folder)


def _module(architecture: str, settings: dict[str, Any]) -> Any:
    if architecture in _ENCODERS:
        kind, form, own = _ENCODERS[architecture]
        encoder = {**_FAST, **own, **settings}
        return kind(form(vocab_size=len(VOCABULARY), pad_token_id=0, encoder_config=encoder))
    kind, form, own = _PLAIN[architecture]
    return kind(form(**{**_WAV2VEC2, **own, **settings}))


def random_whisper(folder: Path, words: int = WORDS) -> Path:
    """Write a Whisper of one block on each side, 16 wide, with the first words of tiny.en.

    Most of what it costs to run such a small model is its output: with all words of tiny.en it
    takes fifty times as long as with a few hundred.

    Args:
        folder: where to.
        words: words of its vocabulary; `ENGLISH_WORDS` are all of tiny.en's. The control tokens
            follow them.
    """
    path = bundled.folder() / "tokenizer.json"
    tokenizer = Tokenizer.from_str(json.dumps(_shortened(json.loads(path.read_text()), words)))
    control = {
        token: tokenizer.token_to_id(f"<|{token}|>")
        for token in ("endoftext", "startoftranscript", "notimestamps")
    }
    end, start = control["endoftext"], control["startoftranscript"]
    times = 1501 if words == ENGLISH_WORDS else _TIMES
    size = control["notimestamps"] + 1 + times
    tokens: dict[str, Any] = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
    }
    config = WhisperConfig(
        vocab_size=size,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_target_positions=32,
        **tokens,
    )
    torch.manual_seed(0)
    module = WhisperForConditionalGeneration(config)
    suppressed = json.loads((bundled.folder() / "config.json").read_text())
    module.generation_config = GenerationConfig(
        is_multilingual=False,
        no_timestamps_token_id=control["notimestamps"],
        suppress_tokens=_kept(suppressed["suppress_ids"], words),
        begin_suppress_tokens=_kept(suppressed["suppress_ids_begin"], words),
        max_length=448,
        **tokens,
    )
    module.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    WhisperTokenizer(tokenizer_object=tokenizer).save_pretrained(folder)
    return folder


def _shortened(tokenizer: dict[str, Any], words: int) -> dict[str, Any]:
    """A tokenizer's file with so many words; control tokens move up to them."""
    model = tokenizer["model"]
    # The first 256 words are the bytes, and each later one is made by the merge in its place.
    model["merges"] = model["merges"][: words - 256]
    model["vocab"] = {word: new for word, i in model["vocab"].items() for new in _kept([i], words)}
    for added in tokenizer["added_tokens"]:
        (added["id"],) = _kept([added["id"]], words)
    for special in tokenizer["post_processor"]["special_tokens"].values():
        special["ids"] = _kept(special["ids"], words)
    return tokenizer


def _kept(tokens: list[int], words: int) -> list[int]:
    """Where the tokens of tiny.en are in a vocabulary of so many words, without those it lacks."""
    moved = ENGLISH_WORDS - words
    return [i if i < words else i - moved for i in tokens if i < words or i >= ENGLISH_WORDS]
