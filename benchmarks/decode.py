"""How long it takes to decode a native export, and to unpack it for another runtime.

    python -m benchmarks.decode --export DIR

prints processor seconds on one core, and peak memory of each unpacking in a process of its own;
per billion weights, it is extrapolated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors import safe_open

from genptq_core.export.unpack import WAYS
from genptq_core.formats import native_file
from genptq_core.quantizers.codec import decode, multiplied

_UNPACK = """
import sys, time
from benchmarks.memory import peak_bytes
from genptq_core.cli.main import main
if code := main(["unpack", sys.argv[1], "--to", sys.argv[2], "--out", sys.argv[3], "--json"]):
    sys.exit(code)
print(time.process_time(), peak_bytes())
"""


def decoding(path: Path) -> tuple[int, float, float]:
    """Entropy-coded weights of a file, and processor seconds to decode and to multiply them out."""
    weights, seconds, more = 0, 0.0, 0.0
    for parameter in native_file.parameters(path):
        for unit in parameter.units:
            if "coded" not in unit.parts:
                continue
            with safe_open(path, framework="np") as handle:
                data = handle.get_tensor(unit.parts["coded"]).tobytes()
            rows = unit.stop - unit.start
            start = time.process_time()
            codes = decode(data, rows, parameter.columns)
            middle = time.process_time()
            multiplied(*codes)
            seconds, more = seconds + middle - start, more + time.process_time() - middle
            weights += rows * parameter.columns
    return weights, seconds, more


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--export", type=Path, required=True, help="a native export")
    parser.add_argument("--runs", type=int, default=3, help="the fastest of so many counts")
    flags = parser.parse_args()
    path = flags.export / native_file.NAME
    found = [decoding(path) for _ in range(flags.runs)]
    count, seconds, more = found[0][0], *np.min([one[1:] for one in found], axis=0)
    print("| what | processor s | a billion weights, s | peak MB |\n| --- | --- | --- | --- |")
    for name, value in ((f"decode {count / 1e6:.1f} M weights", seconds), ("multiply out", more)):
        print(f"| {name} | {value:.2f} | {value / count * 1e9:.0f} | |")
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", _UNPACK, str(flags.export), way, f"{folder}/out"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            answer, figures = done.stdout.splitlines()
            taken, peak = (float(figure) for figure in figures.split())
            size = json.loads(answer)["bytes"] / 1e6
            row = [f"unpack to {way}, {size:.1f} MB", f"{taken:.2f}", f"{taken / count * 1e9:.0f}"]
            print(f"| {' | '.join([*row, f'{peak / 1e6:.0f}'])} |")


if __name__ == "__main__":
    main()
