"""The words of two texts set against each other, by jiwer, which is imported when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jiwer import WordOutput


def aligned(expected: str, written: str) -> WordOutput:
    """The alignment with the fewest errors of normalized texts, the expected one not empty."""
    import jiwer

    return jiwer.process_words(expected, written)
