"""Profiles of larger models, made from a real one: the units of Whisper's other sizes, with scores
drawn from those of the real profile's units of the same kind at the same depth.

    from benchmarks.shapes import shaped
    large = shaped(profile, "large-v3")

Sizes, costs and the number of rows are those of the model; what a layer costs in loss is only
alike in kind. Nothing of the model's size is made.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from genptq_core import Profile, Unit

if TYPE_CHECKING:
    from transformers import WhisperConfig

SHAPES = {
    # name: features, layers of encoder and decoder, mel bands, vocabulary
    "tiny": (384, 4, 80, 51865),
    "base": (512, 6, 80, 51865),
    "small": (768, 12, 80, 51865),
    "medium": (1024, 24, 80, 51865),
    "large-v3": (1280, 32, 128, 51866),
}


SHORT_CONTEXT = 48
"""Tokens of context with which random weights, which write to the limit of half of it, end after
24 tokens, as a short sentence does."""


def configuration(name: str, context: int = 448) -> WhisperConfig:
    """Settings of a Whisper of another size.

    Args:
        name: one of `SHAPES`.
        context: most tokens that it writes.
    """
    from transformers import WhisperConfig

    width, layers, bands, vocabulary = SHAPES[name]
    heads = width // 64
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
        max_target_positions=context,
    )


def shaped(profile: Profile, name: str, seed: int = 0) -> Profile:
    """A profile of a Whisper of another size, with scores drawn from a real one's.

    Args:
        profile: a real profile of a Whisper.
        name: one of `SHAPES`.
        seed: seed of the draw.
    """
    import torch
    from transformers import WhisperForConditionalGeneration

    from genptq_core.models.whisper import units

    with torch.device("meta"):
        module = WhisperForConditionalGeneration(configuration(name))
    count = sum(p.numel() for p in module.parameters())
    positions = module.model.encoder.embed_positions.weight.numel()
    source = dataclasses.replace(
        profile.source, model=f"whisper-{name} in shape", parameters=count, derived=positions
    )
    return _with_units(profile, units(module), source, seed)


def repeated(profile: Profile, count: int, seed: int = 0) -> Profile:
    """A profile of this many units: the real one's repeated, with other scores."""
    chosen = [profile.units[i % len(profile.units)] for i in range(count)]
    named = [dataclasses.replace(u, name=f"{i}.{u.name}") for i, u in enumerate(chosen)]
    kept = profile.source.parameters - sum(u.weights for u in profile.units)
    total = kept + sum(u.weights for u in named)
    source = dataclasses.replace(profile.source, parameters=total)
    return _with_units(profile, tuple(named), source, seed)


def _with_units(profile: Profile, units: tuple[Unit, ...], source: object, seed: int) -> Profile:
    rng = np.random.default_rng(seed)
    units_before, options = profile.projections.shape[2:]
    rows = profile.projections.reshape(-1, units_before, options)
    depth = _depth(profile.units)
    drawn = np.empty((len(rows), len(units), rows.shape[2]), dtype=np.float32)
    scale = np.sqrt(len(profile.units) / len(units))
    for index, (unit, place) in enumerate(zip(units, _depth(units), strict=True)):
        alike = [
            i for i, u in enumerate(profile.units) if (u.part, u.kind) == (unit.part, unit.kind)
        ]
        near = sorted(alike, key=lambda i: abs(depth[i] - place))[:4]
        picked = rows[:, rng.choice(near)]
        # Layers err partly together, as real ones do, and partly each by itself.
        apart = picked[rng.permutation(len(rows))] * rng.choice([-1.0, 1.0], size=(len(rows), 1))
        mixed = 0.8 * picked + 0.6 * apart
        drawn[:, index] = mixed * (scale * np.exp(rng.normal(0, 0.3)))
    shape = (*profile.projections.shape[:2], len(units), rows.shape[2])
    return dataclasses.replace(
        profile,
        source=source,
        units=units,
        projections=drawn.reshape(shape),
        anchors=(),
        sketches={},
        importance={},
        digest=f"{profile.digest[:16]}-{len(units)}-{seed}",
    )


def _depth(units: tuple[Unit, ...]) -> list[float]:
    """How deep in its part each unit lies, from 0 to 1."""
    last: dict[str, int] = {}
    for unit in units:
        last[unit.part] = max(last.get(unit.part, 0), unit.block)
    return [unit.block / max(last[unit.part], 1) for unit in units]
