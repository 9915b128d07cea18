"""The rivals' ways to quantize one matrix: one interface to our rounding, HQQ, quanto, torchao.

Each library says which widths it offers, what it stores for a group of weights as well as the
codes, and gives a matrix back as its codes read. Bytes are counted to its advantage: codes packed
densely at their nominal width, whatever padding its own format has; scales in float16, which
every one of them can hold; zero points in the precision in which it stores them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from genptq_core.errors import GenPTQError
from genptq_core.quantizers import Grid, quantize_gptq, round_to_nearest

GROUP_SIZES = (32, 64, 128, None)
"""Weights that share a scale, tried for every library; None is a whole row."""


@dataclass(frozen=True)
class Scheme:
    """One way to quantize a matrix.

    Attributes:
        bits: width of a code.
        group_size: weights of a row that share a scale; None for the whole row.
        variant: which of the library's methods.
    """

    bits: int
    group_size: int | None
    variant: str

    def __str__(self) -> str:
        return f"{self.bits} bits, " + (
            f"groups of {self.group_size}" if self.group_size else "per row"
        )


@dataclass(frozen=True)
class Library:
    """What a library offers.

    Attributes:
        name: the rival's name.
        widths: widths of codes, in rising order.
        variants: its methods, the library's default first.
        metadata: bits stored for a group as well as its codes.
        quantize: weight, scheme, second moment of the inputs -> the weight as its codes read,
            float32. The moment is None where the library does not want it.
        rows_only: widths at which a scale covers a whole row, whatever is asked.
        needs_moments: whether `quantize` wants the second moment.
    """

    name: str
    widths: tuple[int, ...]
    variants: tuple[str, ...]
    metadata: Callable[[Scheme], int]
    quantize: Callable[[Tensor, Scheme, Tensor | None], Tensor]
    rows_only: tuple[int, ...] = ()
    needs_moments: bool = False

    def offers(self, scheme: Scheme, columns: int) -> bool:
        """Whether the library can quantize a matrix of this many columns in this way."""
        if scheme.bits in self.rows_only:
            return scheme.group_size is None
        return scheme.group_size is None or columns % scheme.group_size == 0

    def matrix_bytes(self, rows: int, columns: int, scheme: Scheme) -> int:
        """Bytes of a matrix: codes and what goes with each group, both dense."""
        groups = rows * (columns // (scheme.group_size or columns))
        return -(-rows * columns * scheme.bits // 8) + -(-groups * self.metadata(scheme) // 8)


def need(module: str, package: str) -> Any:
    """Import a module of a package that only benchmarks use.

    Raises:
        GenPTQError: the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise GenPTQError(
            f"{package} cannot be imported ({error}).", "pip install -r requirements-bench.txt"
        ) from error


def range_grid(weight: Tensor, bits: int, group_size: int) -> Grid:
    """Our grid without its search: each group from its least to its greatest weight."""
    levels = 2**bits - 1
    blocks = weight.view(len(weight), -1, group_size)
    low = blocks.amin(dim=2).clamp(max=0.0)
    high = blocks.amax(dim=2).clamp(min=0.0)
    scale = ((high - low) / levels).to(torch.float16).float()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return Grid(bits, group_size, scale, torch.round(-low / scale).clamp(0, levels))


def _rtn(weight: Tensor, scheme: Scheme, _: Tensor | None) -> Tensor:
    grid = range_grid(weight, scheme.bits, scheme.group_size or weight.shape[1])
    return round_to_nearest(weight, grid).dequantize()


def _gptq(weight: Tensor, scheme: Scheme, moments: Tensor | None) -> Tensor:
    if moments is None:
        raise ValueError("GPTQ needs the second moment of the inputs")
    group_size = scheme.group_size or weight.shape[1]
    return quantize_gptq(weight, moments, scheme.bits, group_size).dequantize()


