"""Train the small Conformer that ships: a FastConformer-CTC on AN4's spelled words and numbers.

    python data/models/train_conformer.py --train MANIFEST --dev MANIFEST --out FOLDER

One core, half an hour. Every recording is used at three speeds (Ko et al., "Audio augmentation for
speech recognition", 2015), with frequencies stretched, and with bands and stretches of time masked
(Park et al., "SpecAugment", 2019). What is kept is the running average of the weights at the end,
rounded to float16: no step is picked by its error on the development set, which is only reported.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jiwer
import numpy as np
import soxr
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import (
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    Wav2Vec2CTCTokenizer,
)

from genptq_core import SpeechSet, load_manifest
from genptq_core.models.ctc import fold_norms
from genptq_core.speech.utterances import RATE, load_audio
from genptq_core.storage.files import write_text

SPEEDS = (0.9, 1.0, 1.1)
BLANK, SPACE = "<pad>", "|"
LETTERS = (BLANK, "<unk>", SPACE, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
OFTEN = 10
"""Words at least this often in the training set are labels; rarer ones are spelled."""
BETWEEN = 3
"""Blocks after which letters are learned: a head for that is thrown away at the end."""
WARP = 0.1
"""The most by which frequencies are stretched, as longer and shorter vocal tracts do."""
MEMORY = 0.998
"""Fraction of the averaged weights that a step leaves."""


@dataclass(frozen=True)
class Example:
    """Features (frames, bins) of one recording at one speed, its words' labels and its letters."""

    features: Tensor
    words: Tensor
    letters: Tensor


def architecture(labels: int) -> ParakeetForCTC:
    """A FastConformer of 5 layers, 128 wide, one frame in 40 ms."""
    encoder = ParakeetEncoderConfig(
        hidden_size=128,
        num_hidden_layers=5,
        num_attention_heads=4,
        intermediate_size=512,
        conv_kernel_size=9,
        subsampling_factor=4,
        subsampling_conv_channels=16,
        num_mel_bins=80,
        scale_input=False,
        layerdrop=0.0,
        dropout=0.15,
        activation_dropout=0.0,
        attention_dropout=0.0,
    )
    config = ParakeetCTCConfig(vocab_size=labels, pad_token_id=0, encoder_config=encoder.to_dict())
    model = ParakeetForCTC(config)
    for module in model.modules():
        # The library starts every weight at a deviation of 0.02, too small for narrow layers.
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            module.reset_parameters()
    return model


def labels_of(speech: SpeechSet) -> tuple[str, ...]:
    """Letters, then words with the space after them: those heard often, single letters too."""
    count = Counter(word for u in speech.utterances for word in u.text.split())
    often = sorted(word for word, times in count.items() if times >= OFTEN)
    return (*LETTERS, *(f"{word} " for word in often))


def spelling(folder: Path, labels: Sequence[str]) -> Wav2Vec2CTCTokenizer:
    """What labels read as; rare words are letters with the space's own label behind them."""
    vocabulary = folder / "vocab.json"
    write_text(vocabulary, json.dumps({label: i for i, label in enumerate(labels)}) + "\n")
    return Wav2Vec2CTCTokenizer(
        str(vocabulary), bos_token=None, eos_token=None, pad_token=BLANK, word_delimiter_token=SPACE
    )


def indices(text: str, labels: Sequence[str]) -> Tensor:
    """Labels of a text, (length,)."""
    labelled: list[int] = []
    for word in text.split():
        known = f"{word} "
        labelled += [labels.index(x) for x in ([known] if known in labels else [*word, SPACE])]
    return torch.tensor(labelled)


