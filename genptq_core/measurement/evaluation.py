"""Trials: weights being tried on a speech set, shard by shard, until it is done or decided."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import ConstraintError, SpeechError
from ..models import SpeechModel
from ..progress import Progress, Report, silent
from ..speech.utterances import SpeechSet, Utterance, speech_set
from ..speech.wer import Errors, count_errors, count_loops, normalize, paired_interval
from .shards import ShardResult, Weights, measure_shard, random_blocks, read_result, shard_key


@dataclass(frozen=True)
class Score:
    """How a model with other weights does on a speech set, beside full precision.

    Attributes:
        wer, wer_full_precision, wer_increase: word error rates and their difference, fractions.
        ci95: paired bootstrap interval of the increase.
        loss: Kullback-Leibler divergence to full precision, nats a token.
        words: words in the normalized references.
        looped: utterances on which it ran away; see `count_loops`.
        transcripts: (audio digest, full precision text, quantized text) an utterance.
    """

    wer: float
    wer_full_precision: float
    wer_increase: float
    ci95: tuple[float, float]
    loss: float
    words: int
    looped: int
    transcripts: tuple[tuple[str, str, str], ...]


class Evaluation:
    """What came of the shards of a speech set so far.

    Args:
        speech: the set.
        normalizer: text normalizer of both sides.
        stop: if given, end after a block by which a paired interval of the WER increase, a
            fraction, lies wholly below or wholly above this. The interval's level is such that
            all looks together are wrong in 5 % of cases at most (Bonferroni).

    Raises:
        SpeechError: a recording cannot be opened, or no reference text is there to score against.
        ConstraintError: `stop` is no increase of WER.
    """

    def __init__(self, speech: SpeechSet, normalizer: str, stop: float | None = None) -> None:
        if not any(normalize(u.text, normalizer) for u in speech.utterances):
            raise SpeechError(
                f"{speech.name} has no reference texts to score against.",
                'Add "text" to its lines.',
            )
        if stop is not None and not -1 < stop < 1:
            raise ConstraintError(
                f"An increase of WER of {100 * stop} points decides nothing.", "Give 0.5, say."
            )
        cut = random_blocks(speech)
        self._whole = speech
        self._normalizer = normalizer
        self._stop = stop
        self._shards = [shard for block in cut for shard in block]
        self._ends = list(itertools.accumulate(len(block) for block in cut))
        self._looks = iter(self._ends)
        self._next = next(self._looks)
        self._results: dict[int, ShardResult] = {}
        self.finished = False

    @property
    def left(self) -> list[int]:
        """Numbers of the shards to do, in the order in which to do them."""
        if self.finished:
            return []
        return [n for n in range(len(self._shards)) if n not in self._results]

    def utterances(self, number: int) -> tuple[Utterance, ...]:
        """A shard's recordings."""
        return tuple(self._whole.utterances[i] for i in self._shards[number])

    def add(self, number: int, result: ShardResult) -> bool:
        """Note what came of a shard (a second time, nothing); returns whether that finished it."""
        if self.finished:
            return False
        self._results.setdefault(number, result)
        while all(n in self._results for n in range(self._next)):
            self.finished = self._next == len(self._shards) or self._decided()
            if self.finished:
                break
            self._next = next(self._looks)
        return self.finished

    def recall(self, model: SpeechModel, weights_key: str) -> int:
        """Take what is there from the cache; returns how many utterances are left to do."""
        for number in self.left if weights_key else ():
            found = read_result(shard_key(model, weights_key, self.utterances(number)))
            if found is not None:
                self.add(number, found)
        return sum(len(self._shards[number]) for number in self.left)

    def run(
        self, model: SpeechModel, weights: Weights, weights_key: str, report: Report = silent
    ) -> None:
        """Do what is left in this process; see `measure_shard`."""
        done, total = 0, self.recall(model, weights_key)

        def ready() -> Mapping[str, Tensor]:
            found = weights()
            report(Progress("measuring", done, total))
            return found

        while self.left:
            number = self.left[0]
            self.add(number, measure_shard(model, ready, weights_key, self.utterances(number)))
            done += len(self._shards[number])
        report(Progress("measuring", total, total))

    @property
    def seconds(self) -> float:
        """What computing it took, all processes together."""
        return sum(self._results[n].seconds for n in range(self._next))

    @property
    def speech(self) -> SpeechSet:
        """What it is of: the set, or one of its own that says so if it was decided early."""
        whole, used = self._whole.utterances, self._used()
        if len(used) == len(whole):
            return self._whole
        name = f"{self._whole.name}, stopped at {len(used)} of {len(whole)}"
        return speech_set(name, [whole[i] for i in used])

    def score(self) -> Score:
        """How the weights did, once it is finished."""
        rows, (before, after) = self._used(), self._errors()
        full, heard, losses, tokens = zip(*rows.values(), strict=True)
        digests = [self._whole.utterances[i].digest for i in rows]
        return Score(
            wer=after.wer,
            wer_full_precision=before.wer,
            wer_increase=after.wer - before.wer,
            ci95=paired_interval(before, after),
            loss=sum(losses) / sum(tokens),
            words=int(after.words.sum()),
            looped=count_loops(full, heard),
            transcripts=tuple(zip(digests, full, heard, strict=True)),
        )

    def _used(self) -> dict[int, tuple[str, str, float, int]]:
        """What came of each utterance up to the latest look, in the set's order."""
        found: dict[int, tuple[str, str, float, int]] = {}
        for number in range(self._next):
            found.update(zip(self._shards[number], self._results[number].rows(), strict=True))
        return dict(sorted(found.items()))

    def _errors(self) -> tuple[Errors, Errors]:
        """Word errors of full precision and of the weights."""
        used = self._used()
        said = [self._whole.utterances[i].text for i in used]
        full, heard, *_ = zip(*used.values(), strict=True)
        before = count_errors(said, full, self._normalizer)
        return before, count_errors(said, heard, self._normalizer)

    def _decided(self) -> bool:
        if self._stop is None:
            return False
        level = 1 - 0.05 / (len(self._ends) - 1)
        low, high = paired_interval(*self._errors(), level=level)
        return high < self._stop or low > self._stop
