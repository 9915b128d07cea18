"""The table of `benchmarks.runtimes` as Markdown, one for each runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from genptq_core.speech.wer import Errors, paired_interval

FULL = "full precision"
WAYS = (FULL, "preset", "transport", "direct")
"""Ways in the order of the table."""

COLUMNS = (
    "way",
    "MB to download",
    "MB in memory",
    "of them weights, mapped",
    "processor s per s",
    "WER %",
    "change",
    "95 % interval",
    "errors",
    "loops, early stops",
    "without runaways: errors, change",
)


def runaways(row: dict[str, Any]) -> set[int]:
    """Utterances on which a row loops or stops early."""
    return {*row["loops"], *row["stops"]}


def on(errors: Sequence[int], words: Sequence[int], left_out: set[int]) -> Errors:
    """Errors of the utterances that are not left out."""
    kept = np.array([i for i in range(len(words)) if i not in left_out])
    none = np.zeros(len(kept), dtype=np.int64)
    return Errors(np.array(errors)[kept], np.array(words)[kept], none)


def compared(row: dict[str, Any], full: dict[str, Any], words: Sequence[int]) -> dict[str, Any]:
    """A row next to full precision in the same runtime.

    Returns:
        `wer`, `increase`, `interval` of all utterances; `own`: runaways that full precision has
        not; `errors_apart` and `increase_apart` on the utterances on which neither runs away;
        `increase_shared`: on those on which full precision does not.
    """
    both = [on(r["errors"], words, set()) for r in (row, full)]
    known = runaways(full)
    apart = [on(r["errors"], words, runaways(row) | known) for r in (row, full)]
    shared = [on(r["errors"], words, known) for r in (row, full)]
    return {
        "wer": both[0].wer,
        "increase": both[0].wer - both[1].wer,
        "interval": paired_interval(both[1], both[0]),
        "own": sorted(runaways(row) - known),
        "errors_apart": int(apart[0].errors.sum()),
        "increase_apart": apart[0].wer - apart[1].wer,
        "increase_shared": shared[0].wer - shared[1].wer,
    }


def markdown(results: dict[str, Any]) -> str:
    """Tables of every speech set and runtime."""
    parts = []
    for digest, speech in results["speech"].items():
        rows = [row for row in results["rows"] if row["speech"] == digest]
        words = sum(speech["words"])
        parts.append(f"{speech['name']}: {len(speech['words'])} utterances, {words} words")
        for runtime in dict.fromkeys(row["runtime"] for row in rows):
            mine = [row for row in rows if row["runtime"] == runtime]
            parts.append("\n".join(_table(runtime, mine, speech)))
    return "\n\n".join(parts)


def _table(runtime: str, rows: list[dict[str, Any]], speech: dict[str, Any]) -> Iterator[str]:
    versions = {**rows[-1]["versions"]}
    yield f"**{runtime}** ({', '.join(f'{k} {v}' for k, v in versions.items())})"
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "| " + "--- | " * len(COLUMNS)
    full = next((row for row in rows if row["way"] == FULL), None)
    order = sorted(rows, key=lambda r: (WAYS.index(r["way"]), -r["download_bytes"], r["compiled"]))
    for row in order:
        yield "| " + " | ".join(_cells(row, full, speech["words"])) + " |"
    named = [_named(row, speech["utterances"]) for row in order if runaways(row)]
    if named:
        yield ""
        yield from named


def _cells(row: dict[str, Any], full: dict[str, Any] | None, words: list[int]) -> Iterator[str]:
    yield title(row)
    yield f"{row['download_bytes'] / 1e6:.1f}"
    yield f"{row['peak_bytes'] / 1e6:.0f}"
    yield f"{row['mapped_bytes'] / 1e6:.0f}" if row["mapped_bytes"] else ""
    yield f"{row['processor_factor']:.3f}"
    yield f"{100 * sum(row['errors']) / sum(words):.2f}"
    if full is None:
        yield from ("", "")
    else:
        found = compared(row, full, words)
        low, high = (100 * end for end in found["interval"])
        yield "" if row is full else f"{100 * found['increase']:+.2f}"
        yield "" if row is full else f"{low:+.2f} to {high:+.2f}"
    yield f"{sum(row['errors'])}"
    yield f"{len(row['loops'])}, {len(row['stops'])}"
    if full is None:
        yield ""
    elif row is full:
        yield f"{found['errors_apart']}"
    else:
        yield f"{found['errors_apart']}, {100 * found['increase_apart']:+.2f}"


def title(row: dict[str, Any]) -> str:
    """A row's way and size."""
    return f"{row['way']}, {row['size']}" + (", compiled" if row["compiled"] else "")


def _named(row: dict[str, Any], utterances: list[str]) -> str:
    """Which utterances run away, with their errors."""

    def listed(which: list[int]) -> str:
        return ", ".join(f"{utterances[i]} ({row['errors'][i]} errors)" for i in which)

    kinds = [(kind, row[kind]) for kind in ("loops", "stops") if row[kind]]
    names = {"loops": "loops on", "stops": "stops early on"}
    return f"- {title(row)}: " + "; ".join(f"{names[kind]} {listed(w)}" for kind, w in kinds)
