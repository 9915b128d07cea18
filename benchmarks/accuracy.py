"""The accuracy table: ours and the rivals at the same bytes, on the same utterances.

    pip install -r requirements-bench.txt
    python -m benchmarks.accuracy --profile data/profiles/whisper-tiny.en --speech DEV_MANIFEST \\
        --calibration CALIBRATION_MANIFEST --tuning MORE_SPEECH_MANIFEST

Sizes are stored bits per parameter of the whole model, everything counted. What no rival quantizes
is the same for all: norms, biases and decoder positions at 16 bit, the encoder's sinusoids not
stored, convolutions entropy-coded at 6 bits by us (for ours they are units like any other).
Rivals get the Hessians of the same calibration speech, where they want them, and choose among
their settings by the divergence on 8 of its utterances. Each result is saved as it comes; a second
call measures what is missing, and `--report` only prints the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.rivals import RIVALS, best_under
from genptq_core import (
    Profile,
    SpeechModel,
    SpeechSet,
    bit_map,
    load_manifest,
    load_model,
    load_profile,
    problem,
    solve,
)
from genptq_core.measurement.measure import score
from genptq_core.models.divergence import CHUNK, divergence, head_states
from genptq_core.models.weights import unit_weight
from genptq_core.options import Option
from genptq_core.profile import of_weights
from genptq_core.profiling.hooks import SecondMoments
from genptq_core.quantizers import quantize, restored
from genptq_core.rounding.baseline import baseline
from genptq_core.rounding.compilation import CompileSettings, compile_map
from genptq_core.rounding.rounded import quantized_weights, unit_statistics
from genptq_core.speech.utterances import load_audio, speech_set
from genptq_core.storage.files import write_text
from genptq_core.targets import NATIVE, TARGETS, fixed_bytes
from genptq_core.targets.native import unit_bytes

SIZES = (4.31, 3.85, 3.49, 3.3)
CONVOLUTIONS = Option(6)
SEARCHED = 12  # utterances for ModelOpt's search; 8 s per utterance


def hessians(model: SpeechModel, speech: SpeechSet) -> dict[str, Tensor]:
    """Second moments of every unit's inputs on the model's own transcripts."""
    transcripts, _ = baseline(model, speech.utterances)
    sums: dict[str, Tensor] = {}
    with torch.no_grad():
        for start in range(0, len(speech), CHUNK):
            audio = [load_audio(u) for u in speech.utterances[start : start + CHUNK]]
            with SecondMoments(model, sums):
                encoded = model.encode(audio)
                for i, transcript in enumerate(transcripts[start : start + CHUNK]):
                    model.log_probs(model.head_inputs(encoded[i : i + 1], [transcript])[0])
    return sums


def rest_of(model: SpeechModel, profile: Profile) -> tuple[dict[str, Tensor], int]:
    """The weights that no rival quantizes, the same for all, and its bytes."""
    weights, size = dict(model.derived), fixed_bytes(TARGETS[NATIVE], profile)
    for unit in profile.units:
        if unit.kind == "convolution":
            parameter = model.module.get_parameter(unit.parameter)
            hessian, importance = unit_statistics(profile, unit)
            weight = unit_weight(parameter, unit)
            stored = quantize(weight, hessian, importance, [CONVOLUTIONS])[0]
            if stored is None:
                raise ValueError(f"{unit.name} does not fit")
            weights[unit.parameter] = restored(stored).view_as(parameter)
            size += unit_bytes(unit, CONVOLUTIONS)
    return weights, size


class Bench:
    """One model, one table; results are kept in a file."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.profile = of_weights(load_profile(options.profile))
        self.model = load_model(self.profile.source.model)
        self.speech = load_manifest(options.speech, options.limit)
        self.calibration = load_manifest(options.calibration)
        self.tuning = load_manifest(options.tuning) if options.tuning else None
        self.out: Path = options.out
        self.rows: list[dict[str, Any]] = read(self.out)
        self._hessians: dict[str, Tensor] = {}
        self._search: Any = None

    def room(self, stored: float) -> int:
        """Bytes of the whole model at this many stored bits per parameter."""
        return int(stored * self.profile.source.parameters / 8)

    def record(self, method: str, stored: float, make: Callable[[], tuple | None]) -> None:
        """Measure one cell of the table, unless it is there."""
        if any(r["method"] == method and r["size"] == stored for r in self.rows):
            return
        started = time.perf_counter()
        candidate = make()
        row: dict[str, Any] = {"method": method, "size": stored}
        if candidate is None:
            row["settings"] = "nothing fits"
        else:
            weights, size, settings = candidate
            row |= {"settings": settings, "stored": 8 * size / self.profile.source.parameters}
            same = [
                r
                for r in self.rows
                if (r["method"], r["settings"]) == (method, settings)
                and r["stored"] == row["stored"]
                and "wer" in r
            ]
            if size > self.room(stored):
                raise ValueError(f"{method} is over the size")
            if same:  # a rival without anything between two sizes
                row = {**same[0], "size": stored}
            else:
                prepared = time.perf_counter() - started
                measured = score(self.model, weights, self.speech)
                row |= {
                    "wer": measured.wer,
                    "increase": measured.wer_increase,
                    "ci95": measured.ci95,
                    "loss": measured.loss,
                    "looped": len(measured.runaways.loops),
                    "utterances": len(self.speech),
                    "prepared": prepared,
                }
        self.rows.append(row)
        write_text(self.out, json.dumps({"rows": self.rows}, indent=1))
        print(json.dumps(row), flush=True)

    def rival(self, name: str, stored: float) -> tuple | None:
        """A rival at its best under a size."""
        if not self._hessians:
            self._hessians = hessians(self.model, self.calibration)
        common, kept = rest_of(self.model, self.profile)
        if name == "modelopt" and self._search is None:
            from benchmarks.rival_allocation import search_widths

            audio = [load_audio(u) for u in self.calibration.utterances[:SEARCHED]]
            self._search = search_widths(self.model, audio)
        few = speech_set("judge", list(self.calibration.utterances[:CHUNK]))
        transcripts, states = baseline(self.model, few.utterances)
        audio = [load_audio(u) for u in few.utterances]
        reference = [self.model.log_probs(s).detach() for s in states]

        def judge(weights: Any) -> float:
            from genptq_core.models.weights import replaced

            with replaced(self.model, {**common, **weights}):
                changed_states = head_states(self.model, audio, transcripts)
                return divergence(
                    reference, [self.model.log_probs(s).detach() for s in changed_states]
                )

        best = best_under(
            name,
            self.model,
            self._hessians,
            self.room(stored) - kept,
            judge=judge,
            search=self._search,
        )
        return best and ({**common, **best.weights}, best.bytes + kept, best.settings)

    def ours(self, target: str, compiled: bool, stored: float) -> tuple:
        """Our map for a size, as the profile rounds it or compiled."""
        allocation = solve(problem(self.profile, target=target), self.room(stored))
        chosen = bit_map(self.profile, allocation.options)
        weights = quantized_weights(self.model, self.profile, allocation.options)
        settings = f"{allocation.avg_bits:.2f} bits on average, map {chosen.digest[:8]}"
        if compiled:
            if self.tuning is None:
                raise ValueError("compiling needs --tuning")
            tuned = compile_map(self.model, self.profile, chosen, self.tuning, CompileSettings())
            weights = tuned.weights
            settings += f"; held out {tuned.before:.4f} > {tuned.rounded:.4f} > {tuned.after:.4f}"
        return weights, allocation.bytes, settings


