"""What rounding a model of some shape costs: processor seconds for all of its units, extrapolated.

    python -m benchmarks.rounding_cost --shape large-v3 --options 8/64,3
    python -m benchmarks.rounding_cost --shape large-v3 --options usual --against CHECKOUT

One group of units with the same inputs is rounded of each kind, with random weights and a sketch of
random inputs, and counted as often as there are such groups. With `--against`, the version in
another checkout does the same, in turn with this one, and the ratio is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve()

Kind = tuple[int, int, int]  # units that are rounded together, their rows, their columns


def kinds(shape: str, together: bool) -> Counter[Kind]:
    """How many groups of units of each kind a model has; a group is one unit where not `together`.

    The embedding's blocks, which differ in rows, count as parts of its largest.
    """
    from transformers import WhisperForConditionalGeneration

    from benchmarks.shapes import configuration
    from genptq_core.models.whisper import units

    with torch.device("meta"):
        found = units(WhisperForConditionalGeneration(configuration(shape)))
    blocks = [unit for unit in found if unit.part == "embedding"]
    others = [unit for unit in found if unit.part != "embedding"]
    counted: Counter[Kind] = Counter()
    if together:
        from genptq_core.profiling.rounding_errors import groups_of_units

        for members in groups_of_units(others):
            unit = others[members[0]]
            counted[len(members), unit.rows, unit.columns] += 1
    else:
        counted.update((1, unit.rows, unit.columns) for unit in others)
    largest = max(unit.rows for unit in blocks)
    share = sum(unit.rows for unit in blocks) / largest
    counted[1, largest, blocks[0].columns] += share  # type: ignore[assignment]
    return counted


def seconds(kind: Kind, keys: list[str]) -> float:
    """Processor seconds of rounding one group at these options."""
    from genptq_core import quantizers
    from genptq_core.options import Option
    from genptq_core.quantizers import hessian

    count, rows, columns = kind
    torch.manual_seed(0)
    weights = [0.02 * torch.randn(rows, columns) for _ in range(count)]
    importance = [torch.rand(rows) + 0.1 for _ in range(count)]
    inputs = torch.randn(768, columns) * torch.exp(0.7 * torch.randn(columns))
    if hessian.is_wide(columns, 192):
        sketch = hessian.sketch_of_products(hessian.sketch_products(inputs, 192), 192)
    else:
        sketch = hessian.sketch(inputs.T @ inputs, 192)
    options = [Option.parse(key) for key in keys]

    def once(units: list[Any]) -> float:
        started = time.process_time()
        if hasattr(quantizers, "quantize_together"):
            quantizers.quantize_together(units, sketch, importance, options)
        else:
            for weight, each in zip(units, importance, strict=True):
                quantizers.quantize(weight, sketch.dense(), each, options)
        return time.process_time() - started

    if count * rows * columns < 4e6:
        once(weights)  # libraries that start, memory that is new
    return min(once(weights) for _ in range(2 if count * rows * columns < 4e6 else 1))


def usual(text: str) -> list[str]:
    """Keys of options between commas, or the usual ones."""
    if text != "usual":
        return text.split(",")
    from genptq_core.profile import Settings

    return [option.key for option in Settings().options]


def alone(kind: Kind, arguments: argparse.Namespace, folder: Path) -> float:
    """`seconds` in a process of its own, with the version in a folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": str(arguments.threads),
    }
    command = [sys.executable, str(HERE), "--one", json.dumps([kind, usual(arguments.options)])]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, env=environment
    )
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Round one group of each kind, and print what all take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="large-v3")
    parser.add_argument("--options", default="8/64,3", help="keys between commas, or usual")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kind, keys = json.loads(arguments.one)
        print(seconds(tuple(kind), keys))
        return
    here = HERE.parent.parent
    counted: dict[str, Any] = {"now": kinds(arguments.shape, together=True)}
    folders = {"now": here}
    if arguments.against:
        counted["before"], folders["before"] = (
            kinds(arguments.shape, together=False),
            arguments.against,
        )
    options = len(usual(arguments.options))
    totals = dict.fromkeys(folders, 0.0)
    for name, groups in counted.items():
        for kind, count in sorted(groups.items()):
            took = alone(kind, arguments, folders[name])
            totals[name] += count * took
            units, rows, columns = kind
            print(
                f"{name}: {units} x {rows} x {columns}: {took:.2f} s, {count:.1f} times", flush=True
            )
    for name, total in totals.items():
        print(f"{name}: {total / options:.0f} s per option, {options} options at once")
    if arguments.against:
        print(f"ratio: {totals['before'] / totals['now']:.1f}")


if __name__ == "__main__":
    main()
