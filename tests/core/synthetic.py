"""Small made-up profiles, problems and measurements, quick enough for hundreds per test.

    profile(seed, units=8, bits=(2, 3, 4, 6, 8))   a `Profile` with Whisper's kinds of units
    profile(seed, group_size=(8, 4), rates=(2.5,)) the same with more ways to store each of them
    native_bytes(profile)                          bytes of its units at every option
    native_kept(profile)                           bytes of the parameters that are in no unit
    profile_of(model)                              a profile of a loaded model
    problem(seed, ...)                             its `Problem`, with constraints, target and so on
    measured(profile, widths, ...)                 a `Measured` record of a map

Everything follows from the seed. Projections are Gaussian with a part shared between units, times
a sensitivity per unit, and fall with the width as rounding errors do: small groups a little below
large ones, entropy codes below both.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from genptq_core.allocation.constraints import Constraints
from genptq_core.allocation.predicted_loss import SHRINKAGE, QuadraticLoss, quadratic_loss
from genptq_core.allocation.problem import Problem
from genptq_core.allocation.problem import problem as make_problem
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.figures import figures_of
from genptq_core.measurement.records import Measured
from genptq_core.models import SpeechModel
from genptq_core.models.weights import parameter_count
from genptq_core.options import (
    UNQUANTIZED,
    USUAL_GROUP,
    Option,
    block_options,
    coded_options,
    grid_options,
)
from genptq_core.profile import Anchor, Profile, Settings, Source
from genptq_core.storage.digests import sha256, sha256_array
from genptq_core.targets import TARGETS, fixed_bytes
from genptq_core.targets.native import unit_bytes
from genptq_core.units import Unit

BITS = (2, 3, 4, 6, 8)


def native_bytes(of: Profile) -> np.ndarray:
    """Native bytes of every unit at every option of the menu, shape (units, options).

    They are 0 for block types, which it does not hold.
    """
    return np.array([[0 if o.block else unit_bytes(unit, o) for o in of.menu] for unit in of.units])


def native_kept(of: Profile) -> int:
    """Native bytes of the parameters that are in no unit."""
    return fixed_bytes(TARGETS["native"], of)


def units(count: int, width: int = 16) -> tuple[Unit, ...]:
    """Units of a Whisper `width` wide: encoder, decoder, and rows of the embedding.

    A quarter of them, rounded down, are row blocks of the embedding, each thrice the one before;
    the encoder gets half of the rest, rounded up.
    """
    blocks = count // 4
    encoder = (count - blocks + 1) // 2
    listed = [_layer("encoder", index, width) for index in range(encoder)]
    listed += [_layer("decoder", index, width) for index in range(count - blocks - encoder)]
    start = 0
    for block in range(blocks):
        stop = start + width * 3**block
        name = "model.decoder.embed_tokens.weight"
        listed.append(
            Unit(
                name=f"{name}@{start}:{stop}",
                parameter=name,
                start=start,
                stop=stop,
                columns=width,
                part="embedding",
                kind="embedding",
                block=block,
                inputs="proj_out",
            )
        )
        start = stop
    return tuple(listed)


def _layer(part: str, index: int, width: int) -> Unit:
    """The `index`-th weight of a part, in the order of Whisper's blocks."""
    kinds = [("attention", f"self_attn.{n}_proj", 1, 1) for n in ("k", "v", "q", "out")]
    if part == "decoder":
        kinds += [("cross-attention", f"encoder_attn.{n}_proj", 1, 1) for n in ("k", "q")]
    kinds += [("feed-forward", "fc1", 4, 1), ("feed-forward", "fc2", 1, 4)]
    block, place = divmod(index, len(kinds))
    kind, module, tall, wide = kinds[place]
    name = f"model.{part}.layers.{block}.{module}"
    shared = module in ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj")
    return Unit(
        name=f"{name}.weight",
        parameter=f"{name}.weight",
        start=0,
        stop=width * tall,
        columns=width * wide,
        part=part,
        kind=kind,
        block=block,
        inputs=f"model.{part}.layers.{block}.self_attn.q_proj" if shared else name,
    )


