"""What a profile costs compared with the bare passes: processor time and peak memory, in one run.

    python -m benchmarks.profile_cost --model whisper-tiny.en --speech MANIFEST --utterances 64 \\
        --max-memory 3

The bare passes are what no gradient-based method can do without: the forward pass on the model's
own transcript and one backward pass a label draw, over the same utterances. Each runs in a process
of its own, with an empty cache. Transcribing is counted apart, for both need it. With
`--max-memory` a profile is made within this many gigabytes too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.memory import peak_bytes

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def empty_cache() -> Iterator[Path]:
    """A folder that is the cache, empty at first and gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GENPTQ_CACHE"] = folder
        yield Path(folder)


def bare(options: argparse.Namespace) -> dict[str, float]:
    """Forward and backward passes over the utterances, nothing kept."""
    import torch

    from genptq_core import load_manifest, load_model
    from genptq_core.profiling.hooks import GradientsOf
    from genptq_core.rounding.baseline import baseline
    from genptq_core.speech.utterances import load_audio

    model = load_model(options.model)
    speech = load_manifest(options.speech, options.utterances)
    started = time.process_time()
    with empty_cache():
        transcripts, _ = baseline(model, speech.utterances)
    transcribing = time.process_time() - started
    wanted = {unit.parameter for unit in model.units}
    parameters = {n: p for n, p in model.module.named_parameters() if n in wanted}
    started = time.process_time()
    with GradientsOf(model.module, parameters):
        for utterance, transcript in zip(speech.utterances, transcripts, strict=True):
            encoded = model.encode([load_audio(utterance)])
            chances = model.log_probs(model.head_inputs(encoded, [transcript])[0])
            labels = torch.multinomial(chances.detach().exp(), options.draws, replacement=True)
            for draw in range(options.draws):
                loss = -chances.gather(1, labels[:, draw : draw + 1]).sum()
                torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
    return {
        "seconds": time.process_time() - started,
        "transcribing": transcribing,
        "memory": peak_bytes() / 1e6,
    }


def profile(options: argparse.Namespace) -> dict[str, float]:
    """A profile from nothing, its seconds by stage."""
    from genptq_core import Settings, load_manifest, load_model
    from genptq_core.profiling.compute import compute

    stages: dict[str, float] = {}
    last = [time.process_time(), "loading"]

    def report(progress: object) -> None:
        now = time.process_time()
        stages[str(last[1])] = stages.get(str(last[1]), 0.0) + now - float(last[0])
        last[:] = [now, progress.stage]  # type: ignore[attr-defined]

    model = load_model(options.model)
    speech = load_manifest(options.speech, options.utterances)
    settings = dataclasses.replace(Settings(), draws=options.draws)
    started = last[0] = time.process_time()
    limit = int(options.max_memory * 1e9) if options.max_memory else None
    with empty_cache() as folder:
        out = folder / "profile"
        computed = compute(model, speech, out, settings, report=report, max_memory=limit).profile
    stages[str(last[1])] = stages.get(str(last[1]), 0.0) + time.process_time() - float(last[0])
    largest = max(unit.weights for unit in computed.units) * len(settings.options) * 2
    return {
        "seconds": time.process_time() - started,
        "memory": peak_bytes() / 1e6,
        "largest_options": largest / 1e6,
        **{f"stage {name}": value for name, value in stages.items()},
    }


def main() -> None:
    """Run each in its own process, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="whisper-tiny.en")
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--max-memory", type=float, metavar="GB", help="a profile within this too")
    parser.add_argument("--only", choices=["bare", "profile"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps({"bare": bare, "profile": profile}[options.only](options)))
        return
    print(f"{options.utterances} utterances, {options.draws} label draws; processor seconds")
    common = ["--model", options.model, "--speech", str(options.speech)]
    common += ["--utterances", str(options.utterances), "--draws", str(options.draws)]
    plain = alone([*common, "--only", "bare"])
    print(f"bare passes: {plain['seconds']:.0f} s, peak {plain['memory']:.0f} MB")
    print(f"transcribing them: {plain['transcribing']:.0f} s", flush=True)
    show(alone([*common, "--only", "profile"]), plain, "profile")
    if options.max_memory:
        limit = ["--max-memory", str(options.max_memory)]
        whole = alone([*common, *limit, "--only", "profile"])
        show(whole, plain, f"within {options.max_memory:g} GB")


def alone(arguments: list[str]) -> dict[str, float]:
    """One part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.profile_cost", *arguments]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    figures: dict[str, float] = json.loads(completed.stdout.strip().splitlines()[-1])
    return figures


def show(whole: dict[str, float], plain: dict[str, float], name: str) -> None:
    """Print what a profile took, compared with the bare passes."""
    both = plain["seconds"] + plain["transcribing"]
    print(
        f"{name}: {whole['seconds']:.0f} s ({whole['seconds'] / plain['seconds']:.2f} times, "
        f"{whole['seconds'] / both:.2f} times with transcribing), peak {whole['memory']:.0f} MB; "
        f"the largest unit's options take {whole['largest_options']:.0f} MB"
    )
    for stage, value in whole.items():
        if stage.startswith("stage "):
            print(f"  {stage.removeprefix('stage ')}: {value:.0f} s", flush=True)


if __name__ == "__main__":
    main()
