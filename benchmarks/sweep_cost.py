"""What part of measuring many maps is rounding: with each map rounded anew, and with units kept.

    python -m benchmarks.sweep_cost --profile data/profiles/whisper-tiny.en \\
        --speech data/speech/demo/manifest.jsonl

The maps lie evenly over the useful front. Processor seconds are counted on one thread. Rounding is
timed on every few units, at each option that the maps give them, and decoding (with divergence) on
a few utterances with one of the maps; both are multiplied up, rounding by weights and decoding by
utterances. Full precision's transcripts are there already, as after the first map.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from genptq_core import (
    load_model,
    load_profile,
    load_speech,
    predicted_front,
    problem,
    quantized_weights,
)
from genptq_core.allocation.front import WORST_USABLE
from genptq_core.measurement.shards import measure_shard, random_blocks
from genptq_core.models.weights import unit_weight
from genptq_core.quantizers import quantize
from genptq_core.rounding.baseline import baseline
from genptq_core.rounding.rounded import unit_statistics
from genptq_core.speech.utterances import speech_set


def main() -> None:
    """Time rounding and decoding, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, default=Path("data/profiles/whisper-tiny.en"))
    parser.add_argument("--speech", default="data/speech/demo/manifest.jsonl")
    parser.add_argument("--target", default="native")
    parser.add_argument("--maps", type=int, default=20)
    parser.add_argument("--every", type=int, default=5, help="time every so many units")
    parser.add_argument("--utterances", type=int, default=8, help="decode so many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    profile = load_profile(options.profile)
    model = load_model(profile.source.model)
    task = problem(profile, target=options.target)
    front = predicted_front(task)
    useful = np.flatnonzero((front.loss > 0) & (front.loss <= WORST_USABLE))
    sizes = np.linspace(front.bytes[useful[0]], front.bytes[useful[-1]], options.maps)
    rows = [int(useful[np.abs(front.bytes[useful] - size).argmin()]) for size in sizes]
    choices = front.choices[rows]

    parameters = dict(model.module.named_parameters())
    timed, anew, once = 0, 0.0, 0.0
    for index in range(0, len(profile.units), options.every):
        unit = profile.units[index]
        timed += unit.weights
        used, counts = np.unique(choices[:, index], return_counts=True)
        for column, count in zip(used, counts, strict=True):
            option = task.menu[column]
            if option.form == "half":
                continue
            started = time.process_time()
            hessian, importance = unit_statistics(profile, unit)
            quantize(unit_weight(parameters[unit.parameter], unit), hessian, importance, [option])
            seconds = time.process_time() - started
            anew, once = anew + int(count) * seconds, once + seconds
    every = sum(unit.weights for unit in profile.units) / timed
    anew, once = anew * every, once * every

    speech = load_speech(options.speech)
    few = speech_set("few", speech.utterances[:: max(len(speech) // options.utterances, 1)])
    shards = [tuple(few.utterances[i] for i in s) for block in random_blocks(few) for s in block]
    weights = quantized_weights(model, profile, [task.menu[c] for c in choices[len(rows) // 2]])
    for shard in shards:
        baseline(model, shard)
    started = time.process_time()
    for shard in shards:
        measure_shard(model, lambda: weights, "", shard)
    each = (time.process_time() - started) / len(few)

    print(
        f"{options.maps} maps of {profile.source.model}, {options.target}; rounding timed on "
        f"{100 / every:.0f} % of the weights, decoding on {len(few)} of {len(speech)} utterances "
        f"({each:.2f} processor s each)\n"
    )
    print("| utterances | decoding, s | rounding anew, s | part | units kept, s | part |")
    print("| --- " * 6 + "|")
    for count in (len(speech), 200):
        decoding = options.maps * count * each
        print(
            f"| {count} | {decoding:.0f} | {anew:.0f} | {100 * anew / (anew + decoding):.0f} % "
            f"| {once:.0f} | {100 * once / (once + decoding):.0f} % |"
        )


if __name__ == "__main__":
    main()
