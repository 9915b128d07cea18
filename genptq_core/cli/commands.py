"""What each command of the command line does: its answer as JSON and in words."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from .. import errors
from ..allocation.front import predicted_front
from ..allocation.problem import Problem, problem
from ..allocation.solving import Allocation, solve, solve_average_bits
from ..allocation.wer_curve import solve_wer_increase
from ..bitmaps import foreign
from ..bitmaps.bitmap import BitMap, bit_map
from ..bitmaps.figures import bits_by_name, groups_by_name, measured_figures
from ..bitmaps.file import write_bit_map
from ..export import runtime_configs
from ..measurement.predictions import with_predictions
from ..measurement.records import Measured
from ..measurement.speech_sets import curve_of, measured_sets, usual_set
from ..measurement.store import load_measured, save_measured
from ..options import coded_options, grid_options
from ..profile import Profile, Settings, load_profile
from ..speech.sources import load_speech
from ..speech.utterances import speech_set, utterance
from ..storage.files import write_text
from ..workers.pool import Workers
from .arguments import constraints
from .doctor import examine, repair

Answer = tuple[dict[str, Any], str]


def profile_command(options: argparse.Namespace) -> Answer:
    ways = grid_options(options.bits, options.group_size) + coded_options(options.rates)
    settings = Settings(ways, options.draws, options.seed)
    if not ways or options.draws < 1:
        raise errors.ConstraintError("A profile needs an option or more, and 1 draw or more.")
    limit = None
    if options.max_memory is not None:
        if not 0 < options.max_memory < 1e9:
            raise errors.ConstraintError(
                f"A limit of {options.max_memory} GB makes no sense.", "Give more than 0."
            )
        limit = int(options.max_memory * 1e9)
    speech = load_speech(options.speech, options.limit)
    workers = Workers(options.jobs, options.scheduler, options.device)

    from ..loading import load_model
    from ..models.device import device_of
    from ..profiling.compute import compute
    from ..profiling.footprint import check_weights
    from ..profiling.shared_gradients import shared_gradients

    device_of(options.device)
    check_weights(options.model, limit)
    listening = load_speech(options.listen) if options.listen else None
    model = load_model(options.model, options.device)
    share = None if workers.here else shared_gradients(workers)
    outcome = compute(
        model,
        speech,
        options.out,
        settings,
        options.report,
        listening=listening,
        max_memory=limit,
        share=share,
    )
    found = outcome.profile
    result = {
        "profile": str(options.out),
        "layers": len(found.units),
        "options": len(found.units) * len(found.menu),
        "utterances": found.source.utterances,
        "seconds": found.seconds,
        "cache_hits": outcome.cache_hits,
        "backward_passes": outcome.backward_passes,
        "digest": found.digest,
    }
    text = (
        f"{options.out}: {len(found.units)} layers at {len(found.menu)} options from "
        f"{found.source.utterances} utterances, {outcome.backward_passes} backward passes, "
        f"{outcome.cache_hits} steps from the cache."
    )
    return result, text


def solve_command(options: argparse.Namespace) -> Answer:
    profile = load_profile(options.profile)
    task = problem(profile, constraints(options), target=options.target)
    found = _allocate(options, profile, task)
    chosen = bit_map(profile, found.options)
    figures = {
        "bytes": found.bytes,
        "avg_bits": found.avg_bits,
        "reduction_vs_fp32": found.reduction_vs_fp32,
        "predicted_loss": found.predicted_loss,
    }
    curve = _best_curve(profile, options.profile)
    if curve is not None:
        figures["predicted_wer_increase"] = float(curve.increase(found.predicted_loss))
    if options.out:
        write_bit_map(options.out, profile, chosen, target=options.target, **figures)
    relaxed = zip(profile.units, found.relaxed_bits, strict=True)
    result = {
        **figures,
        "lower_bound": found.lower_bound,
        "gap": found.gap,
        "milliseconds": found.milliseconds,
        "target": options.target,
        "digest": chosen.digest,
        "bits": bits_by_name(profile, found.options),
        "group_sizes": groups_by_name(profile, found.options),
        "relaxed_bits": {unit.name: bits for unit, bits in relaxed},
    }
    text = (
        f"{found.bytes / 1e6:.2f} MB, {100 * found.reduction_vs_fp32:.1f} % smaller than float32, "
        f"{found.avg_bits:.2f} bits a weight on average ({_counted(task)}), predicted loss "
        f"{found.predicted_loss:.4f} nats a token, at most {found.gap:.4f} above the optimum."
    )
    return result, text


def _counted(task: Problem) -> str:
    grids = any(option.form == "grid" for option in task.menu)
    return "scales not counted" if grids else "everything counted"


def _allocate(options: argparse.Namespace, profile: Profile, task: Problem) -> Allocation:
    for value in (options.size_mb, options.avg_bits, options.max_wer_increase):
        if value is not None and not 0 < value < 1e9:
            raise errors.ConstraintError(
                f"A budget of {value} makes no sense.", "Give more than 0."
            )
    if options.size_mb is not None:
        # Decimal megabytes are rarely exact in binary; a millionth of a byte makes 20.123 whole.
        return solve(task, int(options.size_mb * 1e6 + 1e-6))
    if options.avg_bits is not None:
        return solve_average_bits(task, options.avg_bits)
    if options.max_wer_increase >= 1:
        raise errors.ConstraintError(
            "A WER increase is a fraction here: 0.01 is one percentage point."
        )
    curve = _best_curve(profile, options.profile)
    if curve is None:
        raise errors.ConstraintError(
            f"{options.profile} has too few measured configurations to predict WER.",
            "Measure at least five with: python -m genptq_core measure.",
        )
    return solve_wer_increase(task, predicted_front(task), curve, options.max_wer_increase)


def _best_curve(profile: Profile, folder: Path) -> Any:
    """The curve of the speech set with the most measured words."""
    measured = with_predictions(profile, load_measured(folder, profile.digest))
    chosen = usual_set(measured_sets(measured))
    return None if chosen is None else curve_of(chosen)


def front_command(options: argparse.Namespace) -> Answer:
    import time

    profile = load_profile(options.profile)
    started = time.perf_counter()
    task = problem(profile, constraints(options), target=options.target)
    front = predicted_front(task)
    elapsed = 1000 * (time.perf_counter() - started)
    bounds = np.minimum(task.lower_bounds(front.bytes), front.loss)
    average = task.average_bits(front.choices)
    points = [
        {
            "bytes": int(size),
            "avg_bits": float(bits),
            "reduction_vs_fp32": task.reduction(int(size)),
            "predicted_loss": float(loss),
            "lower_bound": float(bound),
        }
        for size, bits, loss, bound in zip(front.bytes, average, front.loss, bounds, strict=True)
    ]
    if options.out:
        text_file = io.StringIO()
        table = csv.DictWriter(text_file, fieldnames=list(points[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(points)
        write_text(options.out, text_file.getvalue())
    result = {
        "points": points,
        "knee": points[front.knee],
        "hypervolume": front.hypervolume,
        "target": options.target,
        "milliseconds": elapsed,
    }
    at = points[front.knee]
    text = (
        f"{len(points)} points from {points[0]['bytes'] / 1e6:.2f} to "
        f"{points[-1]['bytes'] / 1e6:.2f} MB; knee at {at['bytes'] / 1e6:.2f} MB "
        f"({at['avg_bits']:.2f} bits); hypervolume {front.hypervolume:.3f}."
    )
    return result, text


def measure_command(options: argparse.Namespace) -> Answer:
    profile = load_profile(options.profile)
    maps = _maps(options, profile)
    speech = load_speech(options.speech, options.limit)
    stop = options.stop_when_decided
    stop = None if stop is None else stop / 100
    workers = Workers(options.jobs, options.scheduler, options.device)
    if options.compile and not workers.here:
        raise errors.ClusterError(
            "Compiling goes layer by layer, in one process.",
            "Leave out --jobs and --scheduler, or --compile.",
        )

    from ..loading import load_model
    from ..measurement.measure import measure
    from ..measurement.sweep import measure_maps

    model = load_model(options.model or profile.source.model, options.device)
    records = []
    if options.compile:
        from ..rounding.compilation import ROUNDING, compile_map

        # Not stored: the front and its fit are of maps as the profile rounds them.
        by = load_speech(options.compile)
        for label, chosen in maps:
            made = compile_map(model, profile, chosen, by, report=options.report)
            record = measure(
                model,
                profile,
                chosen,
                speech,
                label=label,
                report=options.report,
                normalizer=options.normalizer,
                weights=made.weights,
                rounding=ROUNDING,
                stop=stop,
            )
            records.append(record)
    else:
        for record in measure_maps(
            model,
            options.profile,
            maps,
            speech,
            workers=workers,
            report=options.report,
            normalizer=options.normalizer,
            stop=stop,
        ):
            save_measured(options.profile, profile.digest, record)
            records.append(record)
    text = "\n".join(map(_in_words, records))
    if _is_one(options):
        return _public(profile, records[0]), text
    return {"measured": [_public(profile, record) for record in records]}, text


def _is_one(options: argparse.Namespace) -> bool:
    return len(options.bitmap) == 1 and not options.bitmap[0].is_dir()


def _maps(options: argparse.Namespace, profile: Profile) -> list[tuple[str, BitMap]]:
    """Labels and maps that `--bitmap` names, each map once."""
    if _is_one(options):
        return [(options.label, foreign.read_any_map(options.bitmap[0], profile).map)]
    found: dict[str, tuple[str, BitMap]] = {}
    for path in options.bitmap:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise errors.BitMapError(f"{path} holds no .json file.", "Name a folder of bit maps.")
        for file in files:
            chosen = foreign.read_any_map(file, profile).map
            found.setdefault(chosen.digest, (f"{options.label} {file.stem}".strip(), chosen))
    return list(found.values())


def _in_words(record: Measured) -> str:
    low, high = record.ci95
    return (
        f"WER {100 * record.wer:.2f} % against {100 * record.wer_full_precision:.2f} % at full "
        f"precision: {100 * record.wer_increase:+.2f} points, 95 % interval "
        f"[{100 * low:+.2f}, {100 * high:+.2f}], {record.utterances} utterances, "
        f"{record.bytes / 1e6:.2f} MB" + (f", {record.label}." if record.label else ".")
    )


def _public(profile: Profile, record: Measured) -> dict[str, Any]:
    return {
        "label": record.label,
        "wer": record.wer,
        "wer_full_precision": record.wer_full_precision,
        "wer_increase": record.wer_increase,
        "ci95": list(record.ci95),
        "bytes": record.bytes,
        "reduction_vs_fp32": record.reduction_vs_fp32,
        "avg_bits": record.avg_bits,
        "loss": record.loss,
        "predicted_loss": record.predicted_loss,
        "speech": record.speech,
        "utterances": record.utterances,
        "normalizer": record.normalizer,
        "method": record.method,
        "seconds": record.seconds,
        "when": record.when,
        "looped": record.looped,
        "digest": record.map_digest,
        "bits": bits_by_name(profile, record.options),
        "group_sizes": groups_by_name(profile, record.options),
    }


def measured_command(options: argparse.Namespace) -> Answer:
    profile = load_profile(options.profile)
    records = with_predictions(profile, load_measured(options.profile, profile.digest))
    lines = [
        f"{'MB':>7} {'% less':>7} {'bits':>6} {'WER %':>7} {'change':>7} "
        f"{'95 % interval':>17} {'loss':>8} {'loops':>5}  speech, label"
    ]
    for m in records:
        interval = f"[{100 * m.ci95[0]:+.2f}, {100 * m.ci95[1]:+.2f}]"
        lines.append(
            f"{m.bytes / 1e6:7.2f} {100 * m.reduction_vs_fp32:7.1f} {m.avg_bits:6.2f} "
            f"{100 * m.wer:7.2f} {100 * m.wer_increase:+7.2f} {interval:>17} {m.loss:8.4f} "
            f"{'?' if m.looped is None else m.looped:>5}  {m.speech} ({m.utterances}), {m.label}"
        )
    return {"measured": [_public(profile, m) for m in records]}, "\n".join(lines)


def _recipe(options: argparse.Namespace, profile: Profile, chosen: BitMap) -> Answer:
    files = runtime_configs.export_runtime_config(profile, chosen, options.target, options.out)
    status = runtime_configs.RUNTIME_CONFIGS[options.target].status
    result = {
        "out": str(options.out),
        "target": options.target,
        "files": list(files),
        "status": status,
        "digest": chosen.digest,
    }
    return result, f"{options.out}: a recipe for {options.target}, {status}; no weights."


def export_command(options: argparse.Namespace) -> Answer:
    profile = load_profile(options.profile)
    chosen = foreign.read_any_map(options.bitmap, profile).map
    if options.target in runtime_configs.RUNTIME_CONFIGS:
        return _recipe(options, profile, chosen)

    from ..export.export import export
    from ..loading import load_model

    model = load_model(options.model or profile.source.model, options.device)
    compiled, figures = None, {}
    if options.compile:
        from ..rounding.compilation import compile_map

        speech = load_speech(options.compile)
        compiled = compile_map(model, profile, chosen, speech, report=options.report)
    else:
        records = load_measured(options.profile, profile.digest)
        known = [measured_figures(m) for m in records if m.map_digest == chosen.digest]
        figures = {"measured": known[-1]} if known else {}
    found = export(
        profile,
        chosen,
        options.target,
        options.out,
        model,
        report=options.report,
        compiled=compiled,
        **figures,
    )
    result: dict[str, Any] = {
        "out": str(found.folder),
        "target": found.target,
        "files": list(found.files),
        "bytes": found.bytes,
        "predicted_bytes": found.predicted_bytes,
        "disk_bytes": found.disk_bytes,
        "digest": chosen.digest,
    }
    if compiled:
        result["held_out_loss"] = {
            "before": compiled.before,
            "rounded_in_order": compiled.rounded,
            "tuned": compiled.after,
        }
    text = (
        f"{found.folder}: {found.bytes / 1e6:.2f} MB of weights as promised, "
        f"{len(found.files)} files of {found.disk_bytes / 1e6:.2f} MB in all, for {found.target}."
    )
    return result, text


def transcribe_command(options: argparse.Namespace) -> Answer:
    speech = speech_set("command line", [utterance(path) for path in options.audio])

    from ..loading import load_model
    from ..measurement.measure import transcribe_files

    texts = transcribe_files(load_model(options.model), speech)
    transcripts = {str(p): t for p, t in zip(options.audio, texts, strict=True)}
    return {"transcripts": transcripts}, "\n".join(f"{p}: {t}" for p, t in transcripts.items())


def doctor_command(options: argparse.Namespace) -> Answer:
    done = {"repaired": repair(options.path)} if options.repair else {}
    checked, problems = examine(options.path)
    lines = [f"{len(checked)} checked, {len(problems)} with problems.", *problems]
    lines += [f"Repaired: {what}" for what in done.get("repaired", [])]
    return {"checked": checked, "problems": problems, **done}, "\n".join(lines)
