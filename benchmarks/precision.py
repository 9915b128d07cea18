"""What bf16 changes in the scores: gradients along rounding errors, against float32, same labels.

    python -m benchmarks.precision --speech MANIFEST --utterances 8

Errors are those of plain rounding to `--bits` in groups of 64, so nothing has to be profiled.
Both passes run on the processor, under autocast for bf16; weights and features stay float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def shortened(module: nn.Module) -> Iterator[None]:
    """Whisper's matrices in bf16; not what is before them, for features need float32."""
    parts = [module.get_submodule(n) for n in ("model.encoder", "model.decoder", "proj_out")]
    for part in parts:
        part.forward = torch.autocast("cpu", torch.bfloat16)(part.forward)
    try:
        yield
    finally:
        for part in parts:
            del part.forward


def main() -> None:
    """Run both over the same utterances, and print how far they are apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="whisper-tiny.en")
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=8)
    parser.add_argument("--bits", type=int, default=4)
    options = parser.parse_args()

    from genptq_core import load_manifest, load_model
    from genptq_core.models.weights import unit_weight
    from genptq_core.profiling.hooks import GradientsOf
    from genptq_core.quantizers import fit_grid, round_to_nearest
    from genptq_core.speech.utterances import load_audio

    model = load_model(options.model)
    speech = load_manifest(options.speech, options.utterances)
    named = dict(model.module.named_parameters())
    parameters = {unit.parameter: named[unit.parameter] for unit in model.units}
    errors: list[Tensor] = []
    for unit in model.units:
        weight = unit_weight(named[unit.parameter], unit)
        rounded = round_to_nearest(weight, fit_grid(weight, options.bits, 64, None)).dequantize()
        errors.append((rounded - weight).view(-1))
    projections: dict[bool, list[list[float]]] = {False: [], True: []}
    seconds = {False: 0.0, True: 0.0}
    for utterance in speech.utterances:
        audio = [load_audio(utterance)]
        with torch.no_grad():
            transcript = model.transcribe(model.encode(audio))[0]
        labels: Tensor | None = None
        for short in (False, True):
            started = time.process_time()
            with GradientsOf(model.module, parameters):
                with shortened(model.module) if short else nullcontext():
                    states = model.head_inputs(model.encode(audio), [transcript])[0]
                    chances = model.log_probs(states).float()
                if labels is None:
                    generator = torch.Generator().manual_seed(0)
                    labels = torch.multinomial(chances.detach().exp(), 1, generator=generator)
                loss = -chances.gather(1, labels).sum()
                slopes = torch.autograd.grad(loss, list(parameters.values()))
            seconds[short] += time.process_time() - started
            slope_of = dict(zip(parameters, slopes, strict=True))
            projections[short].append(
                [
                    float(slope_of[u.parameter][u.start : u.stop].reshape(-1).float() @ error)
                    for u, error in zip(model.units, errors, strict=True)
                ]
            )
    full, half = np.array(projections[False]), np.array(projections[True])  # (utterances, units)
    apart = np.sqrt(((half - full) ** 2).sum(axis=0) / (full**2).sum(axis=0))
    score = (half**2).sum(axis=0) / (full**2).sum(axis=0) - 1
    full_ranks, half_ranks = (np.argsort(np.argsort((v**2).sum(axis=0))) for v in (full, half))
    order = np.corrcoef(full_ranks, half_ranks)[0, 1]
    whole = (half.sum(axis=1) ** 2).sum() / (full.sum(axis=1) ** 2).sum() - 1
    print(
        f"{options.model}, {len(speech)} utterances, {len(model.units)} units, {options.bits} bit"
    )
    print(
        f"projections apart, rms over utterances: median unit {np.median(apart):.1%}, "
        f"worst {apart.max():.1%}"
    )
    print(
        f"a unit's predicted loss: median change {np.median(np.abs(score)):.1%}, "
        f"largest {np.abs(score).max():.1%}; rank correlation {order:.4f}"
    )
    print(f"predicted loss of the uniform map: {whole:+.1%}")
    print(
        f"processor seconds of the passes: float32 {seconds[False]:.1f}, bf16 {seconds[True]:.1f}"
    )


if __name__ == "__main__":
    main()
