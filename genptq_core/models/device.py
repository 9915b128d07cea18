"""Where a model runs: on the CPU, or on a GPU through CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..errors import ModelError

DEVICES = ("auto", "cpu", "cuda")
"""Names of devices; `auto` is the GPU if there is one, else the CPU."""


def device_of(name: str) -> torch.device:
    """The device of a name in `DEVICES`.

    On a GPU matrices are multiplied in float32, not in the shorter TF32, so that scores differ
    from the CPU's only by rounding.

    Raises:
        ModelError: there is no such name, or no such device on this machine.
    """
    if name not in DEVICES:
        raise ModelError(f"There is no device {name!r}.", f"Choose one of {', '.join(DEVICES)}.")
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise ModelError(
            "No GPU can be used here: CUDA finds none, or torch was built without it.",
            "Choose --device cpu, or install a torch with CUDA.",
        )
    if name == "cpu" or not present:
        return torch.device("cpu")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")


def device_key(module: nn.Module) -> list[str]:
    """The part of a cache key that names the device: empty for the CPU.

    A GPU sums in another order, so its results are close to the CPU's but not the same.
    """
    kind = next(module.parameters()).device.type
    return [] if kind == "cpu" else [kind]


def multiplies_bf16(module: nn.Module) -> bool:
    """Whether a model is on a processor with tiles that multiply matrices of bf16 (Intel's AMX)."""
    kind = next(module.parameters()).device.type
    return kind == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


@contextmanager
def bf16_products() -> Iterator[None]:
    """While active, float32 matrices may be rounded to bf16 to be multiplied, with float32 sums."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
