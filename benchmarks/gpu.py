"""What profiles take on a GPU: the device test, tiny.en whole, and the shapes of larger models.

    python -m benchmarks.gpu --device cuda
    python -m benchmarks.gpu --device cpu --parts scores tiny shape --shapes base --utterances 2 \\
        --options 8/64,3

Parts, each printed as soon as it ends:

- `tests`: the tests of devices.
- `scores`: tiny.en on two utterances, on the processor and on the device: how far scores differ;
  on a GPU also with TF32. Labels are drawn on the processor with the same seed on both.
- `tiny`: tiny.en's profile with the usual options, seconds by stage.
- `shape`: the same of larger shapes with random weights.

Seconds are of the clock. What is left when `--budget` seconds are over is not begun, so that all
fits the time for which a machine is lent.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.memory import peak_bytes
from benchmarks.shapes import SHORT_CONTEXT, configuration
from genptq_core import Settings, load_manifest, load_model
from genptq_core.models import SpeechModel, bundled
from genptq_core.models.device import device_of
from genptq_core.options import Option
from genptq_core.profiling.compute import compute

ROOT = Path(__file__).resolve().parent.parent

SPEECH = ROOT / "data" / "speech" / "demo" / "manifest.jsonl"

GOALS = {"whisper-tiny.en": 15, "large-v3-turbo": 120, "large-v3": 300}
"""Seconds in which a profile should be made on a GPU."""


@contextmanager
def empty_cache() -> Iterator[Path]:
    """A folder that is the cache, empty at first and gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GENPTQ_CACHE"] = folder
        yield Path(folder)


def shaped(name: str, device: torch.device) -> SpeechModel:
    """A Whisper of another size with random weights, made where it runs.

    Args:
        name: of `shapes.SHAPES`, or large-v3-turbo.
        device: where it runs.
    """
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    from genptq_core.models.whisper import Whisper

    small, _, tokenizer = bundled.load()
    config = configuration(name.removesuffix("-turbo"), SHORT_CONTEXT)
    if name.endswith("-turbo"):
        config.decoder_layers = 4
    torch.manual_seed(0)
    with device:
        module = WhisperForConditionalGeneration(config).eval()
    module.generation_config = small.generation_config
    features = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    return Whisper(name, module, features, tokenizer)


def profiled(
    model: SpeechModel, options: argparse.Namespace, utterances: int, *, float32: bool = False
) -> Any:
    """A profile from nothing; prints its seconds by stage, and peaks of memory."""
    stages: dict[str, float] = {}
    last: list[Any] = [time.perf_counter(), "loading"]
    on_gpu = next(model.module.parameters()).device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()

    def report(progress: Any) -> None:
        if on_gpu:
            torch.cuda.synchronize()
        now = time.perf_counter()
        stages[last[1]] = stages.get(last[1], 0.0) + now - last[0]
        last[:] = [now, progress.stage]

    settings = dataclasses.replace(Settings(), draws=options.draws)
    if options.options != "usual":
        ways = tuple(Option.parse(key) for key in options.options.split(","))
        settings = dataclasses.replace(settings, options=ways)
    speech = load_manifest(options.speech, utterances)
    started = last[0] = time.perf_counter()
    with empty_cache() as folder:
        disk = [0]

        def watched(progress: Any) -> None:
            if progress.stage == "gradients" and progress.done == 0:
                disk[0] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            report(progress)

        profile = compute(
            model, speech, folder / "profile", settings, report=watched, float32=float32
        ).profile
    seconds = time.perf_counter() - started
    goal = f", goal {GOALS[model.name]}" if on_gpu and model.name in GOALS else ""
    peak = f", on the GPU {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if on_gpu else ""
    print(
        f"{model.name}: {seconds:.0f} s{goal}; {utterances} utterances, {options.draws} draws, "
        f"{len(settings.options)} options; peak {peak_bytes() / 1e9:.1f} GB{peak}, "
        f"{disk[0] / 1e9:.2f} GB on disk"
    )
    for stage, value in stages.items():
        print(f"  {stage}: {value:.1f} s", flush=True)
    return profile


def tests(_options: argparse.Namespace) -> None:
    """The tests of devices."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/core/models/test_device.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    print("device test:", (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1])


def scores(options: argparse.Namespace) -> None:
    """How far the scores of the device differ from the processor's."""

    def of(device: str) -> np.ndarray:
        profile = profiled(load_model("whisper-tiny.en", device), options, 2, float32=True)
        return np.asarray(np.square(profile.projections).mean(axis=(0, 1)))

    known = of("cpu")
    ways = {"device": False}
    if options.device == "cuda":
        ways["device with TF32"] = True
    for name, tf32 in ways.items():
        found = _with_tf32(of, options.device) if tf32 else of(options.device)
        apart = np.abs(found / known - 1)[np.isfinite(known) & (known > 0)]
        total = abs(np.nansum(found) / np.nansum(known) - 1)
        print(
            f"scores, {name} against processor: median {np.median(apart):.2%}, 95th percentile "
            f"{np.quantile(apart, 0.95):.2%}, most {apart.max():.2%}, the sum {total:.2%}"
        )


def _with_tf32(of: Any, device: str) -> np.ndarray:
    """Scores with products of matrices in TF32, which `device_of` forbids."""
    device_of(device)
    from genptq_core.models import device as devices

    before = devices.device_of

    def allowed(name: str) -> torch.device:
        found = before(name)
        torch.backends.cuda.matmul.allow_tf32 = True
        return found

    devices.device_of = allowed
    try:
        return np.asarray(of(device))
    finally:
        devices.device_of = before
        torch.backends.cuda.matmul.allow_tf32 = False


def tiny(options: argparse.Namespace) -> None:
    """tiny.en's profile."""
    profiled(load_model("whisper-tiny.en", options.device), options, options.utterances)


def shape(options: argparse.Namespace) -> None:
    """Profiles of larger shapes."""
    for name in options.shapes:
        if options.left() < 60:
            print(f"{name}: not begun, {options.left():.0f} s are left")
            continue
        model = shaped(name, device_of(options.device))
        profiled(model, options, options.utterances)
        del model
        if options.device == "cuda":
            torch.cuda.empty_cache()


PARTS = {"tests": tests, "scores": scores, "tiny": tiny, "shape": shape}


def main() -> None:
    """Run the parts that are asked for, as far as there is time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--shapes", nargs="+", default=["large-v3-turbo", "large-v3"])
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--utterances", type=int, default=8)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--options", default="usual", help="keys between commas")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds")
    options = parser.parse_args()
    ends = time.perf_counter() + options.budget
    options.left = lambda: ends - time.perf_counter()
    name = torch.cuda.get_device_name() if options.device == "cuda" else "processor"
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    for part in options.parts:
        if options.left() < 10:
            print(f"{part}: not begun, no time is left")
            continue
        PARTS[part](options)


if __name__ == "__main__":
    main()
