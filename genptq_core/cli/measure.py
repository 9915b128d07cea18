"""`genptq measure`: decode speech with the quantized model, and report its WER."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bitmaps.foreign import ForeignMap, read_any_map
from ..errors import BitMapError, ClusterError
from ..measurement.records import Measured
from ..measurement.store import load_measured, save_measured
from ..models import SpeechModel
from ..models.asking import asked_of
from ..models.decoding import DECODINGS, GREEDY, with_decoding
from ..profile import Profile, load_profile
from ..progress import Report
from ..speech.normalizers import NORMALIZERS, rate_of, unit_of
from ..speech.sources import load_speech
from ..speech.utterances import SpeechSet
from ..speech.writing import unlike
from ..workers.pool import Workers
from . import runaways
from .arguments import (
    SOURCES,
    add_compile,
    add_decoding,
    add_device,
    add_language,
    add_model_of_profile,
    add_profile,
    add_workers,
    asked_from_flags,
    workers_from_flags,
)
from .command import Answer, Command
from .measured import long_speech, on_silence, public_changes, public_record


@dataclass(frozen=True, kw_only=True)
class MeasureArguments:
    """What to measure, and how.

    Attributes:
        profile: folder of the profile.
        bit_maps: bit maps, and folders of them.
        speech: speech with reference texts: a path, or `hf:` and a data set's name.
        limit: take only this many utterances of it; None for all.
        model: the profile's model, where it is not at its recorded name; None where it is.
        normalizer: name of the text normalizer; "" for what fits the model.
        label: a name for tables; of several maps, the start of each one's name. If "", what was
            measured before keeps its name.
        stop: stop when the WER increase is surely below or above this, a fraction; None for never.
        compile: speech to compile each map on first; None for maps as the profile rounds them.
        workers: who decodes; the model of this process is on their device too.
        decoding: name of the rule for decoding.
        asked: language and task that the model is asked for; each "" for rows or its own.
    """

    profile: Path
    bit_maps: tuple[Path, ...]
    speech: str
    limit: int | None
    model: str | None
    normalizer: str
    label: str
    stop: float | None
    compile: Path | None
    workers: Workers
    decoding: str = GREEDY.name
    asked: tuple[str, str] = ("", "")

    @property
    def is_single_map(self) -> bool:
        """Whether one bit map was named by its file: the answer is its record alone."""
        return len(self.bit_maps) == 1 and not self.bit_maps[0].is_dir()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    add_profile(parser)
    parser.add_argument(
        "--bitmap",
        required=True,
        type=Path,
        action="append",
        help="a bit map written by solve, or a folder of them; may be given again",
    )
    parser.add_argument("--speech", required=True, help=f"speech with reference texts: {SOURCES}")
    parser.add_argument(
        "--normalizer",
        default="",
        help=f"{', '.join(NORMALIZERS)}; else what fits the model and the texts",
    )
    parser.add_argument("--limit", type=int, help="use only the first N utterances")
    add_model_of_profile(parser)
    parser.add_argument(
        "--label", default="", help="a name for tables; of several maps, before the file's"
    )
    add_workers(parser)
    parser.add_argument(
        "--stop-when-decided",
        type=float,
        metavar="POINTS",
        help="stop at a random part of the speech by which the WER increase is surely below or "
        "surely above this, in percentage points",
    )
    add_compile(parser)
    add_decoding(parser)
    add_device(parser)
    add_language(parser)


def from_flags(flags: argparse.Namespace) -> MeasureArguments:
    """The arguments that the flags state.

    Raises:
        ClusterError: there are no processes, or compiling is asked of several.
    """
    points = flags.stop_when_decided
    workers = workers_from_flags(flags)
    if flags.compile and not workers.here:
        raise ClusterError(
            "Compiling goes layer by layer, in one process.",
            "Leave out --jobs and --scheduler, or --compile.",
        )
    return MeasureArguments(
        profile=flags.profile,
        bit_maps=tuple(flags.bitmap),
        speech=flags.speech,
        limit=flags.limit,
        model=flags.model,
        normalizer=flags.normalizer,
        label=flags.label,
        stop=None if points is None else points / 100,
        compile=flags.compile,
        workers=workers,
        decoding=flags.decoding,
        asked=asked_from_flags(flags),
    )


def run(arguments: MeasureArguments, report: Report) -> Answer:
    """The measured record of one map by itself, else the records of all maps.

    Raises:
        GenPTQError: profile, maps, model, speech or workers cannot be used.
    """
    profile = load_profile(arguments.profile)
    read = _maps(arguments, profile)
    maps = [(label, found.map) for label, found in read]
    speech = load_speech(arguments.speech, arguments.limit)
    calibration = load_speech(arguments.compile) if arguments.compile else None

    from ..loading import load_model_of
    from ..measurement.measure import measure
    from ..measurement.sweep import measure_maps

    device = arguments.workers.device
    model = load_model_of(profile, arguments.model, device, asked=arguments.asked)
    model = with_decoding(model, DECODINGS[arguments.decoding])
    records = []
    if calibration is not None:
        from ..rounding.compilation import ROUNDING, compile_map

        # Not stored: the front and its fit are of maps as the profile rounds them.
        for label, chosen in maps:
            compiled = compile_map(model, profile, chosen, calibration, report=report)
            record = measure(
                model,
                profile,
                chosen,
                speech,
                label=label,
                report=report,
                normalizer=arguments.normalizer,
                weights=compiled.weights,
                rounding=ROUNDING,
                stop=arguments.stop,
            )
            records.append(record)
    else:
        sweep = measure_maps(
            model,
            arguments.profile,
            maps,
            speech,
            workers=arguments.workers,
            report=report,
            normalizer=arguments.normalizer,
            stop=arguments.stop,
        )
        for record in sweep:
            save_measured(arguments.profile, profile.digest, record)
            records.append(record)
    by_digest = {found.map.digest: found for _, found in read}
    names = runaways.names_of(speech)
    answers, lines = [], []
    for record in records:
        found = by_digest[record.map_digest]
        answers.append({**public_record(profile, record), "changed": public_changes(found)})
        lines += [_in_words(record, names)] + ([found.in_words] if found.changed else [])
    lines += _on_counting(model, speech, arguments.normalizer, records)
    text = "\n".join(lines)
    if arguments.is_single_map:
        return Answer(answers[0], text)
    return Answer({"measured": answers}, text)


def _on_counting(
    model: SpeechModel, speech: SpeechSet, wanted: str, records: Sequence[Measured]
) -> list[str]:
    """What is to be said of how errors are counted: where that is not what one would expect."""
    from ..measurement.measure import usual_normalizer

    said = []
    usual = usual_normalizer(model, speech)
    for counted in {record.normalizer for record in records}:
        if counted not in (usual, wanted):
            said.append(f"Counted after {counted}: {usual} does not fit these texts.")
        elif unit_of(usual) != unit_of(counted):
            said.append(
                f"Counted in {unit_of(counted)}s; {rate_of(usual)} is usual in this language: "
                f"--normalizer {usual}."
            )
    fault = unlike(asked_of(model)[0], [utterance.text for utterance in speech.utterances])
    return [*said, fault] if fault else said


def _maps(arguments: MeasureArguments, profile: Profile) -> list[tuple[str, ForeignMap]]:
    """Labels and what was read, each map once; without a label, a map keeps the one it has."""
    known: dict[str, str] = {}
    if not arguments.label:
        measured = load_measured(arguments.profile, profile.digest)
        known = {record.map_digest: record.label for record in measured if record.label}
    if arguments.is_single_map:
        only = read_any_map(arguments.bit_maps[0], profile)
        return [(arguments.label or known.get(only.map.digest, ""), only)]
    by_digest: dict[str, tuple[str, ForeignMap]] = {}
    for path in arguments.bit_maps:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise BitMapError(f"{path} holds no .json file.", "Name a folder of bit maps.")
        for file in files:
            found = read_any_map(file, profile)
            named = f"{arguments.label} {file.stem}".strip()
            label = known.get(found.map.digest, named)
            by_digest.setdefault(found.map.digest, (label, found))
    return list(by_digest.values())


def _in_words(record: Measured, names: Mapping[str, str]) -> str:
    low, high = record.ci95
    said = (
        (
            f"{rate_of(record.normalizer)} {100 * record.wer:.2f} % "
            f"against {100 * record.wer_full_precision:.2f} % at full precision: "
            f"{100 * record.wer_increase:+.2f} points, 95 % interval "
            f"[{100 * low:+.2f}, {100 * high:+.2f}], {record.utterances} utterances, "
            f"{record.bytes / 1e6:.2f} MB"
            + "".join(f", {said}" for said in (record.asked, record.label) if said)
            + "."
        )
        + on_silence(record)
        + long_speech(record)
    )
    return f"{said} {runaways.in_words(record.runaways, record.utterances, names)}"


COMMAND = Command(
    name="measure",
    about="Decode speech with the quantized model; report its WER.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
