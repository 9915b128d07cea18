"""Where a model runs: the processor, or a GPU through CUDA."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import ModelError

DEVICES = ("auto", "cpu", "cuda")
"""What may be asked for; `auto` is the GPU where there is one."""


def device_of(name: str) -> torch.device:
    """The device of a name in `DEVICES`.

    On a GPU matrices are multiplied in float32, not in its shortened TF32, so that scores are
    those of the processor to within its rounding.

    Raises:
        ModelError: there is none of that name, or it is not there.
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
    """What a cache's key says of where its content was computed: nothing of the processor.

    A GPU sums in another order, so that what it makes is near, and not the same.
    """
    where = next(module.parameters()).device.type
    return [] if where == "cpu" else [where]
