"""How time and memory grow from tiny to large-v3: profile, solve, front, export, side by side.

    python -m benchmarks.growth --speech MANIFEST --shapes tiny base small medium large-v3

Models have OpenAI's shapes and random weights; they are made on disk, in shards of float16. Each
stage runs in a process of its own, on one core, and its processor time and peak memory are written
to `benchmarks/results/growth.json` as soon as it ends. Few options are rounded (`--rates`,
`--bits`) and one label per utterance is drawn: rounding is reported per option.

    python -m benchmarks.growth --estimate
    python -m benchmarks.growth --report [--plot docs/growth.png]

The first prints what a profile of each would take, by the program's own estimate, the second what
was measured so far, with what an earlier version took in brackets; nothing is run. Redrawing is
timed on profiles of these shapes with drawn scores (`benchmarks/dashboard.py`), of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are imported

import numpy as np

from benchmarks.memory import peak_bytes
from benchmarks.shapes import SHAPES, SHORT_CONTEXT, configuration
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.file import read_bit_map, write_bit_map

ROOT = Path(__file__).resolve().parent.parent

RESULTS = ROOT / "benchmarks" / "results" / "growth.json"
BEFORE = RESULTS.with_name("growth_before.json")
"""The same of the version before weights were rounded in bulk."""

PASSES = 2  # utterances of the bare passes
MOVES = 40


def make(options: argparse.Namespace) -> dict[str, Any]:
    """Write a model of random weights, unless it is there."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    from genptq_core.models import bundled

    folder = options.work / options.shapes[0]
    small, _, tokenizer = bundled.load()
    config = configuration(options.shapes[0], SHORT_CONTEXT)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    module = WhisperForConditionalGeneration(config)
    module.generation_config = small.generation_config
    module.save_pretrained(folder, max_shard_size="500MB")
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    disk = sum(path.stat().st_size for path in folder.iterdir())
    return {"parameters": sum(p.numel() for p in module.parameters()), "disk": disk}


def bare(options: argparse.Namespace) -> dict[str, Any]:
    """Transcribing, and forward and backward passes whose gradients are dropped at once."""
    import torch

    from genptq_core import load_manifest, load_model
    from genptq_core.profiling.hooks import GradientsOf
    from genptq_core.speech.utterances import load_audio

    model = load_model(str(options.work / options.shapes[0]))
    count = min(PASSES, options.utterances)
    speech = load_manifest(options.speech, count)
    wanted = {unit.parameter for unit in model.units}
    parameters = {n: p for n, p in model.module.named_parameters() if n in wanted}
    loaded = peak_bytes()
    transcribing, passing = 0.0, 0.0
    for utterance in speech.utterances:
        started = time.process_time()
        audio = [load_audio(utterance)]
        with torch.no_grad():
            transcript = model.transcribe(model.encode(audio))[0]
        transcribing += time.process_time() - started
        started = time.process_time()
        with GradientsOf(model.module, parameters, lambda _name, _gradient: None):
            chances = model.log_probs(model.head_inputs(model.encode(audio), [transcript])[0])
            labels = torch.multinomial(chances.detach().exp(), 1)
            (-chances.gather(1, labels).sum()).backward()
        passing += time.process_time() - started
    return {"transcribing": transcribing / count, "passes": passing / count, "loaded": loaded}


def profile(options: argparse.Namespace) -> dict[str, Any]:
    """A profile from nothing, its processor seconds by stage."""
    from genptq_core import load_manifest, load_model
    from genptq_core.options import coded_options, grid_options
    from genptq_core.profile import Settings
    from genptq_core.profiling.compute import compute
    from genptq_core.profiling.footprint import plan_memory
    from genptq_core.storage.locations import cache_folder

    stages: dict[str, float] = {}
    last: list[Any] = [time.process_time(), "loading"]

    def report(progress: Any) -> None:
        now = time.process_time()
        stages[last[1]] = stages.get(last[1], 0.0) + now - last[0]
        # What follows the end of a stage is the next one's.
        last[:] = [now, progress.stage]
        print(f"{progress.stage} {progress.done}/{progress.total}", file=sys.stderr, flush=True)

    ways = grid_options(options.bits, (64,)) + coded_options(options.rates)
    settings = Settings(ways, draws=1)
    model = load_model(str(options.work / options.shapes[0]))
    speech = load_manifest(options.speech, options.utterances)
    limit = int(options.max_memory * 1e9)
    together, estimate = plan_memory(model, speech, settings, cache_folder(), limit)
    report(argparse.Namespace(stage="checking", done=0, total=1))
    started = time.process_time()
    out = _profile_folder(options)
    computed = compute(model, speech, out, settings, report=report, max_memory=limit)
    stages[last[1]] = stages.get(last[1], 0.0) + time.process_time() - last[0]
    return {
        "seconds": time.process_time() - started,
        "resumed": computed.cache_hits > 0,
        "utterances": len(speech),
        "options": len(ways),
        "units": len(computed.profile.units),
        "together": together,
        "estimate": estimate.memory,
        "disk": estimate.disk,
        "stages": stages,
    }


