"""What each part of the entropy-coded quantizer adds: uniform maps, divergence on unseen speech.

    python -m benchmarks.ablation --profile data/profiles/whisper-tiny.en \\
        --unseen MANIFEST --utterances 24 --rates 2,2.5,3

Every variant takes the same bytes at a rate, everything counted; the integer grids in the
table take at least as many. Norms, biases and positions stay as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from genptq_core import Profile, SpeechModel, load_manifest, load_model, load_profile
from genptq_core.models.divergence import divergence, head_states
from genptq_core.models.weights import replaced, unit_weight
from genptq_core.options import Option
from genptq_core.quantizers import quantize, quantize_coded, restored
from genptq_core.rounding.baseline import baseline
from genptq_core.rounding.rounded import unit_statistics
from genptq_core.speech.utterances import load_audio, speech_set
from genptq_core.targets.native import unit_bytes
from genptq_core.units import Unit

Rounding = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]


def coded(rate: float, moments: bool, filled: bool, rows: bool) -> Rounding:
    """Entropy codes at a rate, with some of their parts."""

    def make(weight: Tensor, hessian: Tensor | None, importance: Tensor | None) -> Tensor:
        codes = quantize_coded(
            weight,
            hessian if moments else None,
            importance if rows else None,
            [rate],
            filled,
        )[0]
        return weight if codes is None else codes.dequantize()

    return make


def grid(option: Option) -> Rounding:
    """Integers in groups."""

    def make(weight: Tensor, hessian: Tensor | None, importance: Tensor | None) -> Tensor:
        codes = quantize(weight, hessian, importance, [option])[0]
        return weight if codes is None else restored(codes)

    return make


def weights_of(model: SpeechModel, profile: Profile, rounding: Rounding) -> dict[str, Tensor]:
    """Every unit rounded alike."""
    weights: dict[str, Tensor] = {}
    for unit in profile.units:
        parameter = model.module.get_parameter(unit.parameter).detach()
        if unit.parameter not in weights:
            weights[unit.parameter] = parameter.clone()
        part = weights[unit.parameter][unit.start : unit.stop]
        hessian, importance = unit_statistics(profile, unit)
        rounded = rounding(unit_weight(parameter, unit), hessian, importance)
        part.copy_(rounded.view_as(part))
    return weights


def stored(units: tuple[Unit, ...], option: Option) -> float:
    """Bits per weight of the units, everything counted."""
    return 8 * sum(unit_bytes(u, option) for u in units) / sum(u.weights for u in units)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--unseen", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=24)
    parser.add_argument("--rates", type=lambda t: [float(r) for r in t.split(",")], default=[2.5])
    options = parser.parse_args()
    profile = load_profile(options.profile)
    model = load_model(profile.source.model)
    every = load_manifest(options.unseen).utterances
    step = max(1, len(every) // options.utterances)
    speech = speech_set("unseen", list(every[::step][: options.utterances]))
    transcripts, states = baseline(model, speech.utterances)
    audio = [load_audio(u) for u in speech.utterances]
    reference = [model.log_probs(s).detach() for s in states]
    print("| variant | bits per weight, everything counted | KL, nats per token |")
    print("| --- | --- | --- |")

    def show(name: str, bits: float, rounding: Rounding) -> None:
        with replaced(model, weights_of(model, profile, rounding)):
            changed_states = head_states(model, audio, transcripts)
            changed = [model.log_probs(s).detach() for s in changed_states]
        print(f"| {name} | {bits:.2f} | {divergence(reference, changed):.4f} |", flush=True)

    for rate in options.rates:
        show("entropy-coded, to the nearest", rate, coded(rate, False, False, False))
        show("and GPTQ", rate, coded(rate, True, False, False))
        show("and columns filled", rate, coded(rate, True, True, False))
        show("and rows by importance", rate, coded(rate, True, True, True))
    for option in profile.menu:
        if option.form == "grid" and option.bits in (3, 4):
            show(f"GPTQ, {option.label}", stored(profile.units, option), grid(option))


if __name__ == "__main__":
    main()
