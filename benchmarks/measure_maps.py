"""Measure a profile's reference configurations: full precision, uniform widths, mixed maps.

    python -m benchmarks.measure_maps --profile data/profiles/whisper-tiny.en \\
        --speech MANIFEST --uniform 16,8,6,5,4,3 --average 2.75,3,3.5,4 --size-mb 18,22 --ship

`--target` says which format solved maps are for; a uniform map is any option, such as 2.75 or
4/64, and a bare width means codes before groups of 64.

Each result is stored as it comes, and a map already measured on that speech is not measured
again; `--again` takes the maps that were measured on other speech. With `--transcripts` a record
without its transcripts counts as not measured. `--part-of MANIFEST` decodes nothing: it scores
what was decoded for a larger set with the same recordings, as far as it is in the cache. `--ship`
then writes everything measured to the profile's measured.json, with transcripts of the speech
whose licence lets them ship.
`--jobs` and `--scheduler` share the work out as those of `measure` do.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from genptq_core import (
    BitMap,
    Constraints,
    Measured,
    Profile,
    SpeechModel,
    SpeechSet,
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
from genptq_core.measurement.evaluation import Evaluation
from genptq_core.measurement.known_runaways import runaways_of
from genptq_core.measurement.measure import normalizer_of, record_of
from genptq_core.measurement.shards import ShardResult, random_blocks, read_result, shard_key
from genptq_core.measurement.store import ship
from genptq_core.rounding.rounded import rounding_key
from genptq_core.storage.locations import bundled_speech

OTHERS_WORDS = ("librispeech-mini/dev",)  # CC BY 4.0; its recordings do not ship
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
    """A record as it ships: runaways told, transcripts only where a licence is known."""
    if record.speech in OTHERS_WORDS:
        return record
    manifest = SHIPPED.get(record.speech)
    if manifest is None:
        return dataclasses.replace(record, transcripts=())
    said = {utterance.digest: utterance.text for utterance in load_speech(manifest).utterances}
    return dataclasses.replace(record, runaways=runaways_of(record, said))


def part_of(
    whole: SpeechSet, speech: SpeechSet, model: SpeechModel, weights_key: str, normalizer: str
) -> Evaluation | None:
    """The evaluation of some of a set's recordings, of what the cache holds of the whole set.

    None where something of the whole set was not decoded.
    """
    decoded: dict[str, tuple[str, str, float, int]] = {}
    for block in random_blocks(whole):
        for shard in block:
            members = [whole.utterances[i] for i in shard]
            result = read_result(shard_key(model, weights_key, members))
            if result is None:
                return None
            decoded |= zip([u.digest for u in members], result.rows(), strict=True)
    evaluation = Evaluation(speech, normalizer)
    for number in evaluation.remaining:
        rows = [decoded[u.digest] for u in evaluation.utterances(number)]
        full, heard, losses, tokens = zip(*rows, strict=True)
        evaluation.add(number, ShardResult(full, heard, losses, tokens, seconds=0.0))
    return evaluation


def measurements(
    options: argparse.Namespace,
    profile: Profile,
    model: SpeechModel,
    speech: SpeechSet,
    maps: list[tuple[str, BitMap]],
    normalizer: str,
) -> Iterator[Measured]:
    """Records of maps, decoded now, or scored from what was decoded for a larger set."""
    if options.part_of is None:
        workers = Workers(options.jobs, options.scheduler)
        yield from measure_maps(
            model, options.profile, maps, speech, workers=workers, normalizer=normalizer
        )
        return
    whole = load_speech(options.part_of)
    for label, chosen in maps:
        weights_key = rounding_key(profile, chosen.options)
        evaluation = part_of(whole, speech, model, weights_key, normalizer)
        if evaluation is not None:
            yield record_of(evaluation, model, profile, chosen, label=label, normalizer=normalizer)


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
    parser.add_argument("--transcripts", action="store_true", help="measure again without them")
    parser.add_argument("--part-of", type=Path, help="manifest of a larger set, in the cache")
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
    measured = {
        m.map_digest
        for m in known
        if m.set_key == key and (m.transcripts or not options.transcripts)
    }
    maps = {chosen.digest: (label, chosen) for label, chosen in wanted(profile, options)[::-1]}
    missing = [labelled for digest, labelled in maps.items() if digest not in measured][::-1]
    for record in measurements(options, profile, model, speech, missing, normalizer):
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
