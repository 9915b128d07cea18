"""Where a model runs: on the CPU, or on a GPU through CUDA."""

from __future__ import annotations

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
