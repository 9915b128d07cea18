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
    weight: Tensor,
    hessian: Tensor | Sketch | None,
    importance: Tensor | None,
    options: Sequence[Option],
) -> list[Stored | None]:
    """Quantize one weight in several ways; see `quantize_together`."""
    return quantize_together([weight], hessian, [importance], options)[0]


def quantize_together(
    weights: Sequence[Tensor],
    hessian: Tensor | Sketch | None,
    importance: Sequence[Tensor | None],
    options: Sequence[Option],
) -> list[list[Stored | None]]:
    """Quantize weights with the same inputs in several ways, on the device that they are on.

    What a weight is rounded to at an option depends on no other weight or option.

    Args:
        weights: each of shape (rows, columns).
        hessian: second moment of their inputs, shape (columns, columns), or its sketch; None for
            tables of rows.
        importance: of each weight, how much the loss depends on each row, shape (rows,); for
            entropy codes.
        options: how to store them.

    Returns:
        Of each weight, what is stored for each option: the weight itself at 16 bit; None if the
        weight cannot be made that small, or blocks do not divide its rows.
    """
    from .coded import quantize_coded_together
    from .ggml_gptq import quantize_blocks
    from .gptq import quantize_grids_together

    by_form = {
        form: [option for option in options if option.form == form]
        for form in ("coded", "grid", "block", "half")
    }
    rates = [option.bits for option in by_form["coded"]]
    sizes = [(int(option.bits), option.group_size) for option in by_form["grid"]]
    names = [option.block for option in by_form["block"]]
    coded = quantize_coded_together(weights, hessian, importance, rates)
    grids = quantize_grids_together(weights, hessian, sizes)
    out: list[list[Stored | None]] = []
    for index, weight in enumerate(weights):
        stored: dict[Option, Stored | None] = {}
        stored.update(zip(by_form["coded"], coded[index], strict=True))
        stored.update(zip(by_form["grid"], grids[index], strict=True))
        blocks = quantize_blocks(weight, hessian, names)
        stored.update(zip(by_form["block"], blocks, strict=True))
        stored.update((option, weight) for option in by_form["half"])
        out.append([stored[option] for option in options])
    return out


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
    "quantize_together",
    "restored",
    "round_to_nearest",
    "sketch",
    "sketch_of_products",
    "sketch_products",
]
