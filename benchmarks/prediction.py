"""How well the profile predicts: loss against measured divergence, WER against measured WER.

    python -m benchmarks.prediction --profile data/profiles/whisper-tiny.en
    python -m benchmarks.prediction --profile data/profiles/whisper-tiny.en --borrowed
    python -m benchmarks.prediction --profile data/profiles/* --summary

Uses the measured configurations that ship with the profile (or were measured since). `--borrowed`
judges what a model is told of its word errors before, or after a few, maps of it are measured: the
band borrowed from the other models that ship, on maps that it was not shown. `--summary` is a row
for each profile, speech set and format.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from genptq_core import (
    Measured,
    Profile,
    load_measured,
    load_profile,
    quadratic_loss,
    with_predictions,
)
from genptq_core.allocation.wer_curve import LEAST_POINTS, fit_wer_curve
from genptq_core.errors import ConstraintError
from genptq_core.measurement.borrowing import borrowed_curve
from genptq_core.measurement.predictions import own_of
from genptq_core.measurement.speech_sets import MeasuredSet, curve_of, measured_sets
from genptq_core.profile import of_weights
from genptq_core.targets import NATIVE, held_columns, predicted_bytes, target_of

SPLITS = 40
SHOWN = (0, 1, 2, 4)
"""Own maps that a borrowed curve is shown."""
FORMATS = (NATIVE, "integer", "gguf")
"""Formats of which maps were measured."""
DRAWS = 10
"""Random choices of these."""


def weights_of(profile: Profile, record: Measured) -> int:
    """Bytes of a measured map's weights in the native format."""
    return predicted_bytes(target_of(None), of_weights(profile), record.options)


def markdown(profile: Profile, records: list[Measured]) -> None:
    """Print the README's table for one speech set."""
    print(
        "| map | MB | weights | % less | bits | stored | WER % | change | interval | loops "
        "| divergence |"
    )
    print("| --- " * 11 + "|")
    for m in sorted(records, key=lambda m: -m.bytes):
        low, high = m.ci95
        weights = weights_of(profile, m)
        print(
            f"| {m.label} | {m.bytes / 1e6:.1f} | {weights / 1e6:.1f} "
            f"| {100 * m.reduction_vs_fp32:.1f} "
            f"| {m.avg_bits:.2f} | {8 * weights / profile.source.parameters:.2f} "
            f"| {100 * m.wer:.2f} | {100 * m.wer_increase:+.2f} "
            f"| {100 * low:+.2f} to {100 * high:+.2f} | {m.looped} | {m.loss:.4f} |"
        )


def report(profile: Profile, records: list[Measured]) -> None:
    """Print the table and the correlations for one speech set."""
    records = sorted(records, key=lambda m: m.bytes)
    menu = {option: i for i, option in enumerate(profile.menu)}
    choices = np.array([[menu[option] for option in m.options] for m in records])
    separable = quadratic_loss(profile, shrinkage=1.0)(choices)
    curve = curve_of(measured_sets(records)[0])
    print(f"\n{records[0].speech}: {len(records)} maps, {records[0].utterances} utterances")
    print(
        "    MB  % less  codes  stored   WER %  change  95 % interval     loss  predicted"
        "  predicted change  label"
    )
    for m in records:
        stored = 8 * weights_of(profile, m) / profile.source.parameters
        guess = 100 * float(curve.increase(m.predicted_loss)) if curve else float("nan")
        low, high = m.ci95
        print(
            f"{m.bytes / 1e6:6.2f} {100 * m.reduction_vs_fp32:7.1f} {m.avg_bits:6.2f} {stored:7.2f}"
            f" {100 * m.wer:7.2f} {100 * m.wer_increase:+7.2f}"
            f"  [{100 * low:+6.2f}, {100 * high:+6.2f}] {m.loss:8.4f} {m.predicted_loss:9.4f}"
            f" {guess:+12.2f}        {m.label}"
        )
    changed = [m for m in records if m.predicted_loss > 0]
    true = [m.loss for m in changed]
    alone = [part for part, m in zip(separable, records, strict=True) if m.predicted_loss > 0]
    found = agreement(changed)
    print(
        f"Spearman, predicted loss and measured divergence: {found.rank:.4f}"
        f" (separable part alone: {spearmanr(alone, true)[0]:.4f})"
    )
    print(
        f"measured over predicted, median {found.ratio:.2f}, within a factor of 1.5 where "
        f"measured is below 0.3: {found.near:.2f} of {found.useful}"
    )
    if curve:
        print(
            f"WER increase = {curve.scale:.3f} * loss^{curve.power:.3f}; held-out mean error "
            f"{100 * curve.held_out:.2f} points over {curve.points} maps"
        )
    judged = halves(changed)
    if judged is None:
        print(f"WER curve on halves: {len(changed)} maps are too few, {2 * LEAST_POINTS} needed")
    else:
        print(
            f"WER curve on halves of {len(changed)} maps, {SPLITS} random ones, below +5 points: "
            f"mean error {100 * judged[0]:.2f} points, {100 * judged[1]:.0f} % in the band"
        )


@dataclass(frozen=True)
class Agreement:
    """How well loss was predicted.

    Attributes:
        rank: Spearman's correlation of predicted loss and measured divergence.
        ratio: measured over predicted, the median.
        near: fraction within a factor of 1.5, of those whose measured divergence is below 0.3.
        useful: how many these are.
    """

    rank: float
    ratio: float
    near: float
    useful: int


