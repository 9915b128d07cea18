"""Quantizers: integer grids, rounding to the nearest, GPTQ, and the sketched Hessians it uses."""

from .gptq import quantize_gptq
from .grid import Grid, Quantized, fit_grid, round_to_nearest
from .hessian import Sketch, sketch

__all__ = ["Grid", "Quantized", "Sketch", "fit_grid", "quantize_gptq", "round_to_nearest", "sketch"]