def solve(options: argparse.Namespace) -> dict[str, Any]:
    """One allocation, and the whole front."""
    from genptq_core.allocation.front import predicted_front
    from genptq_core.allocation.problem import problem
    from genptq_core.allocation.solving import solve as allocate
    from genptq_core.profile import load_profile

    started = time.process_time()
    profile = load_profile(_profile_folder(options))
    loading = time.process_time() - started
    task = problem(profile)
    started = time.process_time()
    budget = (task.smallest - task.fixed + int(task.cost.max(axis=1).sum())) // 4 + task.fixed
    chosen = allocate(task, max(budget, task.smallest))
    seconds = time.process_time() - started
    write_bit_map(
        options.work / f"{options.shapes[0]}.json", profile, bit_map(profile, chosen.options)
    )
    started = time.process_time()
    front = predicted_front(task)
    return {
        "loading": loading,
        "seconds": seconds,
        "front": time.process_time() - started,
        "points": len(front.bytes),
    }


def export(options: argparse.Namespace) -> dict[str, Any]:
    """The solved map, written in the native format."""
    from genptq_core.export.export import export as write
    from genptq_core.loading import load_model
    from genptq_core.profile import load_profile

    profile = load_profile(_profile_folder(options))
    chosen = read_bit_map(options.work / f"{options.shapes[0]}.json", profile)
    model = load_model(str(options.work / options.shapes[0]))
    started = time.process_time()
    out = options.work / f"{options.shapes[0]}-export"
    exported = write(profile, chosen, None, out, model)
    shutil.rmtree(out)
    return {"seconds": time.process_time() - started, "bytes": exported.bytes}


def compile_(options: argparse.Namespace) -> dict[str, Any]:
    """The solved map, compiled with few utterances: rounding in order, and steps of tuning."""
    from genptq_core import load_manifest, load_model
    from genptq_core.profile import load_profile
    from genptq_core.rounding.compilation import CompileSettings, compile_map

    profile = load_profile(_profile_folder(options))
    chosen = read_bit_map(options.work / f"{options.shapes[0]}.json", profile)
    model = load_model(str(options.work / options.shapes[0]))
    speech = load_manifest(options.speech, options.utterances)
    settings = CompileSettings(sequential=4, batch=1, held_out=len(speech) // 2, checks=10**6)
    stages: dict[str, float] = {}
    last: list[Any] = [time.process_time(), "beginning"]
    steps = 1

    def report(progress: Any) -> None:
        nonlocal steps
        now = time.process_time()
        stages[last[1]] = stages.get(last[1], 0.0) + now - last[0]
        last[:] = [now, progress.stage]
        steps = progress.total if progress.stage == "tuning" else steps

    started = time.process_time()
    compile_map(model, profile, chosen, speech, settings, report=report)
    return {"seconds": time.process_time() - started, "steps": steps, "stages": stages}


def redraw(options: argparse.Namespace) -> dict[str, Any]:
    """A move of the page's slider, milliseconds of the clock from release to redrawn charts."""
    from benchmarks.dashboard import _shape, browser, moves, server, wait_for_charts

    with tempfile.TemporaryDirectory() as folder:
        name = options.shapes[0]
        profiles = None if name == "tiny" else _shape(name, Path(folder))
        with server(profiles) as page, browser() as driver:
            driver.get(page.address)
            wait_for_charts(driver)
            times = moves(driver, MOVES)
    return {
        "moves": len(times),
        "median": float(np.median(times)),
        "p95": float(np.quantile(times, 0.95)),
        "load": os.getloadavg()[0],
    }


STAGES = {
    "make": make,
    "bare": bare,
    "profile": profile,
    "solve": solve,
    "export": export,
    "compile": compile_,
    "redraw": redraw,
}


def _profile_folder(options: argparse.Namespace) -> Path:
    return Path(options.work) / f"{options.shapes[0]}-profile"


def numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas."""
    return tuple(float(part) for part in text.split(",") if part)


def main() -> None:
    """Run every stage of every shape in its own process; then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path)
    parser.add_argument("--estimate", action="store_true", help="run nothing")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--plot", type=Path, help="where to draw what --report prints")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--utterances", type=int, default=8)
    parser.add_argument("--rates", type=numbers, default=(3.0,))
    parser.add_argument("--bits", type=lambda t: tuple(map(int, numbers(t))), default=(8,))
    parser.add_argument("--max-memory", type=float, default=16.0, help="GB")
    parser.add_argument("--work", type=Path, default=ROOT / ".growth", help="models, profiles")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=list(STAGES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.estimate or options.report:
        from benchmarks import growth_report

        if options.estimate:
            print(growth_report.estimates(options.shapes, options.bits, options.rates))
        else:
            results, before = (json.loads(p.read_text()) for p in (options.results, BEFORE))
            print(growth_report.table(results, before))
            if options.plot:
                growth_report.plot(results, options.plot, before)
        return
    if options.speech is None:
        parser.error("--speech is missing")
    os.environ["GENPTQ_CACHE"] = str(options.work.resolve() / "cache")
    if options.only:
        options.work.mkdir(parents=True, exist_ok=True)
        print(json.dumps({**STAGES[options.only](options), "memory": peak_bytes()}))
        return
    for name in options.shapes:
        for stage in options.stages:
            command = [sys.executable, "-m", "benchmarks.growth", *sys.argv[1:]]
            command += ["--shapes", name, "--only", stage]
            completed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results = json.loads(options.results.read_text()) if options.results.exists() else {}
            figures = json.loads(completed.stdout.strip().splitlines()[-1])
            results.setdefault(name, {})[stage] = figures
            options.results.write_text(json.dumps(results, indent=1) + "\n")
            print(name, stage, json.dumps(figures), flush=True)
    from benchmarks import growth_report

    print(growth_report.table(json.loads(options.results.read_text())))


if __name__ == "__main__":
    main()
