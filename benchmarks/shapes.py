"""Profiles of larger models, made from a real one: the units of Whisper's other sizes, with scores
drawn from those of the real profile's units of the same kind at the same depth.

    from benchmarks.shapes import shaped
    large = shaped(profile, "large-v3")

Sizes, costs and the number of rows are those of the model; what a layer costs in loss is only
alike in kind. Nothing of the model's size is made.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from genptq_core import Profile, Unit

SHAPES = {
    # name: features, layers a side, mel bands, vocabulary
    "base": (512, 6, 80, 51865),
    "small": (768, 12, 80, 51865),
    "medium": (1024, 24, 80, 51865),
    "large-v3": (1280, 32, 128, 51866),
}


def shaped(profile: Profile, name: str, seed: int = 0) -> Profile:
    """A profile of a Whisper of another size, with scores drawn from a real one's.

    Args:
        profile: a real profile of a Whisper.
        name: one of `SHAPES`.
        seed: seed of the draw.
    """
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    from genptq_core.models.whisper import units

    width, layers, mels, vocabulary = SHAPES[name]
    config = WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        num_mel_bins=mels,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        eos_token_id=50257,
    )
    with torch.device("meta"):
        module = WhisperForConditionalGeneration(config)
    count = sum(p.numel() for p in module.parameters())
    positions = module.model.encoder.embed_positions.weight.numel()
    source = dataclasses.replace(
        profile.source, model=f"whisper-{name} in shape", parameters=count, derived=positions
    )
    return _with_units(profile, units(module), source, seed)


def repeated(profile: Profile, count: int, seed: int = 0) -> Profile:
    """A profile of so many units: the real one's again and again, with other scores."""
    chosen = [profile.units[i % len(profile.units)] for i in range(count)]
    named = [dataclasses.replace(u, name=f"{i}.{u.name}") for i, u in enumerate(chosen)]
    kept = profile.source.parameters - sum(u.weights for u in profile.units)
    total = kept + sum(u.weights for u in named)
    source = dataclasses.replace(profile.source, parameters=total)
    return _with_units(profile, tuple(named), source, seed)


def _with_units(profile: Profile, units: tuple[Unit, ...], source: object, seed: int) -> Profile:
    rng = np.random.default_rng(seed)
    rows = profile.projections.reshape(-1, *profile.projections.shape[2:])
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
