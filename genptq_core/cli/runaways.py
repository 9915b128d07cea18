"""What runs away, as commands say it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import GenPTQError
from ..measurement.known_runaways import runaways_of
from ..measurement.records import Measured
from ..measurement.runaways import RanAway
from ..storage.locations import bundled_speech

if TYPE_CHECKING:
    from ..speech.utterances import SpeechSet

_NAMED = 5  # recordings that a sentence names


def names_of(speech: SpeechSet) -> dict[str, str]:
    """What to call each recording of a set, by digest: its file's name without the ending."""
    return {utterance.digest: utterance.audio.stem for utterance in speech.utterances}


def bundled_references(records: Sequence[Measured]) -> dict[str, str]:
    """What was said in the speech that ships, by digest of the recording.

    Args:
        records: measurements; speech is read only where the runaways of one are not told, and its
            transcripts are there.
    """
    if all(record.runaways is not None or not record.transcripts for record in records):
        return {}
    from ..speech.sources import load_speech

    said: dict[str, str] = {}
    for manifest in sorted(bundled_speech().glob("*/manifest.jsonl")):
        with contextlib.suppress(GenPTQError):  # what is damaged here is no measurement
            said |= {u.digest: u.text for u in load_speech(str(manifest)).utterances}
    return said


def in_words(found: RanAway | None, utterances: int, names: Mapping[str, str]) -> str:
    """The runaways of a measurement as sentences.

    Args:
        found: the runaways; None where they are not known.
        utterances: how many were measured.
        names: what to call recordings, by digest; the start of its digest where one is missing.
    """
    if found is None:
        return "Whether it ran away anywhere is not known: measure it again."
    own = _list(((found.loops, "loops"), (found.stops, "stops early")), names)
    full = _list(((found.full_loops, "loops"), (found.full_stops, "stops early")), names)
    if not own and not full:
        return f"No runaway in {utterances} utterances."
    said = f"It {own}" if own else "It never runs away"
    said += f"; full precision {full}." if full else "."
    if found.others is None:
        return said
    low, high = found.others.ci95
    return (
        f"{said} Without these: {100 * found.others.wer_increase:+.2f} points, 95 % interval "
        f"[{100 * low:+.2f}, {100 * high:+.2f}]."
    )


def _list(kinds: Sequence[tuple[Sequence[str], str]], names: Mapping[str, str]) -> str:
    """Which recordings each kind was on; "" if none."""
    parts = []
    for digests, verb in kinds:
        named = [names.get(digest, digest[:10]) for digest in digests[:_NAMED]]
        if len(digests) > _NAMED:
            named.append(f"{len(digests) - _NAMED} more")
        if named:
            parts.append(f"{verb} on {', '.join(named)}")
    return " and ".join(parts)


def as_fields(record: Measured, references: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The runaways of a measurement as `--json` prints them: null where they are not known."""
    found = runaways_of(record, references)
    if found is None:
        return {"runaways": None}
    others = found.others
    without = others and {
        "utterances": others.utterances,
        "words": others.words,
        "wer": others.wer,
        "wer_full_precision": others.wer_full_precision,
        "wer_increase": others.wer_increase,
        "ci95": list(others.ci95),
    }
    return {
        "runaways": {
            "loops": list(found.loops),
            "stops": list(found.stops),
            "full_precision_loops": list(found.full_loops),
            "full_precision_stops": list(found.full_stops),
            "new": len(found.new),
            "without": without,
        }
    }
