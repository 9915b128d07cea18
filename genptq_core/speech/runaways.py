"""Utterances on which decoding ran away: it looped, or stopped early.

A single one adds points to the error rate of a small set, and says nothing of the words before it.
Greedy decoding has no guard against either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .aligning import aligned
from .normalizers import WHISPER_ENGLISH, normalize, unit_of

RUN = {"word": 8, "character": 16}
"""Words in a row, added or missing, that make an utterance a runaway; a word of a text without
spaces between words is about two characters."""


@dataclass(frozen=True)
class Runaways:
    """Which texts of a set ran away.

    Attributes:
        loops: those in which `RUN` words in a row, or more, were not said, or which are longer than
            twice what was said and `RUN` words and a quarter more; shape (utterances,), bool.
        stops: those in which as many in a row are missing, shape (utterances,), bool.
    """

    loops: np.ndarray
    stops: np.ndarray

    @property
    def either(self) -> np.ndarray:
        """Those that loop or stop early, shape (utterances,), bool."""
        return np.asarray(self.loops | self.stops)


def find_runaways(
    references: Sequence[str], hypotheses: Sequence[str], normalizer: str = WHISPER_ENGLISH
) -> Runaways:
    """Which of some transcripts loop or stop early, after normalizing both texts.

    Args:
        references: what was said.
        hypotheses: what was written.
        normalizer: text normalizer of both sides.
    """
    run = RUN[unit_of(normalizer)]
    rows = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        expected, written = normalize(reference, normalizer), normalize(hypothesis, normalizer)
        added, missing = _longest_runs(expected, written)
        said, heard = len(expected.split()), len(written.split())
        rows.append((added >= run or heard > 2 * said + run + run // 4, missing >= run))
    return Runaways(*np.array(rows, dtype=bool).reshape(-1, 2).T)


def _longest_runs(expected: str, written: str) -> tuple[int, int]:
    """Most words in a row that were added, and that are missing."""
    if not expected or not written:
        return len(written.split()), len(expected.split())
    added = missing = 0
    for chunk in aligned(expected, written).alignments[0]:
        if chunk.type == "insert":
            added = max(added, chunk.hyp_end_idx - chunk.hyp_start_idx)
        elif chunk.type == "delete":
            missing = max(missing, chunk.ref_end_idx - chunk.ref_start_idx)
    return added, missing
