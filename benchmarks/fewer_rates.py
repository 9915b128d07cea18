"""Whether every rate must be rounded to be scored: a few rates and a fit, against all.

    python -m benchmarks.fewer_rates --profile data/profiles/whisper-tiny.en

Of the entropy codes of a profile only some keep their scores. The others get those of the nearest
one that was kept, scaled to a cost that is interpolated: its logarithm is taken as linear in bits
between kept rates. Maps are solved from a random half of the calibration utterances, with all rates
and with those, and their loss is estimated on the other half with the scores of all, without
shrinkage and growth. Ranks are of the costs of all options of all units, against the other half's.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.shrinkage import part
from genptq_core import Profile, load_profile, problem, solve_average_bits
from genptq_core.allocation.predicted_loss import SHRINKAGE

AVERAGES = (2.0, 2.5, 3.0, 3.5, 4.0)

KEPT = (
    (1.25, 1.5, 2, 2.5, 3, 4, 6, 8),
    (1.25, 1.75, 2.5, 3.5, 5, 8),
    (1.5, 2.25, 3.5, 6),
    (1.25, 2, 4, 8),
    (2, 4),
)


def fitted(profile: Profile, kept: tuple[float, ...]) -> Profile:
    """The profile with scores of other rates than these taken from a fit."""
    options = profile.settings.options
    rates = {o.bits: i for i, o in enumerate(options) if o.form == "coded"}
    known = [rate for rate in sorted(rates) if rate in kept]
    rows = profile.projections.astype(np.float64).copy()
    costs = np.square(rows).sum(axis=(0, 1))  # (units, options)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(costs)
    for rate, column in rates.items():
        if rate in known:
            continue
        for unit in range(rows.shape[2]):
            have = [r for r in known if np.isfinite(logs[unit, rates[r]])]
            if not have or not np.isfinite(logs[unit, column]):
                continue
            log = _interpolated(rate, have, [logs[unit, rates[r]] for r in have])
            near = rates[min(have, key=lambda r: abs(r - rate))]
            scale = np.exp((log - logs[unit, near]) / 2)
            rows[:, :, unit, column] = scale * rows[:, :, unit, near]
    return dataclasses.replace(profile, projections=rows.astype(np.float32))


def _interpolated(rate: float, known: list[float], logs: list[float]) -> float:
    """Linear between known rates; beyond them two bits cost a factor of 16."""
    inside = float(np.interp(rate, known, logs))
    beyond = max(known[0] - rate, 0.0) - max(rate - known[-1], 0.0)
    return inside + beyond * float(np.log(4.0))


def main() -> None:
    """Print ranks, and what maps lose that were chosen by a few rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=3)
    options = parser.parse_args()
    profile = load_profile(options.profile)
    menu = {option: i for i, option in enumerate(profile.menu)}
    coded = [i for i, o in enumerate(profile.settings.options) if o.form == "coded"]
    whole = tuple(profile.settings.options[i].bits for i in coded)
    rng = np.random.default_rng(0)
    halves = [np.split(rng.permutation(len(profile.lengths)), 2) for _ in range(options.splits)]
    print(
        "| rates | rank, those fitted | rank, all | "
        + " | ".join(f"{a:g} bits" for a in AVERAGES)
        + " |"
    )
    print("| --- |" + " ---: |" * (2 + len(AVERAGES)))
    base: list[float] = []
    for kept in (whole, *KEPT):
        fewer = profile if kept == whole else fitted(profile, kept)
        left = [i for i in coded if profile.settings.options[i].bits not in kept]
        ranks, losses = [], []
        for chooser, judge in halves:
            judged = part(profile, judge, 0.0)
            loss = part(fewer, np.sort(chooser), SHRINKAGE, denoise=True)
            true = np.square(profile.projections[judge]).sum(axis=(0, 1))
            guess = np.square(fewer.projections[chooser]).sum(axis=(0, 1))
            ranks.append([_rank(true, guess, left), _rank(true, guess, coded)])
            task = problem(fewer, loss=loss, target="native")
            found = [solve_average_bits(task, a) for a in AVERAGES]
            chosen = [np.array([menu[o] for o in one.options]) for one in found]
            losses.append([float(judged(choice)) for choice in chosen])
        mean = np.exp(np.log(losses).mean(axis=0))
        base = base or list(mean)
        some, every = np.mean(ranks, axis=0)
        cells = " | ".join(f"{m / b:.3f}" for m, b in zip(mean, base, strict=True))
        said = f"all {len(whole)}" if kept == whole else ", ".join(f"{r:g}" for r in kept)
        print(f"| {said} | {some:.4f} | {every:.4f} | {cells} |", flush=True)


def _rank(true: np.ndarray, guess: np.ndarray, columns: list[int]) -> float:
    """Spearman's correlation of costs of these options, over all units."""
    if not columns:
        return float("nan")
    one, other = true[:, columns].ravel(), guess[:, columns].ravel()
    usable = np.isfinite(one) & np.isfinite(other)
    return float(spearmanr(one[usable], other[usable]).statistic)


if __name__ == "__main__":
    main()
