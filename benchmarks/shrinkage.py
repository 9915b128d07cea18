"""How much of the cross-unit terms to trust: maps chosen on half the speech, judged on the rest.

    python -m benchmarks.shrinkage --profile data/profiles/whisper-tiny.en

    python -m benchmarks.shrinkage --profile data/profiles/whisper-tiny.en --denoise

For each shrinkage, maps are solved from a random half of the calibration utterances; their loss
is then estimated, without shrinkage, on the other half, which had no part in choosing. With
`--denoise` maps are solved from 8, 16 and 32 utterances, on raw and on denoised sensitivities, and
judged on all others.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from genptq_core import (
    Profile,
    QuadraticLoss,
    load_profile,
    problem,
    quadratic_loss,
    solve_average_bits,
)
from genptq_core.allocation.predicted_loss import SHRINKAGE, Growth

AVERAGES = (3.0, 3.5, 4.0, 5.0)
SHRINKAGES = (0.1, 0.3, 0.5, 0.7, 0.85, 1.0)


def part(
    profile: Profile, utterances: np.ndarray, shrinkage: float, denoise: bool = False
) -> QuadraticLoss:
    """Second-order loss from some utterances of a profile.

    Its growth is left out: the utterances that it is fitted to are in both halves, or in neither.
    """
    fewer = dataclasses.replace(
        profile,
        projections=profile.projections[utterances],
        lengths=profile.lengths[utterances],
    )
    loss = quadratic_loss(fewer, shrinkage, denoise=denoise)
    return dataclasses.replace(loss, growth=Growth())


def denoising(profile: Profile, target: str | None, splits: int) -> None:
    """Print what denoising wins on utterances that had no part in choosing."""
    menu = {option: i for i, option in enumerate(profile.menu)}
    rng = np.random.default_rng(1)
    print("| chosen on | denoised over raw | judged over predicted, raw | denoised |")
    print("| --- " * 4 + "|")
    for count in (8, 16, 32):
        logs = []  # of what the others say and of what was predicted: raw, then denoised
        for _ in range(splits):
            order = rng.permutation(len(profile.lengths))
            judge = part(profile, order[count:], 0.0)
            for average in AVERAGES:
                row = []
                for denoise in (False, True):
                    loss = part(profile, np.sort(order[:count]), SHRINKAGE, denoise)
                    found = solve_average_bits(problem(profile, loss=loss, target=target), average)
                    choice = np.array([menu[option] for option in found.options])
                    row += [float(judge(choice)), found.predicted_loss]
                logs.append(np.log(row))
        raw, guess, better, after = np.mean(logs, axis=0)
        print(
            f"| {count} utterances | {np.exp(better - raw):.2f} | {np.exp(raw - guess):.2f} "
            f"| {np.exp(better - after):.2f} |",
            flush=True,
        )


def main() -> None:
    """Print loss on the choosing half and on the other, averaged over splits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--target", help="format of the maps")
    parser.add_argument("--denoise", action="store_true", help="what denoising wins")
    options = parser.parse_args()
    profile = load_profile(options.profile)
    if options.denoise:
        denoising(profile, options.target, options.splits)
        return
    rng = np.random.default_rng(0)
    halves = []
    for _ in range(options.splits):
        order = rng.permutation(len(profile.lengths))
        halves += [np.split(order, 2), np.split(order, 2)[::-1]]
    print("loss in nats per token: predicted on the half that chose / estimated on the other half")
    print("shrinkage  " + "  ".join(f"{a:g} bits".rjust(15) for a in AVERAGES))
    for shrinkage in SHRINKAGES:
        cells = []
        for average in AVERAGES:
            inside, outside = [], []
            for chooser, judge in halves:
                loss = part(profile, chooser, shrinkage)
                task = problem(profile, loss=loss, target=options.target)
                allocation = solve_average_bits(task, average)
                inside.append(allocation.predicted_loss)
                menu = {option: i for i, option in enumerate(profile.menu)}
                choice = np.array([menu[option] for option in allocation.options])
                outside.append(float(part(profile, judge, 0.0)(choice)))
            cells.append(f"{np.mean(inside):.4f} / {np.mean(outside):.4f}")
        print(f"{shrinkage:9g}  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
