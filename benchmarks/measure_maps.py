"""Measure a profile's reference configurations: full precision, uniform widths, mixed maps.

    python -m benchmarks.measure_maps --profile data/profiles/whisper-tiny.en \\
        --speech MANIFEST --uniform 16,8,6,5,4,3 --average 2.75,3,3.5,4 --size-mb 18,22 --ship

`--target` says which format solved maps are for; a uniform map is any option, such as 2.75 or
4/64, and a bare width means codes before groups of 64.

Each result is stored as it comes, and a map already measured on that speech is not measured
again; `--again` takes the maps that were measured on other speech. `--ship` then writes everything
measured to the profile's measured.json, with transcripts kept only for speech that ships too.
`--jobs` and `--scheduler` share the work out as those of `measure` do.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from genptq_core import (
    BitMap,
    Constraints,
    Measured,
    Profile,
    Workers,
    bit_map,
    load_measured,
    load_model,
    load_profile,
    load_speech,
    measure_maps,
    problem,
    save_measured,
    solve,
    solve_average_bits,
    with_predictions,
)
from genptq_core.measurement.known_runaways import runaways_of
from genptq_core.measurement.measure import normalizer_of
from genptq_core.measurement.store import ship
from genptq_core.storage.locations import bundled_speech

SHIPPED = {f"{m.parent.name}/{m.stem}": str(m) for m in bundled_speech().glob("*/manifest.jsonl")}
"""Manifests of the speech sets that ship, by the sets' names."""


def wanted(profile: Profile, options: argparse.Namespace) -> list[tuple[str, BitMap]]:
    """Labels and maps of the configurations to measure."""
    task = problem(profile, Constraints(min_bits=options.min_bits), target=options.target)
    note = f", at least {options.min_bits:g}" if options.min_bits else ""
    maps: list[tuple[str, BitMap]] = []
    for width in options.uniform:
        label = "full precision" if width == "16" else f"uniform {width}"
        maps.append((label, bit_map(profile, (width,) * len(profile.units))))
    for average in options.average:
        allocation = solve_average_bits(task, average)
        maps.append((f"mixed {average:g} bits{note}", bit_map(profile, allocation.options)))
    for size in options.size_mb:
        allocation = solve(task, int(size * 1e6))
        maps.append((f"mixed {size:g} MB{note}", bit_map(profile, allocation.options)))
    if options.again:
        known = {m.options: m.label for m in load_measured(options.profile, profile.digest)}
        maps += [(label, bit_map(profile, ways)) for ways, label in known.items()]
    return maps


def numbers(text: str) -> list[float]:
    """A comma-separated list."""
    return [float(part) for part in text.split(",") if part]


def words(text: str) -> list[str]:
    """A comma-separated list of options."""
    return [part.strip() for part in text.split(",") if part.strip()]


def shipped(record: Measured) -> Measured:
    """A record as it ships: runaways told, transcripts only of speech that ships too."""
    manifest = SHIPPED.get(record.speech)
    if manifest is None:
        return dataclasses.replace(record, transcripts=())
    said = {utterance.digest: utterance.text for utterance in load_speech(manifest).utterances}
    return dataclasses.replace(record, runaways=runaways_of(record, said))


def main() -> None:
    """Measure, store, and optionally ship."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--speech", required=True)
    parser.add_argument("--normalizer", default="")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--uniform", type=words, default=[])
    parser.add_argument("--average", type=numbers, default=[])
    parser.add_argument("--size-mb", type=numbers, default=[])
    parser.add_argument("--min-bits", type=float)
    parser.add_argument("--target", help="format of the solved maps")
    parser.add_argument("--again", action="store_true", help="maps measured on other speech")
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work")
    parser.add_argument("--scheduler", default="", help="address of a Dask scheduler")
    options = parser.parse_args()
    profile = load_profile(options.profile)
    speech = load_speech(options.speech, options.limit)
    model = load_model(profile.source.model)
    normalizer = normalizer_of(model, speech, options.normalizer)
    key = f"{speech.digest}/{normalizer}"
    known = load_measured(options.profile, profile.digest)
    measured = {m.map_digest for m in known if m.set_key == key}
    maps = {chosen.digest: (label, chosen) for label, chosen in wanted(profile, options)[::-1]}
    missing = [labelled for digest, labelled in maps.items() if digest not in measured][::-1]
    workers = Workers(options.jobs, options.scheduler)
    for record in measure_maps(
        model, options.profile, missing, speech, workers=workers, normalizer=normalizer
    ):
        save_measured(options.profile, profile.digest, record)
        print(
            f"{record.label:16s} {record.bytes / 1e6:6.2f} MB  loss {record.loss:.4f} "
            f"(predicted {record.predicted_loss:.4f})  WER {100 * record.wer:.2f} % "
            f"({100 * record.wer_increase:+.2f})  {record.seconds:.0f} s",
            flush=True,
        )
    if options.ship:
        records = with_predictions(profile, load_measured(options.profile, profile.digest))
        ship(options.profile, [shipped(m) for m in records])


if __name__ == "__main__":
    main()
