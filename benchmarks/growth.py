"""How time and memory grow from tiny to large-v3: profile, solve, front, export, side by side.

    python benchmarks/growth.py --speech MANIFEST --shapes tiny base small medium large-v3

Models have OpenAI's shapes and random weights; they are made on disk, in shards of float16. Each
stage runs in a process of its own, on one core, and its processor time and peak memory are written
to `benchmarks/results/growth.json` as soon as it ends. Few options are rounded (`--rates`,
`--bits`) and one label an utterance is drawn: rounding is reported an option.

    python benchmarks/growth.py --estimate

prints what a profile of each would take, by the program's own estimate; nothing is run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.memory import peak_bytes

ROOT = Path(__file__).resolve().parent.parent

RESULTS = ROOT / "benchmarks" / "results" / "growth.json"

# Width, layers of encoder and decoder, heads, mel bands, vocabulary.
SHAPES = {
    "tiny": (384, 4, 6, 80, 51865),
    "base": (512, 6, 8, 80, 51865),
    "small": (768, 12, 12, 80, 51865),
    "medium": (1024, 24, 16, 80, 51865),
    "large-v3": (1280, 32, 20, 128, 51866),
}
# Random weights write to the limit, which is half of this: 24 tokens, as of a short sentence.
CONTEXT = 48
PASSES = 2  # utterances of the bare passes


def make(options: argparse.Namespace) -> dict[str, Any]:
    """Write a model of random weights, unless it is there."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    from genptq_core.models import bundled

    folder = options.work / options.shapes[0]
    bands = SHAPES[options.shapes[0]][3]
    small, _, tokenizer = bundled.load()
    config = _configuration(options.shapes[0])
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    module = WhisperForConditionalGeneration(config)
    module.generation_config = small.generation_config
    module.save_pretrained(folder, max_shard_size="500MB")
    WhisperFeatureExtractor(feature_size=bands).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    disk = sum(path.stat().st_size for path in folder.iterdir())
    return {"parameters": sum(p.numel() for p in module.parameters()), "disk": disk}


def _configuration(name: str) -> Any:
    from transformers import WhisperConfig

    width, layers, heads, bands, vocabulary = SHAPES[name]
    return WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=bands,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        bos_token_id=50256,
        eos_token_id=50256,
        pad_token_id=50256,
        decoder_start_token_id=50257,
        max_target_positions=CONTEXT,
    )


def estimates(options: argparse.Namespace) -> str:
    """What a profile of each shape would take with no gradient held, as Markdown."""
    import torch
    from transformers import WhisperForConditionalGeneration

    from genptq_core.footprint import footprint, positions
    from genptq_core.models.whisper import units
    from genptq_core.options import coded_options, grid_options
    from genptq_core.profile import Settings

    ways = grid_options(options.bits, (64,)) + coded_options(options.rates)
    lines = ["| shape | parameters | weights | activations | peak | disk, two options | usual |"]
    lines.append("| --- |" + " ---: |" * 6)
    for name in options.shapes:
        with torch.device("meta"):
            module = WhisperForConditionalGeneration(_configuration(name))
        found = units(module)
        count = sum(p.numel() for p in module.parameters())
        where = positions(argparse.Namespace(module=module, units=found), 30.0)
        few = footprint(count, found, where, Settings(ways, draws=1), 0)
        usual = footprint(count, found, where, Settings(), 0)
        sizes = [few.model, few.activations, few.memory, few.disk, usual.disk]
        cells = " | ".join(f"{size / 1e9:.1f} GB" for size in sizes)
        lines.append(f"| {name} | {count / 1e6:.0f} M | {cells} |")
    return "\n".join(lines)


def bare(options: argparse.Namespace) -> dict[str, Any]:
    """Transcribing, and forward and backward passes whose gradients are dropped at once."""
    import torch

    from genptq_core import load_manifest, load_model
    from genptq_core.instruments import GradientsOf
    from genptq_core.speech import load_audio

    model = load_model(str(options.work / options.shapes[0]))
    count = min(PASSES, options.utterances)
    speech = load_manifest(options.speech, count)
    wanted = {unit.parameter for unit in model.units}
    parameters = {n: p for n, p in model.module.named_parameters() if n in wanted}
    loaded = peak_bytes()
    heard, passed = 0.0, 0.0
    for utterance in speech.utterances:
        started = time.process_time()
        audio = [load_audio(utterance)]
        with torch.no_grad():
            transcript = model.transcribe(model.encode(audio))[0]
        heard += time.process_time() - started
        started = time.process_time()
        with GradientsOf(model.module, parameters, lambda _name, _gradient: None):
            chances = model.log_probs(model.head_inputs(model.encode(audio), [transcript])[0])
            labels = torch.multinomial(chances.detach().exp(), 1)
            (-chances.gather(1, labels).sum()).backward()
        passed += time.process_time() - started
    return {"transcribing": heard / count, "passes": passed / count, "loaded": loaded}


def profile(options: argparse.Namespace) -> dict[str, Any]:
    """A profile from nothing, its processor seconds by stage."""
    from genptq_core import load_manifest, load_model
    from genptq_core.files import cache_folder
    from genptq_core.footprint import planned
    from genptq_core.options import coded_options, grid_options
    from genptq_core.profile import Settings
    from genptq_core.sensitivity import compute

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
    together, estimate = planned(model, speech, settings, cache_folder(), limit)
    report(argparse.Namespace(stage="checking", done=0, total=1))
    started = time.process_time()
    out = _profile_folder(options)
    done = compute(model, speech, out, settings, report, max_memory=limit)
    stages[last[1]] = stages.get(last[1], 0.0) + time.process_time() - last[0]
    return {
        "seconds": time.process_time() - started,
        "resumed": done.cache_hits > 0,
        "utterances": len(speech),
        "options": len(ways),
        "units": len(done.profile.units),
        "together": together,
        "estimate": estimate.memory,
        "disk": estimate.disk,
        "stages": stages,
    }