def _hqq(weight: Tensor, scheme: Scheme, _: Tensor | None) -> Tensor:
    hqq = need("hqq.core.quantize", "hqq")
    axis = 1 if scheme.variant == "along rows" else 0
    # "Across rows", a group is as many weights, but of one place in different rows.
    group_size = scheme.group_size or weight.shape[1]
    settings = hqq.hqq_base_quant_config(scheme.bits, group_size, axis=axis)
    codes, meta = hqq.Quantizer.quantize(
        weight, device="cpu", bitpack=False, **settings["weight_quant_params"]
    )
    for name in ("scale", "zero"):
        meta[name] = meta[name].to(torch.float16).float()
    meta["compute_dtype"] = torch.float32
    return hqq.Quantizer.dequantize(codes, meta)


def _quanto(weight: Tensor, scheme: Scheme, _: Tensor | None) -> Tensor:
    quanto = need("optimum.quanto", "optimum-quanto")
    kind = quanto.qtypes[f"qint{scheme.bits}"]
    if scheme.bits == 8:
        scale = quanto.AbsmaxOptimizer()(weight, kind, axis=0).to(torch.float16).float()
        return quanto.quantize_weight(weight, kind, 0, scale, optimized=False).dequantize()
    choose = quanto.HqqOptimizer() if scheme.variant == "HQQ shifts" else quanto.MaxOptimizer()
    scale, shift = choose(weight, kind, axis=0, group_size=scheme.group_size)
    stored = quanto.quantize_weight(
        weight,
        kind,
        0,
        scale.to(torch.float16).float(),
        shift.to(torch.float16).float(),
        group_size=scheme.group_size,
        optimized=False,
    )
    return stored.dequantize()


def _torchao(weight: Tensor, scheme: Scheme, _: Tensor | None) -> Tensor:
    ao = need("torchao.quantization", "torchao")
    flows = need("torchao.quantization.quantize_.workflows", "torchao")
    kinds, algorithms = ao.MappingType, flows.IntxChooseQParamsAlgorithm
    asymmetric = scheme.variant == "asymmetric"
    searched = scheme.variant == "symmetric, HQQ scales"
    config = ao.IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, f"int{scheme.bits}"),
        granularity=ao.PerGroup(scheme.group_size) if scheme.group_size else ao.PerAxis(0),
        mapping_type=kinds.ASYMMETRIC if asymmetric else kinds.SYMMETRIC,
        scale_dtype=torch.float16,
        intx_choose_qparams_algorithm=(
            algorithms.HQQ_SCALE_ONLY if searched else algorithms.AFFINE
        ),
    )
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    ao.quantize_(layer, config)
    return layer.weight.dequantize().float()


LIBRARIES = {
    library.name: library
    for library in (
        Library("rtn", (2, 3, 4, 5, 6, 8), ("asymmetric",), lambda s: 16 + s.bits, _rtn),
        Library(
            "gptq",
            (2, 3, 4, 5, 6, 8),
            ("asymmetric, clipping searched",),
            lambda s: 16 + s.bits,
            _gptq,
            needs_moments=True,
        ),
        # Zero points are real numbers, kept in float16 like the scales.
        Library("hqq", (2, 3, 4, 5, 6, 8), ("along rows", "across rows"), lambda _: 16 + 16, _hqq),
        # Shifts are real numbers too; 8 bits have none.
        Library(
            "quanto",
            (2, 4, 8),
            ("range", "HQQ shifts"),
            lambda s: 16 if s.bits == 8 else 16 + 16,
            _quanto,
            rows_only=(8,),
        ),
        # Zero points are int8 at any width; symmetric ones are all zero and not counted.
        Library(
            "torchao",
            (2, 3, 4, 5, 6, 7, 8),
            ("symmetric", "asymmetric", "symmetric, HQQ scales"),
            lambda s: 16 + 8 if s.variant == "asymmetric" else 16,
            _torchao,
        ),
    )
}
"""The libraries that quantize matrices, by the rival's name."""
