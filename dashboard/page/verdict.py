"""The words for whether a map may be used; the core knows how much worse it may be."""

from __future__ import annotations

SAFE, NOTICEABLE, BREAKS = "Safe", "Noticeable", "Breaks"
WORDS = (SAFE, NOTICEABLE, BREAKS)
"""A word for each level of `genptq_core.measurement.verdict`."""

PERHAPS = ("May be noticeable", "May be noticeable", "May break")
"""The same where other models say it, and none of this one's maps: that is never safe."""

MEANING = (
    "at most one more word in a hundred goes wrong, on any speech tried",
    "up to three more words in a hundred go wrong",
    "more than three more words in a hundred go wrong, on some speech",
)
"""What each word says."""
