"""What a rotated residual stream wins in integers: uniform maps of Whisper, divergence.

    python -m benchmarks.rotation --calibration MANIFEST --unseen MANIFEST

Layer norm commutes with a rotation Q that leaves the vector of ones as it is (Q 1 = 1), once its
scale and shift are folded into the layers that read it (Ashkboos et al., "SliceGPT", 2024, section
3, and "QuaRot", 2024, section 4, have it for RMSNorm). Then x' = Qᵀ x runs through the network in
place of x: readers are stored as W diag(γ) Q, writers as Qᵀ W, and embedding and positions as E Q.
Two small multiplications stay, which a graph must have: Q after the convolutions, and one before
the output layer, whose norm cannot be folded into a tied embedding.

Both models are rounded with GPTQ on the same speech; convolutions, norms, biases and positions stay
as they are. Divergence is from full precision, on its own transcripts.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from genptq_core import SpeechModel, load_manifest, load_model
from genptq_core.models.divergence import divergence, head_states
from genptq_core.models.weights import replaced, unit_weight
from genptq_core.models.whisper import Whisper
from genptq_core.options import Option
from genptq_core.profiling.hooks import SecondMoments
from genptq_core.quantizers import quantize, restored
from genptq_core.rounding.baseline import baseline
from genptq_core.speech.utterances import Utterance, load_audio, speech_set

LAYERS = {"encoder": ("self_attn",), "decoder": ("self_attn", "encoder_attn")}


def rotation(size: int, seed: int) -> Tensor:
    """A random rotation Q with Q 1 = 1: shape (size, size), float64."""
    source = torch.Generator().manual_seed(seed)
    around = torch.randn(size - 1, size - 1, generator=source, dtype=torch.float64)
    inner = torch.block_diag(torch.ones(1, 1, dtype=torch.float64), torch.linalg.qr(around)[0])
    basis = torch.randn(size, size, generator=source, dtype=torch.float64)
    basis[:, 0] = 1
    basis = torch.linalg.qr(basis)[0]  # its first column is the vector of ones, up to its length
    return basis @ inner @ basis.T


class LastNorm(nn.Module):
    """The decoder's last norm in the rotated stream: Qᵀ (diag(γ) Q norm(x') + β)."""

    def __init__(self, norm: nn.LayerNorm, turn: Tensor) -> None:
        super().__init__()
        scale, shift = norm.weight.data.double(), norm.bias.data.double()
        self.register_buffer("matrix", (turn.T @ torch.diag(scale) @ turn).float())
        self.register_buffer("shift", (turn.T @ shift).float())
        self.size = scale.numel()

    def forward(self, stream: Tensor) -> Tensor:
        """States in the embedding's rotated coordinates: (..., features)."""
        normed = nn.functional.layer_norm(stream, (self.size,))
        return normed @ self.matrix.T + self.shift


def fold(norm: nn.LayerNorm, readers: list[nn.Linear]) -> None:
    """Move a norm's scale and shift into the layers that read it.

    Keys have no bias and need none: a constant added to every key changes no attention weight.
    """
    for reader in readers:
        weight = reader.weight.data.double()
        if reader.bias is not None:
            reader.bias.data = (reader.bias.data + weight @ norm.bias.data.double()).float()
        reader.weight.data = (weight * norm.weight.data.double()).float()
    norm.weight.data.fill_(1)
    norm.bias.data.zero_()


