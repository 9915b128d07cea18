"""Error rates of words or characters, by jiwer after text normalization, with paired intervals.

What a normalizer leaves between spaces is counted, so that one that sets characters apart makes
this a character error rate. An utterance in which nothing was said enters no rate: what is written
for it is counted by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .aligning import aligned
from .normalizers import BASIC, MULTILINGUAL, NORMALIZERS, WHISPER_ENGLISH, normalize, unit_of

__all__ = [
    "BASIC",
    "MULTILINGUAL",
    "NORMALIZERS",
    "RESAMPLES",
    "WHISPER_ENGLISH",
    "Errors",
    "Span",
    "align",
    "blockwise",
    "count_errors",
    "normalize",
    "paired_interval",
]

RESAMPLES = 10_000

LONG_TEXT = 300
"""Words (or characters) of a reference above which it is resampled in blocks: nobody says as many
in 30 s."""

BLOCK = 50
"""Words of a block, about what is said in an utterance of 20 s."""


@dataclass(frozen=True)
class Errors:
    """Errors of a set, utterance by utterance; words are characters where those are counted.

    Attributes:
        errors: substitutions, deletions and insertions where something was said, shape
            (utterances,).
        words: words in the normalized references, shape (utterances,).
        on_silence: words written where nothing was said, shape (utterances,).
    """

    errors: np.ndarray
    words: np.ndarray
    on_silence: np.ndarray

    @property
    def wer(self) -> float:
        """Error rate of the set, a fraction."""
        return float(self.errors.sum() / self.words.sum())


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], normalizer: str = WHISPER_ENGLISH
) -> Errors:
    """Errors of each utterance, after normalizing both texts."""
    rows = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        expected, written = normalize(reference, normalizer), normalize(hypothesis, normalizer)
        if not expected:
            rows.append((0, 0, len(written.split())))
            continue
        counts = aligned(expected, written)
        errors = counts.substitutions + counts.deletions + counts.insertions
        rows.append((errors, len(expected.split()), 0))
    return Errors(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)


def blockwise(
    errors: Errors, references: Sequence[str], hypotheses: Sequence[str], normalizer: str
) -> Errors:
    """Errors of a set whose long references are cut into blocks of words, for `paired_interval`.

    An hour in one recording is one utterance, from which no interval could be drawn. Of two models,
    the blocks are of the same words (Liu, Peng et al., "Statistical testing on ASR performance via
    blockwise bootstrap", Interspeech 2020).

    Args:
        errors: what `count_errors` says of the set.
        references, hypotheses, normalizer: of which it says so.
    """
    if not (errors.words > LONG_TEXT).any():
        return errors
    rows: list[tuple[int, int, int]] = []
    for index, words in enumerate(errors.words.tolist()):
        if words <= LONG_TEXT:
            silent = int(errors.on_silence[index])
            rows.append((int(errors.errors[index]), words, silent))
            continue
        texts = (references[index], hypotheses[index])
        expected, written = (normalize(text, normalizer) for text in texts)
        count = -(-words // BLOCK)
        wrong = np.zeros(count, dtype=np.int64)
        # Of words that are added, the block is that of the word before which they stand.
        for chunk in aligned(expected, written).alignments[0]:
            if chunk.type == "equal":
                continue
            if chunk.type == "insert":
                added = chunk.hyp_end_idx - chunk.hyp_start_idx
                wrong[min(chunk.ref_start_idx, words - 1) // BLOCK] += added
            else:
                np.add.at(wrong, np.arange(chunk.ref_start_idx, chunk.ref_end_idx) // BLOCK, 1)
        sizes = np.diff([*range(0, words, BLOCK), words])
        rows += [(int(w), int(n), 0) for w, n in zip(wrong, sizes, strict=True)]
    return Errors(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)


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


@dataclass(frozen=True)
class Span:
    """A run of what is counted in an alignment: `kind` is equal, substitute, delete or insert."""

    kind: str
    reference: str
    hypothesis: str


def align(reference: str, hypothesis: str, normalizer: str = WHISPER_ENGLISH) -> tuple[Span, ...]:
    """Two texts aligned by what is counted, to mark differences; case and punctuation are ignored.

    Spans of characters are written without spaces.
    """
    between = "" if unit_of(normalizer) == "character" else " "
    expected, written = normalize(reference, normalizer), normalize(hypothesis, normalizer)
    expected_words, written_words = expected.split(), written.split()
    if not expected or not written:
        kind = "delete" if expected else "insert"
        span = Span(kind, between.join(expected_words), between.join(written_words))
        return (span,) if expected or written else ()
    alignment = aligned(expected, written).alignments[0]
    return tuple(
        Span(
            chunk.type,
            between.join(expected_words[chunk.ref_start_idx : chunk.ref_end_idx]),
            between.join(written_words[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in alignment
    )
