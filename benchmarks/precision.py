"""What bf16 changes in the scores: gradients along rounding errors, against float32, same labels.

    python -m benchmarks.precision --speech MANIFEST --utterances 8

Errors are those of plain rounding to `--bits` in groups of 64, so nothing has to be profiled.
*Backward* is what a profile does where the processor multiplies bf16: matrices of the backward
pass are rounded to it. *Both* does so in the forward pass too. *Autocast* keeps activations in
bf16. Weights and features stay float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from genptq_core.models.device import bf16_products


@contextmanager
def shortened(module: nn.Module) -> Iterator[None]:
    """Whisper's activations in bf16; not what is before them, for features need float32."""
    parts = [module.get_submodule(n) for n in ("model.encoder", "model.decoder", "proj_out")]
    for part in parts:
        part.forward = torch.autocast("cpu", torch.bfloat16)(part.forward)
    try:
        yield
    finally:
        for part in parts:
            del part.forward


def _plain(_: nn.Module) -> AbstractContextManager[None]:
    return nullcontext()


def _products(_: nn.Module) -> AbstractContextManager[None]:
    return bf16_products()


WAYS = {
    "float32": (_plain, _plain),
    "backward": (_plain, _products),
    "both": (_products, _products),
    "autocast": (shortened, _plain),
}
"""What is around the forward and the backward pass, by name."""


def main() -> None:
    """Run all over the same utterances, and print how far they are from float32."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="whisper-tiny.en")
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=8)
    parser.add_argument("--draws", type=int, default=4)
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
    projections: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    for utterance in speech.utterances:
        audio = [load_audio(utterance)]
        with torch.no_grad():
            transcript = model.transcribe(model.encode(audio))[0]
        labels: Tensor | None = None
        for name, (forward, backward) in WAYS.items():
            started = time.process_time()
            with GradientsOf(model.module, parameters):
                with forward(model.module):
                    states = model.head_inputs(model.encode(audio), [transcript])[0]
                    chances = model.log_probs(states).float()
                if labels is None:
                    generator = torch.Generator().manual_seed(0)
                    likely = chances.detach().exp()
                    labels = torch.multinomial(
                        likely, options.draws, replacement=True, generator=generator
                    )
                for draw in range(options.draws):
                    loss = -chances.gather(1, labels[:, draw : draw + 1]).sum()
                    with backward(model.module):
                        slopes = torch.autograd.grad(
                            loss, list(parameters.values()), retain_graph=True
                        )
                    slope_of = dict(zip(parameters, slopes, strict=True))
                    projections[name].append(
                        [
                            float(slope_of[u.parameter][u.start : u.stop].reshape(-1).float() @ e)
                            for u, e in zip(model.units, errors, strict=True)
                        ]
                    )
            seconds[name] += time.process_time() - started
    print(
        f"{options.model}, {len(speech)} utterances, {options.draws} labels, "
        f"{len(model.units)} units, {options.bits} bit"
    )
    first, *others = WAYS
    for name in others:
        apart(name, np.array(projections[first]), np.array(projections[name]))
        print(f"  processor seconds: {seconds[name] / seconds[first]:.2f} times float32's")


def apart(name: str, full: np.ndarray, short: np.ndarray) -> None:
    """Print how far projections, shape (utterances * labels, units), are from float32's."""
    far = np.sqrt(((short - full) ** 2).sum(axis=0) / (full**2).sum(axis=0))
    score = np.abs((short**2).sum(axis=0) / (full**2).sum(axis=0) - 1)
    full_ranks, short_ranks = (np.argsort(np.argsort((v**2).sum(axis=0))) for v in (full, short))
    order = np.corrcoef(full_ranks, short_ranks)[0, 1]
    whole = (short.sum(axis=1) ** 2).sum() / (full.sum(axis=1) ** 2).sum() - 1
    print(
        f"{name}: projections apart, rms, median unit {np.median(far):.1%}, worst {far.max():.1%}"
    )
    print(
        f"  a unit's predicted loss: median change {np.median(score):.1%}, nine of ten within "
        f"{np.quantile(score, 0.9):.1%}, largest {score.max():.1%}; rank correlation {order:.4f}"
    )
    print(f"  predicted loss of the uniform map: {whole:+.1%}")


if __name__ == "__main__":
    main()
