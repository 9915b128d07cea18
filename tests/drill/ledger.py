"""What the drill did to the program and how it took it, counted for one table at the end."""

from __future__ import annotations

from collections import Counter

CONTINUED, HARMLESS, NAMED, FAILED = "continued", "harmless", "named", "failed"
OUTCOMES = (CONTINUED, HARMLESS, NAMED, FAILED)

COUNTS: dict[str, Counter[str]] = {}


def note(fault: str, outcome: str) -> None:
    """Count one fault and its outcome."""
    assert outcome in OUTCOMES
    COUNTS.setdefault(fault, Counter())[outcome] += 1


def table() -> list[str]:
    """One line per fault, and one of headings."""
    width = max(map(len, COUNTS), default=5)
    lines = [f"{'fault':<{width}} {'count':>6} " + " ".join(f"{o:>9}" for o in OUTCOMES)]
    for fault, counts in COUNTS.items():
        cells = " ".join(f"{counts[outcome]:>9}" for outcome in OUTCOMES)
        lines.append(f"{fault:<{width}} {counts.total():>6} {cells}")
    return lines
