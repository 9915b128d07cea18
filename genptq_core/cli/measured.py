"""`genptq measured`: list the measured configurations of a profile."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..allocation.wer_curve import Curve
from ..bitmaps.figures import ways_by_name
from ..bitmaps.foreign import ForeignMap
from ..measurement.borrowing import curves_of
from ..measurement.known_runaways import runaways_of
from ..measurement.predictions import with_predictions
from ..measurement.records import Measured
from ..measurement.speech_sets import measured_sets
from ..measurement.store import load_measured
from ..profile import Profile, load_profile
from ..progress import Report
from ..speech.names import noted
from ..speech.normalizers import rate_of, unit_of
from ..targets import target_for_map
from ..targets.ways import as_fields as size_fields
from ..targets.ways import way_of
from . import predicted
from .arguments import add_profile
from .command import Answer, Command
from .runaways import as_fields, bundled_references


@dataclass(frozen=True, kw_only=True)
class MeasuredArguments:
    """Whose measurements to list.

    Attributes:
        profile: folder of the profile.
    """

    profile: Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    add_profile(parser)


def from_flags(flags: argparse.Namespace) -> MeasuredArguments:
    """The arguments that the flags state."""
    return MeasuredArguments(profile=flags.profile)


def run(arguments: MeasuredArguments, report: Report) -> Answer:
    """Every measurement of the profile, as a table in the text.

    Raises:
        GenPTQError: profile or store cannot be read.
    """
    profile = load_profile(arguments.profile)
    records = with_predictions(profile, load_measured(arguments.profile, profile.digest))
    rates = {rate_of(record.normalizer) for record in records} or {"WER"}
    rate = f"{min(rates)} %" if len(rates) == 1 else "error %"
    said = bundled_references(records)
    sets = {s.key: s for s in measured_sets(records)}
    curves = curves_of(profile, tuple(sets.values()))
    result = {
        "measured": [
            {
                **public_record(profile, record, said),
                "predicted_wer": predicted.as_fields(
                    curves[record.set_key], sets[record.set_key], record.predicted_loss
                ),
            }
            for record in records
        ]
    }
    head = (
        f"{'MB':>7} {'% less':>7} {'bits':>6} {rate:>7} {'change':>7} "
        f"{'95 % interval':>17} {'predicted':>22} {'loss':>8} {'runaways':>8} {'without':>7}  "
        "speech, label"
    )
    rows = [_row(record, said, curves[record.set_key]) for record in records]
    lenders = dict.fromkeys(name for curve in curves.values() for name in curve.borrowed_from)
    note = [f"~ predicted with a band borrowed from {', '.join(lenders)}"] if lenders else []
    return Answer(result, "\n".join([head, *rows, *note]))


def _row(record: Measured, references: Mapping[str, str], curve: Curve) -> str:
    low, high = record.ci95
    least, most = (100 * float(end) for end in curve.interval(record.predicted_loss))
    middle = 100 * float(curve.increase(record.predicted_loss))
    mark = "~" if curve.borrowed_from else ""
    guess = f"{mark}{middle:+.1f} ({least:+.1f} to {most:+.1f})"
    interval = f"[{100 * low:+.2f}, {100 * high:+.2f}]"
    found = runaways_of(record, references)
    counts = without = "?"
    if found is not None:
        counts = f"{len(found.quantized)} ({len(found.full)})"
        without = f"{100 * found.others.wer_increase:+.2f}" if found.others else ""
    speech = noted(record.speech, record.speech_digest, record.normalizer, record.asked)
    return (
        f"{record.bytes / 1e6:7.2f} {100 * record.reduction_vs_fp32:7.1f} {record.avg_bits:6.2f} "
        f"{100 * record.wer:7.2f} {100 * record.wer_increase:+7.2f} {interval:>17} "
        f"{guess:>22} "
        f"{record.loss:8.4f} {counts:>8} {without:>7}  {speech} "
        f"({record.utterances}), {record.label}"
    )


def on_silence(record: Measured) -> str:
    """What was written where nothing is said, as a sentence to add; "" if nothing was."""
    if not record.insertions_on_silence:
        return ""
    things = f"{unit_of(record.normalizer)}{'s' if record.insertions_on_silence > 1 else ''}"
    return f" On silence it wrote {record.insertions_on_silence} {things}, which no rate counts."


def long_speech(record: Measured) -> str:
    """How long recordings were heard, as a sentence to add; "" without any."""
    long = record.long
    if long is None:
        return ""
    which = f"{long.recordings} recordings" if long.recordings > 1 else "One recording"
    return (
        f" {which} of more than 30 s ({long.seconds / 60:.1f} minutes): {100 * long.covered:.1f} % "
        f"of the audio covered (full precision {100 * long.full_covered:.1f} %), {long.loops} of "
        f"{long.windows} windows loop ({long.full_loops} of {long.full_windows})."
    )


def public_changes(found: ForeignMap) -> list[dict[str, str]]:
    """The layers that do not get what a map wants, as `--json` prints them."""
    return [
        {"layer": change.unit, "from": change.wanted, "to": change.given}
        for change in found.changed
    ]


def public_record(
    profile: Profile, record: Measured, references: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A measurement as `--json` prints it; references are those of `runaways_of`.

    What is downloaded and what memory it takes are of the target whose bytes the record has.
    """
    way = way_of(profile, target_for_map(None, profile, record.options).name)
    return {
        "label": record.label,
        "wer": record.wer,
        "wer_full_precision": record.wer_full_precision,
        "wer_increase": record.wer_increase,
        "ci95": list(record.ci95),
        "bytes": record.bytes,
        **size_fields(way.sizes(profile, record.options), way),
        "reduction_vs_fp32": record.reduction_vs_fp32,
        "avg_bits": record.avg_bits,
        "loss": record.loss,
        "predicted_loss": record.predicted_loss,
        "speech": record.speech,
        "utterances": record.utterances,
        "normalizer": record.normalizer,
        "asked": record.asked,
        "unit": unit_of(record.normalizer),
        "insertions_on_silence": record.insertions_on_silence,
        "long_recordings": None if record.long is None else asdict(record.long),
        "method": record.method,
        "seconds": record.seconds,
        "when": record.when,
        "looped": record.looped,
        **as_fields(record, references),
        "digest": record.map_digest,
        **ways_by_name(profile, record.options),
    }


COMMAND = Command(
    name="measured",
    about="List the measured configurations.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