def solve(options: argparse.Namespace) -> dict[str, Any]:
    """One allocation, and the whole front."""
    from genptq_core import bitmap
    from genptq_core.allocation import problem
    from genptq_core.allocation import solve as allocate
    from genptq_core.front import predicted_front
    from genptq_core.profile import load_profile

    started = time.process_time()
    found = load_profile(_profile_folder(options))
    loading = time.process_time() - started
    task = problem(found)
    started = time.process_time()
    budget = (task.smallest - task.kept + int(task.cost.max(axis=1).sum())) // 4 + task.kept
    chosen = allocate(task, max(budget, task.smallest))
    one = time.process_time() - started
    bitmap.write(
        options.work / f"{options.shapes[0]}.json", found, bitmap.bit_map(found, chosen.options)
    )
    started = time.process_time()
    front = predicted_front(task)
    return {
        "loading": loading,
        "seconds": one,
        "front": time.process_time() - started,
        "points": len(front.bytes),
    }


def export(options: argparse.Namespace) -> dict[str, Any]:
    """The solved map, written in the native format."""
    from genptq_core import bitmap
    from genptq_core.export import export as write
    from genptq_core.models import load_model
    from genptq_core.profile import load_profile

    found = load_profile(_profile_folder(options))
    chosen = bitmap.read(options.work / f"{options.shapes[0]}.json", found)
    model = load_model(str(options.work / options.shapes[0]))
    started = time.process_time()
    out = options.work / f"{options.shapes[0]}-export"
    made = write(found, chosen, None, out, model)
    shutil.rmtree(out)
    return {"seconds": time.process_time() - started, "bytes": made.bytes}


STAGES = {"make": make, "bare": bare, "profile": profile, "solve": solve, "export": export}


def _profile_folder(options: argparse.Namespace) -> Path:
    return Path(options.work) / f"{options.shapes[0]}-profile"


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown, with exponents over the parameters fitted on a log-log scale."""
    names = [n for n in SHAPES if "make" in results.get(n, {})]
    rows: dict[str, dict[str, float]] = {}

    def put(label: str, name: str, value: float) -> None:
        rows.setdefault(label, {})[name] = value

    for name in names:
        found = results[name]
        if "bare" in found:
            put("forward and backward pass, s an utterance", name, found["bare"]["passes"])
            put("transcribing, s an utterance", name, found["bare"]["transcribing"])
            put("peak of the passes, GB", name, found["bare"]["memory"] / 1e9)
        if "profile" in found:
            whole, count = found["profile"], found["profile"]["utterances"]
            stages = whole["stages"]
            put("profile: gradients, s an utterance", name, stages.get("gradients", 0) / count)
            put("profile: listening, s an utterance", name, stages.get("listening", 0) / count)
            put("profile: what rows matter, s an utterance", name, stages.get("rows", 0) / count)
            put("profile: anchors, s an utterance", name, stages.get("anchors", 0) / count)
            put("profile: sketching, s", name, stages.get("sketching", 0))
            per_option = stages.get("rounding", 0) / whole["options"]
            put("profile: rounding, s an option", name, per_option)
            put("profile: peak, GB", name, whole["memory"] / 1e9)
            put("profile: estimated peak, GB", name, whole["estimate"] / 1e9)
        if "solve" in found:
            put("solve, s", name, found["solve"]["seconds"])
            put("front, s", name, found["solve"]["front"])
        if "export" in found:
            put("export, s", name, found["export"]["seconds"])
            put("export: peak, GB", name, found["export"]["memory"] / 1e9)
    sizes = {name: results[name]["make"]["parameters"] for name in names}
    heads = [f"{name} ({sizes[name] / 1e6:.0f} M)" for name in names]
    lines = ["| | " + " | ".join(heads) + " | exponent |", "| --- |" + " ---: |" * (len(names) + 1)]
    for label, values in rows.items():
        cells = [f"{values[n]:.3g}" if n in values else "" for n in names]
        known = [(math.log(sizes[n]), math.log(v)) for n, v in values.items() if v > 0]
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {_exponent(known)} |")
    return "\n".join(lines)


def _exponent(points: list[tuple[float, float]]) -> str:
    """The slope of the least-squares line."""
    if len(points) < 3:
        return ""
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    above = sum((a - x) * (b - y) for a, b in points)
    return f"{above / sum((a - x) ** 2 for a, _ in points):.2f}"


def numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas."""
    return tuple(float(part) for part in text.split(",") if part)


def main() -> None:
    """Run every stage of every shape in its own process; then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", type=Path)
    parser.add_argument("--estimate", action="store_true", help="run nothing")
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
    if options.estimate:
        print(estimates(options))
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
            command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
            command += ["--shapes", name, "--only", stage]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results = json.loads(options.results.read_text()) if options.results.exists() else {}
            found = json.loads(done.stdout.strip().splitlines()[-1])
            results.setdefault(name, {})[stage] = found
            options.results.write_text(json.dumps(results, indent=1) + "\n")
            print(name, stage, json.dumps(found), flush=True)
    print(table(json.loads(options.results.read_text())))


if __name__ == "__main__":
    main()
