"""Predicted loss against measured divergence on random whole configurations.

    python -m benchmarks.random_maps --profile data/profiles/whisper-tiny.en --maps 80 \\
        --seen CALIBRATION_MANIFEST --unseen OTHER_MANIFEST

Maps are drawn between 2.5 and 6 bits on average, every unit with a width of its own, and measured
on utterances that the profile saw and on others. Results are saved as they come; a second call
continues, and only reports once all maps are there. `--report` says how the prediction fares with
fewer utterances and label draws.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from genptq_core import Profile, load_manifest, load_profile, problem, quadratic_loss
from genptq_core.options import Option
from genptq_core.storage.files import write_text


def random_maps(profile: Profile, target: str, count: int, seed: int) -> list[tuple[Option, ...]]:
    """Maps of 2.5 to 6 bits on average: a mean of the map, of each group, and of each unit."""
    random = np.random.default_rng(seed)
    task = problem(profile, target=target)
    widths = task.widths
    groups = sorted({unit.group for unit in profile.units})
    maps: list[tuple[Option, ...]] = []
    while len(maps) < count:
        middle = random.uniform(2.2, 6.5)
        lean = dict(zip(groups, random.normal(0, 0.8, len(groups)), strict=True))
        wish = [middle + lean[u.group] + random.normal(0, 0.8) for u in profile.units]
        near = [
            int(random.choice(np.flatnonzero(d <= d.min() + 1e-9)))
            for d in (np.abs(widths - w) for w in wish)
        ]
        if 2.5 <= float(task.average_bits(np.array(near))) <= 6:
            maps.append(tuple(task.menu[i] for i in near))
    return maps


def measure(profile: Profile, options: argparse.Namespace) -> None:
    """Measure what is not measured yet, saving after every map."""
    import torch

    from genptq_core import load_model
    from genptq_core.models.divergence import divergence, head_states
    from genptq_core.models.weights import replaced, unit_weight
    from genptq_core.quantizers import quantize, restored
    from genptq_core.rounding.baseline import baseline
    from genptq_core.rounding.rounded import unit_statistics
    from genptq_core.speech.utterances import load_audio, speech_set

    model = load_model(profile.source.model)
    held = {}
    for name, path in (("seen", options.seen), ("unseen", options.unseen)):
        every = load_manifest(path).utterances
        chosen = every[:: max(1, len(every) // options.utterances)][: options.utterances]
        part = speech_set(name, list(chosen))
        transcripts, states = baseline(model, part.utterances)
        reference = [model.log_probs(s).detach() for s in states]
        held[name] = ([load_audio(u) for u in part.utterances], transcripts, reference)
    records = read(options.out)
    maps = random_maps(profile, options.target, options.maps, options.seed)
    todo = [m for m in maps if [o.key for o in m] not in [r["options"] for r in records]]
    parameters = dict(model.module.named_parameters())
    needed = [sorted({m[i] for m in todo}) for i in range(len(profile.units))]
    table = []
    for unit, ways in zip(profile.units, needed, strict=True):
        weight = unit_weight(parameters[unit.parameter], unit)
        hessian, importance = unit_statistics(profile, unit)
        stored = quantize(weight, hessian, importance, ways)
        kept = [None if codes is None else restored(codes).half() for codes in stored]
        table.append(dict(zip(ways, kept, strict=True)))
    for chosen in todo:
        weights: dict[str, torch.Tensor] = dict(model.derived)
        for unit, option, ways in zip(profile.units, chosen, table, strict=True):
            if unit.parameter not in weights:
                weights[unit.parameter] = parameters[unit.parameter].detach().clone()
            part = weights[unit.parameter][unit.start : unit.stop]
            part.copy_(ways[option].view_as(part))
        record = {"options": [o.key for o in chosen]}
        with replaced(model, weights):
            for name, (audio, transcripts, reference) in held.items():
                states = head_states(model, audio, transcripts)
                changed = [model.log_probs(s).detach() for s in states]
                record[name] = divergence(reference, changed)
        records.append(record)
        write_text(options.out, json.dumps({"profile": profile.digest, "maps": records}, indent=1))
        print(len(records), record["seen"], record["unseen"], flush=True)


def read(path: Path) -> list[dict]:
    """Records measured so far."""
    return json.loads(path.read_text())["maps"] if path.exists() else []


def part_of(profile: Profile, utterances: int, draws: int) -> Profile:
    """The profile that fewer utterances and draws would have made, anchors as they are."""
    return dataclasses.replace(
        profile,
        projections=profile.projections[:utterances, :draws],
        lengths=profile.lengths[:utterances],
    )


def line(profile: Profile, records: list[dict], truth: str) -> str:
    """Rank correlation and the fraction within a factor of 1.5, of one profile on one speech."""
    menu = {option.key: i for i, option in enumerate(profile.menu)}
    choices = np.array([[menu[key] for key in r["options"]] for r in records])
    predicted = quadratic_loss(profile)(choices)
    measured = np.array([r[truth] for r in records])
    below = measured < 0.3
    ratio = np.exp(np.abs(np.log(measured / predicted)))[below]
    rank = spearmanr(predicted, measured).statistic
    return (
        f"{truth:>7}  Spearman {rank:.3f}  within 1.5: {100 * (ratio <= 1.5).mean():3.0f} % of "
        f"{below.sum()} below 0.3  median measured/predicted "
        f"{np.median((measured / predicted)[below]):.2f}  90th factor {np.quantile(ratio, 0.9):.2f}"
    )


def report(profile: Profile, records: list[dict]) -> None:
    """Print how the prediction fares, whole and with less data."""
    print(f"{len(records)} maps")
    for truth in ("seen", "unseen"):
        print(line(profile, records, truth))
    total, draws = profile.projections.shape[:2]
    for count in (8, 16, 32, 64):
        if count <= total:
            print(
                f"{count:3d} utterances  ", line(part_of(profile, count, draws), records, "unseen")
            )
    for count in range(1, draws + 1):
        print(f"{count:3d} label draws ", line(part_of(profile, total, count), records, "unseen"))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--seen", type=Path)
    parser.add_argument("--unseen", type=Path)
    parser.add_argument("--target", default="native")
    parser.add_argument("--maps", type=int, default=80)
    parser.add_argument("--utterances", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/random_maps.json"))
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    profile = load_profile(options.profile)
    if not options.report:
        measure(profile, options)
    report(profile, read(options.out))


if __name__ == "__main__":
    main()
