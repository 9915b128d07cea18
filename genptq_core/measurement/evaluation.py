"""The evaluation of one set of weights on a speech set, shard by shard, with an optional early end.

Shards may be computed in any order, by any process; the result depends on the set alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import ConstraintError, SpeechError
from ..models import SpeechModel
from ..progress import Progress, Report, silent
from ..speech.utterances import SpeechSet, Utterance, speech_set
from ..speech.wer import Errors, blockwise, count_errors, normalize, paired_interval
from .long_figures import LongHeard, LongSpeech, summary
from .runaways import RanAway, ran_away
from .shards import ShardResult, Weights, measure_shard, random_blocks, read_result, shard_key


@dataclass(frozen=True)
class Score:
    """How a model with other weights does on a speech set, compared with full precision.

    Attributes:
        wer, wer_full_precision, wer_increase: word error rates and their difference, fractions.
        ci95: paired bootstrap interval of the increase.
        loss: Kullback-Leibler divergence to full precision, nats per token.
        words: words in the normalized references.
        runaways: the recordings on which either model ran away, and error rates without them.
        insertions_on_silence: words written with these weights where nothing is said, which no
            rate counts.
        transcripts: (audio digest, full precision text, quantized text) per utterance.
        long: how recordings of more than 30 s were heard; None without any.
    """

    wer: float
    wer_full_precision: float
    wer_increase: float
    ci95: tuple[float, float]
    loss: float
    words: int
    runaways: RanAway
    insertions_on_silence: int
    transcripts: tuple[tuple[str, str, str], ...]
    long: LongSpeech | None = None


class Evaluation:
    """The results of a speech set's shards so far, and which shards remain.

    Shards belong to blocks, each a random sample of the set. With `stop`, the evaluation may end
    after any block; without it, it ends after the last.

    Args:
        speech: the set.
        normalizer: text normalizer of both sides.
        stop: if given, end after a block by which a paired interval of the WER increase, a
            fraction, lies wholly below or wholly above this. The interval's level is such that
            all looks together are wrong in 5 % of cases at most (Bonferroni).

    Attributes:
        finished: whether no shard remains, or the outcome is decided.

    Raises:
        SpeechError: a recording cannot be opened, or no utterance has a reference text.
        ConstraintError: `stop` is not an increase of WER.
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
        blocks = random_blocks(speech)
        self._whole = speech
        self._normalizer = normalizer
        self._stop = stop
        self._shards = [shard for block in blocks for shard in block]
        self._ends = list(itertools.accumulate(len(block) for block in blocks))
        self._looks = iter(self._ends)
        self._next = next(self._looks)  # shards that the next look needs
        self._results: dict[int, ShardResult] = {}
        self.finished = False

    def run(
        self, model: SpeechModel, weights: Weights, weights_key: str, report: Report = silent
    ) -> None:
        """Compute in this process what the cache does not hold.

        Args:
            model: the model.
            weights: gives new content by parameter name; see `measure_shard`.
            weights_key: stands for these weights in the cache; "" if nothing of them is cached.
            report: called with the utterances done.

        Raises:
            SpeechError: a recording cannot be used.
            GenPTQError: the cache cannot be written.
        """
        computed, total = 0, self.recall(model, weights_key)

        def reported_weights() -> Mapping[str, Tensor]:
            content = weights()
            report(Progress("measuring", computed, total))
            return content

        while self.remaining:
            number = self.remaining[0]
            part = self.utterances(number)
            self.add(number, measure_shard(model, reported_weights, weights_key, part))
            computed += len(part)
        report(Progress("measuring", total, total))

    def recall(self, model: SpeechModel, weights_key: str) -> int:
        """Add the results that the cache holds; returns how many utterances remain."""
        for number in self.remaining if weights_key else ():
            result = read_result(shard_key(model, weights_key, self.utterances(number)))
            if result is not None:
                self.add(number, result)
        return sum(len(self._shards[number]) for number in self.remaining)

    def add(self, number: int, result: ShardResult) -> bool:
        """Add the result of a shard; returns whether that finished the evaluation.

        A second result of the same shard changes nothing.
        """
        if self.finished:
            return False
        self._results.setdefault(number, result)
        while all(n in self._results for n in range(self._next)):
            self.finished = self._next == len(self._shards) or self._decided()
            if self.finished:
                break
            self._next = next(self._looks)
        return self.finished

    @property
    def remaining(self) -> list[int]:
        """Numbers of the shards to compute, in the order in which to compute them."""
        if self.finished:
            return []
        return [n for n in range(len(self._shards)) if n not in self._results]

    def utterances(self, number: int) -> tuple[Utterance, ...]:
        """A shard's utterances."""
        return tuple(self._whole.utterances[i] for i in self._shards[number])

    @property
    def speech(self) -> SpeechSet:
        """The set that was evaluated: the whole set, or after an early end its own subset, whose
        name says so."""
        whole, used = self._whole.utterances, self._rows()
        if len(used) == len(whole):
            return self._whole
        name = f"{self._whole.name}, stopped at {len(used)} of {len(whole)}"
        return speech_set(name, [whole[i] for i in used])

    @property
    def seconds(self) -> float:
        """Time that the computation took, all processes together."""
        return sum(self._results[n].seconds for n in range(self._next))

    def score(self) -> Score:
        """How the weights did, once the evaluation is finished."""
        rows = self._rows()
        before, after = self._errors()
        full, quantized, losses, tokens = zip(*rows.values(), strict=True)
        used = [self._whole.utterances[i] for i in rows]
        transcripts = tuple(zip([u.digest for u in used], full, quantized, strict=True))
        return Score(
            wer=after.wer,
            wer_full_precision=before.wer,
            wer_increase=after.wer - before.wer,
            ci95=paired_interval(*self._blocks(before, after)),
            loss=sum(losses) / sum(tokens),
            words=int(after.words.sum()),
            runaways=ran_away(
                [u.text for u in used], transcripts, self._normalizer, (before, after)
            ),
            insertions_on_silence=int(after.on_silence.sum()),
            transcripts=transcripts,
            long=summary(self._long()),
        )

    def _long(self) -> list[LongHeard]:
        return [one for n in range(self._next) for one in self._results[n].long.values()]

    def _decided(self) -> bool:
        """Whether the interval of the WER increase excludes `stop`."""
        if self._stop is None:
            return False
        before, after = self._errors()
        if not after.words.any():
            return False
        low, high = paired_interval(
            *self._blocks(before, after), level=1 - 0.05 / (len(self._ends) - 1)
        )
        return high < self._stop or low > self._stop

    def _errors(self) -> tuple[Errors, Errors]:
        """Word errors of full precision and of the weights."""
        rows = self._rows()
        references = [self._whole.utterances[i].text for i in rows]
        full, quantized, *_ = zip(*rows.values(), strict=True)
        before = count_errors(references, full, self._normalizer)
        return before, count_errors(references, quantized, self._normalizer)

    def _blocks(self, before: Errors, after: Errors) -> tuple[Errors, Errors]:
        """The same, long recordings cut into blocks of words."""
        rows = self._rows()
        references = [self._whole.utterances[i].text for i in rows]
        full, quantized, *_ = zip(*rows.values(), strict=True)
        return (
            blockwise(before, references, full, self._normalizer),
            blockwise(after, references, quantized, self._normalizer),
        )

    def _rows(self) -> dict[int, tuple[str, str, float, int]]:
        """Texts, loss and tokens of each utterance up to the latest look, in the set's order."""
        rows: dict[int, tuple[str, str, float, int]] = {}
        for number in range(self._next):
            rows.update(zip(self._shards[number], self._results[number].rows(), strict=True))
        return dict(sorted(rows.items()))