def profile(
    seed: int = 0,
    *,
    units: int | Sequence[Unit] = 8,
    bits: Sequence[int] = BITS,
    rates: Sequence[float] = (),
    utterances: int = 6,
    draws: int = 2,
    width: int = 16,
    group_size: int | Sequence[int] = 8,
    blocks: Sequence[str] = (),
    scale: float = 1.0,
    spread: float = 1.5,
    shared: float = 0.4,
    anchors: bool = True,
) -> Profile:
    """A made-up profile.

    Args:
        seed: all else equal, equal seeds make equal profiles.
        units: how many, or the units themselves.
        bits: widths of integer grids offered; 16 joins them in the menu.
        rates: rates of entropy codes offered.
        utterances, draws: rows of the projections.
        width: columns of most units.
        group_size: columns that share a scale, one or several.
        blocks: block types offered; they divide rows from a `width` of 32 on.
        scale: factor on all sensitivities; 0 makes every option free of loss.
        spread: standard deviation of the logarithm of the units' sensitivities.
        shared: the part of the projections that all units have in common, 0 to 1.
        anchors: whether to add measured losses, one per group and coarse width, and uniform maps.
    """
    rng = np.random.default_rng(seed)
    made = globals()["units"](units, width) if isinstance(units, int) else tuple(units)
    sizes = (group_size,) if isinstance(group_size, int) else tuple(group_size)
    options = grid_options(bits, sizes) + coded_options(rates) + block_options(blocks)
    shape = (utterances, draws, len(made), len(options))
    common = rng.normal(size=(utterances, draws, 1, 1))
    own = rng.normal(size=shape)
    sensitivity = np.exp(rng.normal(scale=spread, size=(len(made), 1)))
    decay = np.array([_decay(option, min(sizes)) for option in options])
    lengths = rng.integers(5, 60, size=utterances)
    # About a nat per token with 2 bits everywhere, and a quarter of that for each further bit.
    weights = np.array([[u.weights] for u in made])
    size = 4 * scale * np.sqrt(weights / weights.sum() * lengths.mean())
    mixed = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    projections = (size * mixed * sensitivity * decay).astype(np.float32)
    usual = USUAL_GROUP if USUAL_GROUP in sizes else max(sizes)
    plain = [option for option in options if not option.block]
    tried = [option for option in plain if option.group_size in (0, usual)]
    maps = [
        tuple(option if u.group == group else UNQUANTIZED for u in made)
        for group in dict.fromkeys(u.group for u in made)
        for option in tried
        if option.bits <= 3
    ] + [tuple(option for _ in made) for option in tried]
    flat = projections.astype(np.float64).reshape(-1, len(made), len(options))
    known: list[Anchor] = []
    for wanted in dict.fromkeys(maps) if anchors else ():
        used = [(i, options.index(o)) for i, o in enumerate(wanted) if o != UNQUANTIZED]
        total = sum(flat[:, i, column] for i, column in used)
        loss = 0.5 * float((total**2).sum()) / (draws * float(lengths.sum()))
        known.append(Anchor(wanted, loss * float(rng.uniform(1.0, 4.0))))
    inputs = dict.fromkeys((u.inputs, u.columns) for u in made)
    parameters = sum(u.weights for u in made) + 100
    return Profile(
        source=Source(
            model="synthetic",
            family="whisper",
            model_digest=sha256(f"model {len(made)} {width}".encode()),
            parameters=parameters,
            derived=20,
            calibration="synthetic",
            calibration_digest=sha256(f"speech {seed}".encode()),
            utterances=utterances,
            tokens=int(lengths.sum()),
        ),
        settings=Settings(options, draws=draws, seed=seed, rank=4),
        units=made,
        projections=projections,
        lengths=lengths,
        anchors=tuple(known),
        sketches={name: _sketch(columns, rng) for name, columns in inputs},
        importance={},
        seconds=1.0,
        digest=sha256_array(projections),
    )


def profile_of(model: SpeechModel, seed: int = 0, **ways: Any) -> Profile:
    """A made-up profile of a loaded model, so that its maps can be rounded and exported."""
    made = profile(seed, units=model.units, anchors=False, **ways)
    source = dataclasses.replace(
        made.source,
        model=model.name,
        family=model.family,
        model_digest=model.digest,
        parameters=parameter_count(model.module),
        derived=sum(tensor.numel() for tensor in model.derived.values()),
    )
    return dataclasses.replace(made, source=source)


