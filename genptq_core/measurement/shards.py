"""Shards: utterances decoded together with a map, and what came of each, cached by content.

A shard is the least that is measured at once. How a set is cut depends on the set alone, so one
process and a hundred decode the same batches, and a shard that two of them did counts once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..models import SpeechModel
from ..models.device import device_key
from ..models.divergence import divergences
from ..models.weights import replaced
from ..rounding.baseline import baseline
from ..speech.utterances import SpeechSet, Utterance, duration, load_audio
from ..storage.cache import read_cached, write_cached
from ..storage.digests import sha256_json
from ..storage.locations import shard_file

BATCH = 24
"""Most utterances decoded together."""


BLOCK = 4 * BATCH
"""Most utterances of a block, a random sample of the set."""


_VERSION = 1  # rises when rounding or decoding changes: what was kept is then measured again


Weights = Callable[[], Mapping[str, Tensor]]


@dataclass(frozen=True)
class ShardResult:
    """What a map makes of the utterances of a shard, one entry an utterance.

    Attributes:
        full: what full precision wrote.
        heard: what the quantized model wrote.
        losses: Kullback-Leibler divergence to full precision, summed over the tokens, nats.
        tokens: tokens of full precision.
        seconds: what computing it took.
    """

    full: tuple[str, ...]
    heard: tuple[str, ...]
    losses: tuple[float, ...]
    tokens: tuple[int, ...]
    seconds: float

    def rows(self) -> Iterator[tuple[str, str, float, int]]:
        """All but the seconds, an utterance at a time."""
        return zip(self.full, self.heard, self.losses, self.tokens, strict=True)


def random_blocks(speech: SpeechSet) -> list[list[tuple[int, ...]]]:
    """Cut a set into random samples, and each of these into shards.

    Samples are drawn by the recordings' digests, so they do not depend on the manifest's order.
    In a shard are utterances alike in length, so that few wait for the longest.

    Args:
        speech: the set.

    Returns:
        Blocks of shards of indices into the set, each index once.

    Raises:
        SpeechError: a recording cannot be opened.
    """
    lengths = [duration(u) for u in speech.utterances]
    drawn = sorted(range(len(speech)), key=lambda i: speech.utterances[i].digest)
    return [
        [tuple(part) for part in _parts(sorted(sample, key=lambda i: lengths[i]), BATCH)]
        for sample in _parts(drawn, BLOCK)
    ]


def _parts(indices: Sequence[int], most: int) -> list[list[int]]:
    """Even parts of at most so many."""
    count = math.ceil(len(indices) / most)
    return [part.tolist() for part in np.array_split(np.array(indices), count)]


def shard_key(model: SpeechModel, weights_key: str, utterances: Sequence[Utterance]) -> str:
    """Digest of all that a shard's result depends on."""
    recordings = [u.digest for u in utterances]
    content = [_VERSION, model.digest, model.decoding, weights_key, recordings]
    return sha256_json(content + device_key(model.module))


def read_result(key: str) -> ShardResult | None:
    """A shard's result from the cache, if it is there and sound."""
    done = read_cached(shard_file(key))
    if done is None:
        return None
    tensors, note = done
    return ShardResult(
        tuple(note["full"]),
        tuple(note["heard"]),
        tuple(tensors["losses"].tolist()),
        tuple(tensors["tokens"].tolist()),
        float(note["seconds"]),
    )


def save_result(key: str, found: ShardResult) -> None:
    """Put a shard's result into the cache.

    Raises:
        GenPTQError: the cache cannot be written.
    """
    tensors = {
        "losses": torch.tensor(found.losses, dtype=torch.float64),
        "tokens": torch.tensor(found.tokens, dtype=torch.int64),
    }
    note = {"full": found.full, "heard": found.heard, "seconds": found.seconds}
    write_cached(shard_file(key), tensors, note)


def measure_shard(
    model: SpeechModel, weights: Weights, weights_key: str, utterances: Sequence[Utterance]
) -> ShardResult:
    """Decode a shard with other weights beside full precision, or take that from the cache.

    Args:
        model: the model.
        weights: gives new content by parameter name; called only where there is work to do.
        weights_key: stands for these weights in the cache; "" where nothing does, and then the
            result is not kept.
        utterances: the shard.

    Raises:
        SpeechError: a recording cannot be used.
        GenPTQError: the cache cannot be written.
    """
    if not weights_key:
        return _decode(model, weights, utterances)
    key = shard_key(model, weights_key, utterances)
    found = read_result(key)
    if found is None:
        found = _decode(model, weights, utterances)
        save_result(key, found)
    return found


def _decode(model: SpeechModel, weights: Weights, utterances: Sequence[Utterance]) -> ShardResult:
    started = time.perf_counter()
    changed_weights = weights()
    full, states = baseline(model, utterances)
    audio = [load_audio(u) for u in utterances]
    with torch.no_grad():
        with replaced(model, changed_weights):
            encoded = model.encode(audio)
            heard = model.transcribe(encoded)
            changed = [model.log_probs(s) for s in model.head_inputs(encoded, full)]
        losses = divergences((model.log_probs(s) for s in states), changed)
    return ShardResult(
        tuple(t.text for t in full),
        tuple(t.text for t in heard),
        tuple(losses),
        tuple(len(s) for s in states),
        time.perf_counter() - started,
    )
