"""What the drill did to the program and how it took it, counted for one table at the end.

Tests elsewhere count too: `with ledger.refused("checkpoint: a weight is missing"): load(...)`. The
table is printed after any run that noted something.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator

from genptq_core.errors import GenPTQError

CONTINUED, HARMLESS, NAMED, FAILED = "continued", "harmless", "named", "failed"
OUTCOMES = (CONTINUED, HARMLESS, NAMED, FAILED)

COUNTS: dict[str, Counter[str]] = {}


def note(fault: str, outcome: str) -> None:
    """Count one fault and its outcome."""
    assert outcome in OUTCOMES
    COUNTS.setdefault(fault, Counter())[outcome] += 1


@contextlib.contextmanager
def refused(fault: str, match: str = "", error: type[GenPTQError] = GenPTQError) -> Iterator[None]:
    """Count a fault that must be refused by name: with a sentence that matches, and a hint."""
    outcome = FAILED
    try:
        yield
        raise AssertionError(f"{fault}: it was not refused")
    except error as refusal:
        assert re.search(match, str(refusal)), refusal
        assert refusal.message and refusal.hint and "\n" not in str(refusal), refusal
        outcome = NAMED
    finally:
        note(fault, outcome)


@contextlib.contextmanager
def survived(fault: str, outcome: str = HARMLESS) -> Iterator[None]:
    """Count a fault that must do no harm: it failed if the block raises."""
    noted = FAILED
    try:
        yield
        noted = outcome
    finally:
        note(fault, noted)


def table() -> list[str]:
    """One line per fault, and one of headings."""
    width = max(map(len, COUNTS), default=5)
    lines = [f"{'fault':<{width}} {'count':>6} " + " ".join(f"{o:>9}" for o in OUTCOMES)]
    for fault, counts in COUNTS.items():
        cells = " ".join(f"{counts[outcome]:>9}" for outcome in OUTCOMES)
        lines.append(f"{fault:<{width}} {counts.total():>6} {cells}")
    return lines
