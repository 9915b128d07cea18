"""Train the small Conformer that ships: a FastConformer-CTC on AN4's spelled words and numbers.

    python data/models/train_conformer.py --train MANIFEST --dev MANIFEST --out FOLDER

One core, half an hour; `--start FOLDER` goes on from earlier weights. Every recording is heard at
three speeds (Ko et al., "Audio augmentation for speech recognition", 2015), with bands and
stretches masked (Park et al., "SpecAugment", 2019). The last weights are kept, rounded to float16:
no step is picked by its error on the development set, which is only reported.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import jiwer
import numpy as np
import soxr
import torch
from torch import Tensor, nn
from transformers import (
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    Wav2Vec2CTCTokenizer,
)

from genptq_core import SpeechSet, load_manifest
from genptq_core.files import write_text
from genptq_core.models.ctc import fold_norms
from genptq_core.speech import RATE, load_audio

SPEEDS = (0.9, 1.0, 1.1)
BLANK, SPACE = "<pad>", "|"
DOUBLED = "EE"
LETTERS = (BLANK, "<unk>", SPACE, *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'", DOUBLED)
"""A doubled letter has a label of its own: CTC writes a letter twice only with a blank between,
and in quick speech, such as THREE, no frame is left for it."""
BETWEEN = 3
"""Blocks after which the head is trained too."""


@dataclass(frozen=True)
class Example:
    """Features (frames, bins) of one recording at one speed, and its letters (length,)."""

    features: Tensor
    labels: Tensor


def architecture() -> ParakeetForCTC:
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
        dropout=0.1,
        activation_dropout=0.0,
        attention_dropout=0.0,
    )
    config = ParakeetCTCConfig(
        vocab_size=len(LETTERS), pad_token_id=0, encoder_config=encoder.to_dict()
    )
    model = ParakeetForCTC(config)
    for module in model.modules():
        # The library starts every weight at a deviation of 0.02, too small for narrow layers.
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            module.reset_parameters()
    return model


def spelling(folder: Path) -> Wav2Vec2CTCTokenizer:
    """Letters as the labels; words are joined by the space's own."""
    vocabulary = folder / "vocab.json"
    write_text(vocabulary, json.dumps({letter: i for i, letter in enumerate(LETTERS)}) + "\n")
    return Wav2Vec2CTCTokenizer(
        str(vocabulary), bos_token=None, eos_token=None, pad_token=BLANK, word_delimiter_token=SPACE
    )


def labels_of(text: str) -> list[int]:
    """Labels of a text, (length,)."""
    letters = re.findall(f"{DOUBLED}|.", text.replace(" ", SPACE))
    return [LETTERS.index(letter) for letter in letters]


def loss_of(model: ParakeetForCTC, batch: dict[str, Tensor]) -> Tensor:
    """CTC's loss, a third of it at a block in between: deep blocks learn sooner.

    Lee and Watanabe, "Intermediate loss regularization for CTC-based speech recognition", 2021.
    """
    labels = batch.pop("labels")
    encoded = model.encoder(**batch, output_hidden_states=True)
    lengths, targets = encoded.attention_mask.sum(dim=-1), labels[labels >= 0]
    total = torch.zeros(())
    for states, share in (
        (encoded.last_hidden_state, 2 / 3),
        (encoded.hidden_states[BETWEEN], 1 / 3),
    ):
        scores = model.ctc_head(states).log_softmax(dim=-1).transpose(0, 1)
        total = total + share * nn.functional.ctc_loss(
            scores, targets, lengths, (labels >= 0).sum(dim=-1), zero_infinity=True
        )
    return total


