"""What runs away in a measurement: which recordings, and the error rates without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field, Strict, with_config

from ..speech.runaways import find_runaways
from ..speech.wer import Errors, blockwise, count_errors, paired_interval

_Count = Annotated[int, Strict()]
_Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Others:
    """Error rates on the utterances on which neither model ran away.

    Attributes:
        utterances, words: how many; words in the normalized references.
        wer, wer_full_precision: error rates of the quantized model and of full precision,
            fractions.
        ci95: paired bootstrap interval of the increase.
    """

    utterances: _Count
    words: _Count
    wer: _Number
    wer_full_precision: _Number
    ci95: tuple[_Number, _Number]

    @property
    def wer_increase(self) -> float:
        """Increase of the error rate, a fraction."""
        return self.wer - self.wer_full_precision


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class RanAway:
    """The recordings of a speech set on which decoding ran away, by digest.

    Attributes:
        loops, stops: those on which the quantized model loops, and stops early; see
            `find_runaways`.
        full_loops, full_stops: the same of full precision.
        others: error rates without all of these; None where nothing else was said.
    """

    loops: tuple[str, ...]
    stops: tuple[str, ...]
    full_loops: tuple[str, ...]
    full_stops: tuple[str, ...]
    others: Others | None

    @property
    def quantized(self) -> tuple[str, ...]:
        """Recordings on which the quantized model ran away."""
        return tuple(dict.fromkeys(self.loops + self.stops))

    @property
    def full(self) -> tuple[str, ...]:
        """Recordings on which full precision ran away."""
        return tuple(dict.fromkeys(self.full_loops + self.full_stops))

    @property
    def new(self) -> tuple[str, ...]:
        """Recordings on which only the quantized model ran away."""
        return tuple(audio for audio in self.quantized if audio not in self.full)


def ran_away(
    references: Sequence[str],
    transcripts: Sequence[tuple[str, str, str]],
    normalizer: str,
    errors: tuple[Errors, Errors] | None = None,
) -> RanAway:
    """The runaways of a measurement.

    Args:
        references: what was said in each recording.
        transcripts: (audio digest, full precision text, quantized text) of each.
        normalizer: text normalizer of both sides.
        errors: word errors of full precision and of the quantized model, if they are counted.
    """
    digests, full, quantized = zip(*transcripts, strict=True)
    before, after = errors or (
        count_errors(references, full, normalizer),
        count_errors(references, quantized, normalizer),
    )
    of_full, of_quantized = (
        find_runaways(references, texts, normalizer) for texts in (full, quantized)
    )
    kept = ~(of_full.either | of_quantized.either)
    before, after = _taken(before, kept), _taken(after, kept)

    def blocks(errors: Errors, texts: Sequence[str]) -> Errors:
        left = np.flatnonzero(kept).tolist()
        return blockwise(
            errors, [references[i] for i in left], [texts[i] for i in left], normalizer
        )

    def named(which: np.ndarray) -> tuple[str, ...]:
        return tuple(digests[index] for index in np.flatnonzero(which))

    return RanAway(
        loops=named(of_quantized.loops),
        stops=named(of_quantized.stops),
        full_loops=named(of_full.loops),
        full_stops=named(of_full.stops),
        others=_others(before, after, blocks(before, full), blocks(after, quantized)),
    )


def _taken(errors: Errors, kept: np.ndarray) -> Errors:
    return Errors(errors.errors[kept], errors.words[kept], errors.on_silence[kept])


def _others(
    before: Errors, after: Errors, before_blocks: Errors, after_blocks: Errors
) -> Others | None:
    if not after.words.any():
        return None
    return Others(
        utterances=len(after.words),
        words=int(after.words.sum()),
        wer=after.wer,
        wer_full_precision=before.wer,
        ci95=paired_interval(before_blocks, after_blocks),
    )