def _decay(option: Option, smallest: int) -> float:
    """How rounding errors fall with bits; doubling the groups costs a tenth of a bit."""
    if option.form == "coded":
        return float(2.0 ** -(option.bits + 0.5))
    wide = option.group_size / smallest if option.group_size else 1
    return float(2.0 ** -(option.bits - 0.1 * np.log2(wide)))


def _sketch(columns: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    rank = min(4, columns)
    return {
        "factor": rng.integers(-127, 128, size=(columns, rank)).astype(np.int8),
        "scale": rng.uniform(0.001, 0.01, size=rank).astype(np.float32),
        "diagonal": rng.uniform(0.1, 1.0, size=columns).astype(np.float32),
    }


def problem(
    seed: int = 0,
    *,
    constraints: Constraints | None = None,
    shrinkage: float = SHRINKAGE,
    target: str | None = None,
    **profile_settings: Any,
) -> Problem:
    """The allocation problem of a made-up profile; takes all of `profile`'s arguments."""
    made = profile(seed, **profile_settings)
    return make_problem(made, constraints, quadratic_loss(made, shrinkage), target)


def raw_problem(
    projections: np.ndarray,
    cost: np.ndarray,
    *,
    allowed: np.ndarray | None = None,
    shrinkage: float = 0.0,
    fixed: int = 0,
) -> Problem:
    """A problem from any projections (rows, units, options) and costs (units, options)."""
    count, options = cost.shape
    return Problem(
        menu=coded_options(range(1, options + 1)),
        cost=np.asarray(cost, dtype=np.int64),
        fixed=fixed,
        weights=np.arange(1, count + 1, dtype=np.int64),
        loss=QuadraticLoss(np.asarray(projections, dtype=np.float64), shrinkage),
        allowed=np.ones(cost.shape, dtype=bool) if allowed is None else allowed,
        parameters=10 * count,
        group=np.arange(count),
        members=np.zeros((0, count), dtype=bool),
        most=np.zeros(0, dtype=np.int64),
    )


def every_choice(task: Problem) -> np.ndarray:
    """All allowed maps of a small problem: shape (maps, units)."""
    return np.array(list(_product(task.allowed)), dtype=np.int64)


def _product(allowed: np.ndarray) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(np.flatnonzero(row) for row in allowed))


def measured(
    profile: Profile,
    widths: Sequence[float | str | Option] | float | str | Option,
    *,
    wer_increase: float = 0.01,
    label: str = "",
    speech: str = "synthetic",
    transcripts: Sequence[tuple[str, str, str]] = (),
) -> Measured:
    """A made-up measurement of a map (or of one width everywhere) of a profile."""
    if isinstance(widths, int | float | str | Option):
        widths = [widths] * len(profile.units)
    chosen = bit_map(profile, widths)
    figures = figures_of(profile, chosen)
    loss = figures.predicted_loss
    return Measured(
        label=label,
        map_digest=chosen.digest,
        options=chosen.options,
        bytes=figures.bytes,
        avg_bits=figures.avg_bits,
        reduction_vs_fp32=1 - figures.bytes / (4 * profile.source.parameters),
        wer=0.05 + wer_increase,
        wer_full_precision=0.05,
        wer_increase=wer_increase,
        ci95=(wer_increase - 0.004, wer_increase + 0.004),
        loss=1.1 * loss,
        predicted_loss=loss,
        speech=speech,
        speech_digest=sha256(speech.encode()),
        utterances=10,
        words=200,
        normalizer="whisper-english",
        method="gptq, greedy",
        profile_digest=profile.digest,
        seconds=1.0,
        when="2025-01-01",
        transcripts=tuple(transcripts),
    )


def same(a: Profile, b: Profile) -> bool:
    """Whether two profiles have the same source, units, projections and anchors."""
    return (
        np.array_equal(a.projections, b.projections, equal_nan=True)  # NaN: cannot be stored so
        and a.anchors == b.anchors
        and a.units == b.units
        and a.source == b.source
    )
