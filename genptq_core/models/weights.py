"""Weights of a model: counted, digested, cut into units, replaced for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from ..storage.digests import sha256, sha256_array
from ..units import Unit
from . import SpeechModel
from .layered import LayeredWeights, layer_by_layer


def parameter_count(module: nn.Module) -> int:
    """How many parameters a module has, tied ones counted once."""
    return sum(p.numel() for p in module.parameters())


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over all parameters' names and contents, as float16 if that is exact."""
    lines = []
    for name, parameter in sorted(module.named_parameters()):
        own = parameter.detach()
        # Most weights that float16 does not hold show it in their first numbers.
        exact = _is_half(own.flatten()[:1024]) and _is_half(own)
        array = (own.to(torch.float16) if exact else own.float()).cpu().numpy()
        lines.append(f"{name} {sha256_array(array)}")
    return sha256("\n".join(lines).encode())


def _is_half(tensor: Tensor) -> bool:
    """Whether float16 holds all numbers exactly."""
    return bool((tensor.to(torch.float16).to(tensor.dtype) == tensor).all())


@contextmanager
def replaced(model: SpeechModel, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """While active, some parameters have other contents; the originals are put back afterwards.

    Args:
        model: the model to change in place.
        weights: new content by parameter name, each of the parameter's shape; `LayeredWeights`
            are computed layer by layer.
    """
    parameters = dict(model.module.named_parameters())
    held = weights.ready if isinstance(weights, LayeredWeights) else weights
    layers = (
        layer_by_layer(model.module, weights.makers)
        if isinstance(weights, LayeredWeights)
        else nullcontext()
    )
    originals = {name: parameters[name].data for name in held}
    try:
        for name, weight in held.items():
            original = originals[name]
            parameters[name].data = weight.to(original.dtype).to(original.device)
        with layers:
            yield
    finally:
        for name, original in originals.items():
            parameters[name].data = original


def unit_weight(parameter: Tensor, unit: Unit) -> Tensor:
    """A unit's weights, where the parameter is: shape (rows, columns), float32."""
    return parameter.detach()[unit.start : unit.stop].flatten(1).float()
