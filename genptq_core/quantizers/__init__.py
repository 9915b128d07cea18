"""Quantizers: integer grids, GPTQ, entropy-coded steps, and the sketched Hessians they use.

Names load on first use: packing and the codec work without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..options import Option

if TYPE_CHECKING:
    from torch import Tensor

    from .coded import Coded, quantize_coded
    from .ggml_gptq import Blocks, quantize_blocks
    from .gptq import quantize_gptq, quantize_grids
    from .grid import Grid, Quantized, fit_grid, round_to_nearest
    from .hessian import Sketch, is_wide, sketch, sketch_of_products, sketch_products

    Stored = Coded | Quantized | Blocks | Tensor
    """A weight as it is stored: codes of some form, or the weight itself where it stays at 16
    bit."""

_HOMES = {
    "coded": ("Coded", "quantize_coded"),
    "ggml_gptq": ("Blocks", "quantize_blocks"),
    "gptq": ("quantize_gptq", "quantize_grids"),
    "grid": ("Grid", "Quantized", "fit_grid", "round_to_nearest"),
    "hessian": ("Sketch", "is_wide", "sketch", "sketch_of_products", "sketch_products"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "Stored":
        from torch import Tensor

        from .coded import Coded
        from .ggml_gptq import Blocks
        from .grid import Quantized

        return Coded | Quantized | Blocks | Tensor
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def quantize(
    weight: Tensor, hessian: Tensor | None, importance: Tensor | None, options: Sequence[Option]
) -> list[Stored | None]:
    """Quantize a weight in several ways.

    Args:
        weight: shape (rows, columns).
        hessian: second moment of its inputs, shape (columns, columns); None for a table of rows.
        importance: how much the loss depends on each row, shape (rows,); for entropy codes.
        options: how to store it.

    Returns:
        What is stored for each option: the weight itself at 16 bit; None if the weight cannot be
        made that small, or blocks do not divide its rows.
    """
    from .coded import quantize_coded
    from .ggml_gptq import quantize_blocks
    from .gptq import quantize_grids

    stored: dict[Option, Stored | None] = {}
    rates = [option for option in options if option.form == "coded"]
    coded = quantize_coded(weight, hessian, importance, [option.bits for option in rates])
    stored.update(zip(rates, coded, strict=True))
    grids = [option for option in options if option.form == "grid"]
    sizes = [(int(option.bits), option.group_size) for option in grids]
    stored.update(zip(grids, quantize_grids(weight, hessian, sizes), strict=True))
    blocks = [option for option in options if option.form == "block"]
    names = [option.block for option in blocks]
    stored.update(zip(blocks, quantize_blocks(weight, hessian, names), strict=True))
    stored.update((option, weight) for option in options if option.form == "half")
    return [stored[option] for option in options]


def restored(stored: Stored) -> Tensor:
    """The weight that stored codes stand for: shape (rows, columns), float32."""
    from torch import Tensor

    return stored.float() if isinstance(stored, Tensor) else stored.dequantize()


__all__ = [
    "Blocks",
    "Coded",
    "Grid",
    "Quantized",
    "Sketch",
    "Stored",
    "fit_grid",
    "is_wide",
    "quantize",
    "quantize_blocks",
    "quantize_coded",
    "quantize_gptq",
    "quantize_grids",
    "restored",
    "round_to_nearest",
    "sketch",
    "sketch_of_products",
    "sketch_products",
]