def read(path: Path) -> list[dict[str, Any]]:
    """Rows measured so far."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


def report(rows: list[dict[str, Any]]) -> None:
    """Print the table as Markdown."""
    print("| stored | method | WER % | change | 95 % interval | loops | KL | settings |")
    print("| --- " * 8 + "|")
    for row in sorted(rows, key=lambda r: (-r["size"], r.get("loss", 99))):
        if "wer" not in row:
            print(f"| {row['size']} | {row['method']} | | | | | | {row['settings']} |")
            continue
        low, high = row["ci95"]
        print(
            f"| {row['size']} | {row['method']} | {100 * row['wer']:.2f} "
            f"| {100 * row['increase']:+.2f} | {100 * low:+.2f} to {100 * high:+.2f} "
            f"| {row['looped']} | {row['loss']:.4f} | {row['settings']} ({row['stored']:.2f}) |"
        )


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--speech", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--tuning", type=Path)
    parser.add_argument("--sizes", type=lambda t: tuple(map(float, t.split(","))), default=SIZES)
    parser.add_argument(
        "--methods",
        type=lambda t: [name.strip() for name in t.split(";")],
        default=["ours", "ours, compiled", "ours, integers", *RIVALS],
        help="names with semicolons between",
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/accuracy.json"))
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if not options.report:
        bench = Bench(options)
        for method in options.methods:
            for size in options.sizes:
                if method.startswith("ours"):
                    target = "integer" if "integers" in method else "native"
                    compiled = "compiled" in method
                    bench.record(method, size, partial(bench.ours, target, compiled, size))
                else:
                    bench.record(method, size, partial(bench.rival, method, size))
    report(read(options.out))


if __name__ == "__main__":
    main()