def examples(
    speech: SpeechSet, extractor: ParakeetFeatureExtractor, speed: float = 1.0
) -> list[Example]:
    """Features and labels of every recording at one speed."""
    found = []
    for utterance in speech.utterances:
        samples = load_audio(utterance)
        if speed != 1.0:
            samples = soxr.resample(samples, RATE, RATE / speed)
        batch = extractor([samples], sampling_rate=RATE, return_tensors="pt")
        frames = int(batch.attention_mask[0].sum())
        labels = torch.tensor(labels_of(utterance.text))
        found.append(Example(batch.input_features[0, :frames], labels))
    return found


def masked(features: Tensor, rng: np.random.Generator) -> Tensor:
    """SpecAugment: two bands of up to 15 bins and two stretches of up to 8 % become silent."""
    features = features.clone()
    frames, bins = features.shape
    for _ in range(2):
        width = int(rng.integers(0, 16))
        start = int(rng.integers(0, bins - width))
        features[:, start : start + width] = 0
    for _ in range(2):
        width = int(rng.integers(0, max(1, int(0.08 * frames)) + 1))
        start = int(rng.integers(0, frames - width))
        features[start : start + width] = 0
    return features


def batches(pool: list[list[Example]], size: int, rng: np.random.Generator) -> list[list[Example]]:
    """One epoch: each recording once, at a speed drawn anew, those of like length together."""
    chosen = [versions[int(rng.integers(len(versions)))] for versions in pool]
    chosen.sort(key=lambda e: len(e.features) * float(rng.uniform(0.9, 1.1)))
    parts = [chosen[i : i + size] for i in range(0, len(chosen), size)]
    return [parts[int(i)] for i in rng.permutation(len(parts))]


def collate(batch: list[Example], rng: np.random.Generator) -> dict[str, Tensor]:
    """Pad a batch; labels beyond an utterance's end are -100, which the loss leaves out."""
    features = [masked(e.features, rng) for e in batch]
    lengths = torch.tensor([len(f) for f in features])
    longest = int(lengths.max())
    return {
        "input_features": nn.utils.rnn.pad_sequence(features, batch_first=True),
        "attention_mask": torch.arange(longest)[None, :] < lengths[:, None],
        "labels": nn.utils.rnn.pad_sequence(
            [e.labels for e in batch], batch_first=True, padding_value=-100
        ),
    }


def word_error_rate(
    model: ParakeetForCTC, tokenizer: Wav2Vec2CTCTokenizer, dev: list[Example], texts: list[str]
) -> float:
    """Greedy word error rate on the development set, a fraction; words compared as written."""
    model.eval()
    with torch.no_grad():
        paths = [model(e.features[None]).logits[0].argmax(dim=-1).tolist() for e in dev]
    heard = [tokenizer.decode(path, skip_special_tokens=True) for path in paths]
    return float(jiwer.wer(texts, heard))


def main() -> None:
    """Train, report, and write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from the weights in this folder")
    parser.add_argument("--check", type=int, default=5, help="epochs between checks and saves")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    started = time.process_time()
    extractor = ParakeetFeatureExtractor()
    train, held = load_manifest(options.train), load_manifest(options.dev)
    tokenizer = spelling(options.out)
    by_speed = [examples(train, extractor, speed) for speed in SPEEDS]
    pool = [list(versions) for versions in zip(*by_speed, strict=True)]
    dev, texts = examples(held, extractor), [u.text for u in held.utterances]
    model = architecture()
    if options.start:
        model.load_state_dict(ParakeetForCTC.from_pretrained(options.start).state_dict())
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    steps = options.epochs * -(-len(pool) // options.batch)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
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
        if options.start:  # the statistics are folded away, so norms stay the scales they became
            for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm1d)):
                norm.eval()
        for batch in batches(pool, options.batch, rng):
            loss = loss_of(model, collate(batch, rng))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        line = f"epoch {epoch}: loss {np.mean(losses):.3f}, {time.process_time() - started:.0f} s"
        if epoch % options.check == 0 or epoch == options.epochs:
            line += f", WER {100 * word_error_rate(model, tokenizer, dev, texts):.1f} %"
            write(options.out, model, extractor, tokenizer)
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