def rotated(model: Whisper, seed: int) -> Whisper:
    """The same function, with its residual streams rotated."""
    module: Any = copy.deepcopy(model.module)
    network = module.model
    turn = rotation(module.config.d_model, seed)

    def read(layer: nn.Linear) -> None:
        layer.weight.data = (layer.weight.data.double() @ turn).float()

    def written(layer: nn.Linear) -> None:
        layer.weight.data = (turn.T @ layer.weight.data.double()).float()
        layer.bias.data = (turn.T @ layer.bias.data.double()).float()

    across = [layer.encoder_attn for layer in network.decoder.layers]
    over = [linear for heads in across for linear in (heads.k_proj, heads.v_proj)]
    fold(network.encoder.layer_norm, over)
    for linear in over:
        read(linear)
    for side, attentions in LAYERS.items():
        for layer in getattr(network, side).layers:
            for name in attentions:
                heads = getattr(layer, name)
                own = name == "self_attn"
                readers = [heads.q_proj, *((heads.k_proj, heads.v_proj) if own else ())]
                fold(getattr(layer, f"{name}_layer_norm"), readers)
                for linear in readers:
                    read(linear)
                written(heads.out_proj)
            fold(layer.final_layer_norm, [layer.fc1])
            read(layer.fc1)
            written(layer.fc2)
    for table in (network.decoder.embed_tokens, network.decoder.embed_positions):
        table.weight.data = (table.weight.data.double() @ turn).float()
    network.decoder.layer_norm = LastNorm(network.decoder.layer_norm, turn)
    turned = turn.float()
    network.encoder.layers[0].register_forward_pre_hook(
        lambda _, given: (given[0] @ turned, *given[1:])
    )
    return Whisper(model.name, module, model._features, model._tokenizer)


def moments(model: SpeechModel, heard: list[Utterance]) -> dict[str, Tensor]:
    """Second moments of every unit's inputs."""
    sums: dict[str, Tensor] = {}
    with torch.no_grad():
        for utterance in heard:
            with SecondMoments(model, sums):
                encoded = model.encode([load_audio(utterance)])
            (transcript,) = model.transcribe(encoded)
            with SecondMoments(model, sums):
                model.log_probs(model.head_inputs(encoded, [transcript])[0])
    return sums


def rounded(model: SpeechModel, sums: dict[str, Tensor], option: Option) -> dict[str, Tensor]:
    """Every unit but the convolutions, rounded alike."""
    weights: dict[str, Tensor] = {}
    for unit in model.units:
        if unit.kind == "convolution":
            continue
        parameter = model.module.get_parameter(unit.parameter).detach()
        if unit.parameter not in weights:
            weights[unit.parameter] = parameter.clone()
        (stored,) = quantize(unit_weight(parameter, unit), sums[unit.inputs], None, [option])
        if stored is not None:
            part = weights[unit.parameter][unit.start : unit.stop]
            part.copy_(restored(stored).view_as(part))
    return weights


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="whisper-tiny.en")
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--unseen", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=24)
    parser.add_argument("--bits", type=lambda t: [int(b) for b in t.split(",")], default=[2, 4])
    parser.add_argument("--group-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    plain = load_model(options.model)
    every = load_manifest(options.unseen).utterances
    step = max(1, len(every) // options.utterances)
    speech = speech_set("unseen", list(every[::step][: options.utterances]))
    heard = list(load_manifest(options.calibration).utterances)
    transcripts, states = baseline(plain, speech.utterances)
    audio = [load_audio(u) for u in speech.utterances]
    reference = [plain.log_probs(s).detach() for s in states]

    def loss(model: SpeechModel) -> float:
        changed = [model.log_probs(s).detach() for s in head_states(model, audio, transcripts)]
        return divergence(reference, changed)

    models = {"as it is": plain}
    models |= {f"rotated, seed {s}": rotated(plain, s) for s in range(options.seeds)}
    print("| stream | full precision | " + " | ".join(f"{b} bits" for b in options.bits) + " |")
    print("| --- | --- |" + " --- |" * len(options.bits))
    for name, model in models.items():
        sums = moments(model, heard)
        losses = [loss(model)]
        for bits in options.bits:
            option = Option.parse(f"{bits}/{options.group_size}")
            with replaced(model, rounded(model, sums, option)):
                losses.append(loss(model))
        print(
            f"| {name} | " + " | ".join(f"{abs(value):.5f}" for value in losses) + " |", flush=True
        )


if __name__ == "__main__":
    main()
