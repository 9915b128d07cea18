"""Time of re-solving a profile: 100 budgets, the whole front, and setting up.

python benchmarks/solve.py --profile data/profiles/whisper-tiny.en
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from genptq_core import load_profile, predicted_front, problem, solve


def main() -> None:
    """Solve and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--target", help="format of the maps")
    options = parser.parse_args()
    profile = load_profile(options.profile)
    started = time.perf_counter()
    task = problem(profile, target=options.target)
    front = predicted_front(task)
    setup = 1000 * (time.perf_counter() - started)
    lowest, highest = task.smallest, 2 * profile.source.parameters
    found = [solve(task, int(b)) for b in np.geomspace(lowest, highest, 100)]
    times = np.array([a.milliseconds for a in found])
    gaps = np.array([a.gap / a.predicted_loss for a in found if a.predicted_loss > 1e-9])
    size = f"{len(profile.units)} layers, {len(task.menu)} options"
    print(f"{size}, {len(front.bytes)} points on the front")
    print(f"setting up, front included: {setup:.0f} ms")
    print(
        f"one re-solve over 100 budgets: median {np.median(times):.0f} ms, "
        f"95th percentile {np.quantile(times, 0.95):.0f} ms"
    )
    print(f"gap to the proven bound, share of the loss: median {np.median(gaps):.2f}")


if __name__ == "__main__":
    main()