def agreement(records: Sequence[Measured]) -> Agreement:
    """Predicted and measured loss of quantized maps, compared."""
    true = np.array([m.loss for m in records])
    predicted = np.array([m.predicted_loss for m in records])
    ratio = true / predicted
    near = np.abs(np.log(ratio[true < 0.3])) < np.log(1.5)
    rank = float(spearmanr(predicted, true)[0])
    return Agreement(rank, float(np.median(ratio)), float(near.mean()), len(near))


def halves(changed: Sequence[Measured]) -> tuple[float, float] | None:
    """The WER curve fitted on one half of the maps, judged on the other, over random halves.

    Of maps below +5 points: the mean error, a fraction, and how many are in the band. None if the
    maps are too few.
    """
    if len(changed) < 2 * LEAST_POINTS:
        return None
    loss = np.array([m.predicted_loss for m in changed])
    true = np.array([m.wer_increase for m in changed])
    random = np.random.default_rng(0)
    errors: list[float] = []
    held: list[bool] = []
    for _ in range(SPLITS):
        order = random.permutation(len(changed))
        fitted, judged = np.array_split(order, 2)
        curve = fit_wer_curve(loss[fitted], true[fitted])
        if curve is None:
            continue
        for i in judged[true[judged] < 0.05]:
            low, high = curve.interval(loss[i])
            errors.append(abs(float(curve.increase(loss[i])) - true[i]))
            held.append(bool(low <= true[i] <= high))
    return float(np.mean(errors)), float(np.mean(held))


def summary(folder: Path) -> Iterator[str]:
    """Rows of a profile in the table of all: each speech set and format."""
    profile = load_profile(folder)
    stored = load_measured(folder, profile.digest)
    for target in FORMATS:
        measured = with_predictions(profile, stored, target)
        try:
            menu = {profile.menu[i] for i in held_columns(profile.menu, target)}
        except ConstraintError:  # the profile has nothing for it
            continue
        for measured_set in measured_sets(measured):
            changed = [
                m for m in measured_set.records if m.predicted_loss > 0 and set(m.options) <= menu
            ]
            if len(changed) < LEAST_POINTS - 1:
                continue
            found, judged = agreement(changed), halves(changed)
            said = "" if judged is None else f"{100 * judged[0]:.2f}, {100 * judged[1]:.0f} %"
            yield (
                f"| {profile.source.model} | {measured_set.name}, {changed[0].utterances} "
                f"| {target} | {len(changed)} "
                f"| {found.rank:.2f} | {found.ratio:.2f} | {100 * found.near:.0f} % | {said} |"
            )


def borrowed(profile: Profile, measured_set: MeasuredSet, target: str) -> Iterator[str]:
    """Rows of the table of borrowed bands: for each number of own maps that were shown."""
    records = [m for m in measured_set.records if m.predicted_loss > 0]
    random = np.random.default_rng(0)
    for shown in SHOWN:
        held: list[bool] = []
        widths: list[float] = []
        errors: list[float] = []
        for _ in range(DRAWS if shown else 1):
            order = [records[i] for i in random.permutation(len(records))]
            own = replace(measured_set, records=tuple(order[:shown]))
            curve = borrowed_curve(profile, target, own)
            loss = np.array([m.predicted_loss for m in order[shown:]])
            true = np.array([m.wer_increase for m in order[shown:]])
            low, high = curve.interval(loss)
            useful = true < 0.05
            held += ((low <= true) & (true <= high)).tolist()
            widths += ((high - low) / 2)[useful].tolist()
            errors += np.abs(curve.increase(loss) - true)[useful].tolist()
        yield (
            f"| {profile.source.model} | {target} | {measured_set.name} ({measured_set.words} "
            f"words) | {len(records)} | {shown} | {100 * np.mean(held):.0f} % "
            f"| {100 * np.median(widths):.2f} | {100 * np.mean(errors):.2f} |"
        )


def main() -> None:
    """Report every speech set of a profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True, nargs="+")
    parser.add_argument("--target", default=NATIVE, help="whose own maps are reported")
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    parser.add_argument("--borrowed", action="store_true", help="judge the borrowed bands")
    parser.add_argument("--summary", action="store_true", help="a row for each set and format")
    options = parser.parse_args()
    if options.summary:
        print("| profile | speech | format | maps | rank | ratio | within 1.5 | on halves |")
        print("| --- " * 8 + "|")
        for folder in options.profile:
            if folder.is_dir():
                print(*summary(folder), sep="\n")
        return
    if options.borrowed:
        print("| model | target | speech | maps | shown | in the band | half width | error |")
        print("| --- " * 8 + "|")
    for folder in options.profile:
        profile = load_profile(folder)
        stored = load_measured(folder, profile.digest)
        measured = with_predictions(profile, stored, options.target)
        for measured_set in measured_sets(own_of(profile, measured, options.target)):
            records = list(measured_set.records)
            if options.borrowed:
                print("\n".join(borrowed(profile, measured_set, options.target)))
            elif options.markdown:
                markdown(profile, records)
            else:
                report(profile, records)


if __name__ == "__main__":
    main()