def ctc(scores: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """CTC's loss of logits (batch, frames, labels); labels below 0 fill up."""
    return nn.functional.ctc_loss(
        scores.log_softmax(dim=-1).transpose(0, 1),
        labels[labels >= 0],
        lengths,
        (labels >= 0).sum(dim=-1),
        zero_infinity=True,
    )


def loss_of(model: ParakeetForCTC, letters: nn.Linear | None, batch: dict[str, Tensor]) -> Tensor:
    """CTC's loss on words, and half as much on letters at a block in between, where wanted.

    Lee and Watanabe, "Intermediate loss regularization for CTC-based speech recognition", 2021.
    """
    words, spelled = batch.pop("words"), batch.pop("letters")
    encoded = model.encoder(**batch, output_hidden_states=True)
    lengths = encoded.attention_mask.sum(dim=-1)
    final = ctc(model.ctc_head(encoded.last_hidden_state), lengths, words)
    return final + ctc(letters(encoded.hidden_states[BETWEEN]), lengths, spelled) / 2


def examples(
    speech: SpeechSet,
    extractor: ParakeetFeatureExtractor,
    labels: Sequence[str],
    speed: float = 1.0,
) -> list[Example]:
    """Features and labels of every recording at one speed."""
    all_examples = []
    for utterance in speech.utterances:
        samples = load_audio(utterance)
        if speed != 1.0:
            samples = soxr.resample(samples, RATE, RATE / speed)
        batch = extractor([samples], sampling_rate=RATE, return_tensors="pt")
        frames = int(batch.attention_mask[0].sum())
        words, letters = indices(utterance.text, labels), indices(utterance.text, LETTERS)
        all_examples.append(Example(batch.input_features[0, :frames], words, letters))
    return all_examples


def warped(features: Tensor, rng: np.random.Generator) -> Tensor:
    """Another speaker: bands stretched by up to `WARP`.

    Jaitly and Hinton, "Vocal tract length perturbation improves speech recognition", 2013.
    """
    bins = features.shape[1]
    at = torch.arange(bins) * float(rng.uniform(1 - WARP, 1 + WARP))
    low = at.floor().clamp(max=bins - 2).long()
    fraction = (at - low).clamp(max=1.0)
    return features[:, low] * (1 - fraction) + features[:, low + 1] * fraction


def masked(features: Tensor, rng: np.random.Generator) -> Tensor:
    """SpecAugment: two bands of up to 20 bins and two stretches of up to 8 % become silent."""
    features = features.clone()
    frames, bins = features.shape
    for _ in range(2):
        width = int(rng.integers(0, 21))
        start = int(rng.integers(0, bins - width))
        features[:, start : start + width] = 0
    for _ in range(2):
        width = int(rng.integers(0, max(1, int(0.08 * frames)) + 1))
        start = int(rng.integers(0, frames - width))
        features[start : start + width] = 0
    return features


def batches(pool: list[list[Example]], size: int, rng: np.random.Generator) -> list[list[Example]]:
    """One epoch: each recording once, at a speed drawn for it; similar lengths together."""
    chosen = [versions[int(rng.integers(len(versions)))] for versions in pool]
    chosen.sort(key=lambda e: len(e.features) * float(rng.uniform(0.9, 1.1)))
    parts = [chosen[i : i + size] for i in range(0, len(chosen), size)]
    return [parts[int(i)] for i in rng.permutation(len(parts))]


def collate(batch: list[Example], rng: np.random.Generator) -> dict[str, Tensor]:
    """Pad a batch; labels beyond an utterance's end are -100, which the loss leaves out."""
    features = [masked(warped(e.features, rng), rng) for e in batch]
    lengths = torch.tensor([len(f) for f in features])
    longest = int(lengths.max())
    pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
    return {
        "input_features": pad(features),
        "attention_mask": torch.arange(longest)[None, :] < lengths[:, None],
        "words": pad([e.words for e in batch], padding_value=-100),
        "letters": pad([e.letters for e in batch], padding_value=-100),
    }


def word_error_rate(
    model: ParakeetForCTC, tokenizer: Wav2Vec2CTCTokenizer, dev: list[Example], texts: list[str]
) -> float:
    """Greedy word error rate on the development set, a fraction; words compared as written."""
    model.eval()
    with torch.no_grad():
        paths = [model(e.features[None]).logits[0].argmax(dim=-1).tolist() for e in dev]
    hypotheses = [
        tokenizer.decode([k for k, _ in groupby(p) if k], group_tokens=False) for p in paths
    ]
    return float(jiwer.wer(texts, hypotheses))


def main() -> None:
    """Train, report, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", type=int, default=5, help="epochs between checks and saves")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    started = time.process_time()
    extractor = ParakeetFeatureExtractor()
    train, held = load_manifest(options.train), load_manifest(options.dev)
    labels = labels_of(train)
    tokenizer = spelling(options.out, labels)
    by_speed = [examples(train, extractor, labels, speed) for speed in SPEEDS]
    pool = [[versions[i] for versions in by_speed] for i in range(len(train))]
    dev, texts = examples(held, extractor, labels), [u.text for u in held.utterances]
    model = architecture(len(labels))
    letters = nn.Linear(model.config.encoder_config.hidden_size, len(LETTERS))
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(MEMORY), use_buffers=True)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    steps = options.epochs * -(-len(pool) // options.batch)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [*(p for p in model.parameters() if p.ndim <= 1), *letters.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=steps, pct_start=0.15
    )
    for epoch in range(1, options.epochs + 1):
        losses = []
        model.train()
        for batch in batches(pool, options.batch, rng):
            loss = loss_of(model, letters, collate(batch, rng))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            averaged.update_parameters(model)
            losses.append(loss.item())
        line = f"epoch {epoch}: loss {np.mean(losses):.3f}, {time.process_time() - started:.0f} s"
        if epoch % options.check == 0 or epoch == options.epochs:
            line += f", WER {100 * word_error_rate(averaged.module, tokenizer, dev, texts):.1f} %"
            write(options.out, averaged.module, extractor, tokenizer)
        print(line, flush=True)


def write(
    out: Path,
    model: ParakeetForCTC,
    extractor: ParakeetFeatureExtractor,
    tokenizer: Wav2Vec2CTCTokenizer,
) -> None:
    """Write weights as float16, features' settings and letters, as `transformers` reads them."""
    kept = copy.deepcopy(model)
    fold_norms(kept)
    for part in (kept.half(), extractor, tokenizer):
        part.save_pretrained(out)


if __name__ == "__main__":
    main()
