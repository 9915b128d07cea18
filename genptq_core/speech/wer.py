"""Word error rate, by jiwer after text normalization, with paired confidence intervals.

Whisper's English normalizer writes numbers as digits and uses American spelling, which is fair to
Whisper. But if a set spells out its numbers it joins them ("five five" becomes "55"), and counts
fewer words than were said. For such sets the basic one is right: lower case, no punctuation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import jiwer
import numpy as np
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from ..errors import SpeechError

WHISPER_ENGLISH = "whisper-english"
BASIC = "basic"
NORMALIZERS = (WHISPER_ENGLISH, BASIC)
RESAMPLES = 10_000


@dataclass(frozen=True)
class Errors:
    """Word errors of a set, utterance by utterance.

    Attributes:
        errors: substitutions, deletions and insertions, shape (utterances,).
        words: words in the normalized references, shape (utterances,).
    """

    errors: np.ndarray
    words: np.ndarray

    @property
    def wer(self) -> float:
        """Word error rate of the set, a fraction."""
        return float(self.errors.sum() / self.words.sum())


@cache
def _normalizer(name: str) -> Callable[[str], str]:
    if name == WHISPER_ENGLISH:
        return EnglishTextNormalizer()
    if name == BASIC:
        return BasicTextNormalizer()
    raise SpeechError(
        f"There is no text normalizer {name!r}.", f"Known are {' and '.join(NORMALIZERS)}."
    )


def normalize(text: str, normalizer: str = WHISPER_ENGLISH) -> str:
    """Text after normalization.

    Args:
        text: what was said or written.
        normalizer: "whisper-english", or "basic": lower case, brackets and punctuation gone.

    Raises:
        SpeechError: there is no such normalizer.
    """
    return _normalizer(normalizer)(text).strip()


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], normalizer: str = WHISPER_ENGLISH
) -> Errors:
    """Word errors of each utterance, after normalizing both texts."""
    errors, words = [], []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        expected, written = normalize(reference, normalizer), normalize(hypothesis, normalizer)
        if not expected:
            errors.append(len(written.split()))
            words.append(0)
            continue
        counts = jiwer.process_words(expected, written)
        errors.append(counts.substitutions + counts.deletions + counts.insertions)
        words.append(len(expected.split()))
    return Errors(np.array(errors, dtype=np.int64), np.array(words, dtype=np.int64))


def paired_interval(
    full: Errors, quantized: Errors, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the WER increase, from utterances resampled in pairs.

    Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation"
    (ICASSP 2004).

    Returns:
        Lower and upper end, fractions.
    """
    count = len(full.words)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    words = draws @ full.words
    increase = (draws @ (quantized.errors - full.errors)) / np.maximum(words, 1)
    low, high = np.quantile(increase, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def count_loops(full: Sequence[str], quantized: Sequence[str]) -> int:
    """How many utterances a quantized model wrote far too much for, repeating itself.

    Counts transcripts with more than twice full precision's words and 10. Greedy decoding has no
    guard against loops, and a single one adds points to the WER of a small set.
    """
    pairs = zip(full, quantized, strict=True)
    return sum(len(b.split()) > 2 * len(a.split()) + 10 for a, b in pairs)


@dataclass(frozen=True)
class Span:
    """A run of words in an alignment: `kind` is equal, substitute, delete or insert."""

    kind: str
    reference: str
    hypothesis: str


def align(reference: str, hypothesis: str, normalizer: str = WHISPER_ENGLISH) -> tuple[Span, ...]:
    """Two texts aligned word by word, to mark differences; case and punctuation are ignored."""
    expected, written = normalize(reference, normalizer), normalize(hypothesis, normalizer)
    if not expected or not written:
        kind = "delete" if expected else "insert"
        return (Span(kind, expected, written),) if expected or written else ()
    alignment = jiwer.process_words(expected, written).alignments[0]
    expected_words, written_words = expected.split(), written.split()
    return tuple(
        Span(
            chunk.type,
            " ".join(expected_words[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(written_words[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in alignment
    )
