"""Shards: utterances that are decoded together, and the result of each, cached by content.

A shard is the smallest amount that is measured at once. How a set is cut depends on the set alone,
so one process and a hundred decode the same batches, and a shard that two of them computed counts
once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import SpeechError
from ..models import SpeechModel
from ..models.asking import in_language
from ..models.device import device_key
from ..models.divergence import divergences
from ..models.long_form import VERSION as LONG_FORM
from ..models.weights import replaced
from ..rounding.baseline import baseline
from ..speech.long_audio import is_long
from ..speech.utterances import LONGEST, SpeechSet, Utterance, duration, load_audio
from ..storage.cache import read_cached, write_cached
from ..storage.digests import sha256_json
from ..storage.locations import shard_file
from .long_figures import LongHeard
from .long_speech import compare_long

BATCH = 24
"""Most utterances decoded together."""

BLOCK = 4 * BATCH
"""Most utterances of a block, a random sample of the set."""

_VERSION = 2  # raised when rounding or decoding changes, so that cached results are not used

Weights = Callable[[], Mapping[str, Tensor]]
"""Gives new content by parameter name."""


@dataclass(frozen=True)
class ShardResult:
    """Transcripts and divergences of a shard, one entry per utterance.

    Attributes:
        full: what full precision wrote.
        heard: what the quantized model wrote.
        losses: Kullback-Leibler divergence to full precision, summed over the tokens, nats.
        tokens: tokens of full precision.
        seconds: time that the computation took.
        long: how recordings of more than 30 s were heard, by index in the shard.
    """

    full: tuple[str, ...]
    heard: tuple[str, ...]
    losses: tuple[float, ...]
    tokens: tuple[int, ...]
    seconds: float
    long: Mapping[int, LongHeard] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[str, str, float, int]]:
        """Text of full precision, text of the quantized model, loss and tokens per utterance."""
        return zip(self.full, self.heard, self.losses, self.tokens, strict=True)


def random_blocks(speech: SpeechSet) -> list[list[tuple[int, ...]]]:
    """A set cut into random samples, and each of these into shards.

    Samples are drawn by the recordings' digests, so they do not depend on the manifest's order.
    The utterances of a shard are similar in length, so that few are padded much. A recording of
    more than 30 s is a shard of its own, and no shard is of two languages.

    Args:
        speech: the set.

    Returns:
        Blocks of shards of indices into the set, each index once.

    Raises:
        SpeechError: a recording cannot be opened.
    """
    lengths = [duration(u) for u in speech.utterances]
    drawn = sorted(range(len(speech)), key=lambda i: speech.utterances[i].digest)
    blocks: list[list[tuple[int, ...]]] = []
    for sample in _parts(drawn, BLOCK):
        ordered = sorted(sample, key=lambda i: lengths[i])
        languages = dict.fromkeys(speech.utterances[i].language for i in ordered)
        blocks.append(
            [
                tuple(part)
                for language in languages
                for part in _parts(
                    [
                        i
                        for i in ordered
                        if lengths[i] <= LONGEST and speech.utterances[i].language == language
                    ],
                    BATCH,
                )
            ]
            + [(i,) for i in ordered if lengths[i] > LONGEST]
        )
    return blocks


def _parts(indices: Sequence[int], most: int) -> list[list[int]]:
    """Even parts of at most `most` indices; none of none."""
    if not indices:
        return []
    count = math.ceil(len(indices) / most)
    return [part.tolist() for part in np.array_split(np.array(indices), count)]


def shard_key(model: SpeechModel, weights_key: str, utterances: Sequence[Utterance]) -> str:
    """Digest of everything that a shard's result depends on."""
    model = in_language(model, utterances[0].language)
    recordings = [u.digest for u in utterances]
    text = [model.text_digest, model.decoding]
    content = [_VERSION, model.digest, text, weights_key, recordings]
    if any(map(_is_long, utterances)):
        content.append(LONG_FORM)
    return sha256_json(content + device_key(model.module))


def _is_long(recording: Utterance) -> bool:
    try:
        return is_long(recording)
    except SpeechError:
        return False  # reading it will say what is wrong


def read_result(key: str) -> ShardResult | None:
    """A shard's result from the cache; None where it is missing or damaged."""
    entry = read_cached(shard_file(key))
    if entry is None:
        return None
    tensors, note = entry
    return ShardResult(
        full=tuple(note["full"]),
        heard=tuple(note["heard"]),
        losses=tuple(tensors["losses"].tolist()),
        tokens=tuple(tensors["tokens"].tolist()),
        seconds=float(note["seconds"]),
        long={int(i): LongHeard(**fields) for i, fields in note.get("long", {}).items()},
    )


def save_result(key: str, result: ShardResult) -> None:
    """Write a shard's result to the cache.

    Raises:
        GenPTQError: the cache cannot be written.
    """
    tensors = {
        "losses": torch.tensor(result.losses, dtype=torch.float64),
        "tokens": torch.tensor(result.tokens, dtype=torch.int64),
    }
    note = {"full": result.full, "heard": result.heard, "seconds": result.seconds}
    if result.long:
        note["long"] = {str(i): asdict(heard) for i, heard in result.long.items()}
    write_cached(shard_file(key), tensors, note)


def measure_shard(
    model: SpeechModel, weights: Weights, weights_key: str, utterances: Sequence[Utterance]
) -> ShardResult:
    """The result of a shard, from the cache or decoded with other weights and with full precision.

    Args:
        model: the model.
        weights: gives new content by parameter name; called only if the shard must be decoded.
        weights_key: stands for these weights in the cache; "" if the result is not to be cached.
        utterances: the shard.

    Raises:
        SpeechError: a recording cannot be used.
        GenPTQError: the cache cannot be written.
    """
    if not weights_key:
        return _decode(model, weights, utterances, "")
    key = shard_key(model, weights_key, utterances)
    result = read_result(key)
    if result is None:
        result = _decode(model, weights, utterances, weights_key)
        save_result(key, result)
    return result


def _decode(
    model: SpeechModel, weights: Weights, utterances: Sequence[Utterance], weights_key: str
) -> ShardResult:
    started = time.perf_counter()
    changed_weights = weights()
    model = in_language(model, utterances[0].language)
    if any(map(is_long, utterances)):
        (recording,) = utterances
        compared = compare_long(model, changed_weights, recording, weights_key)
        return ShardResult(
            full=(compared.full,),
            heard=(compared.heard,),
            losses=(compared.loss,),
            tokens=(compared.tokens,),
            seconds=time.perf_counter() - started,
            long={0: compared.figures},
        )
    full, states = baseline(model, utterances)
    audio = [load_audio(u) for u in utterances]
    with torch.no_grad():
        with replaced(model, changed_weights):
            encoded = model.encode(audio)
            quantized = model.transcribe(encoded)
            changed = [model.log_probs(s) for s in model.head_inputs(encoded, full)]
        losses = divergences((model.log_probs(s) for s in states), changed)
    return ShardResult(
        full=tuple(t.text for t in full),
        heard=tuple(t.text for t in quantized),
        losses=tuple(losses),
        tokens=tuple(len(s) for s in states),
        seconds=time.perf_counter() - started,
    )
