"""The matrices of a network: which carry bits, which share inputs, found by running it once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ..units import Unit

_FEWEST_COLUMNS = 32  # with fewer, scales take as many bytes as rounding saves

Place = tuple[str, str, int]
"""Part, kind and block of a unit."""


def units_of(
    module: nn.Module, run: Callable[[], object], place: Callable[[str], Place]
) -> tuple[Unit, ...]:
    """Every matrix that a run uses, in the order of its use; see `is_matrix`.

    Args:
        module: the network.
        run: runs all of it, on some input.
        place: tells where the layer of a name belongs.
    """
    layers = {name: layer for name, layer in module.named_modules() if is_matrix(layer)}
    # A tied parameter has the name that it is listed under.
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    units = []
    for name, inputs in _shared_inputs(layers, run).items():
        weight = layers[name].get_parameter("weight")
        units.append(unit_of(names[id(weight)], weight, inputs, place(name)))
    return tuple(units)


def is_matrix(module: nn.Module) -> bool:
    """Whether a module is a Linear or full convolution that is wide enough to be worth rounding.

    Depthwise and grouped convolutions stay at 16 bit: they have a few weights per row, and are
    thousandths of a model. So does what is computed from other weights, by weight normalization.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups != 1:
        return False
    if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) or is_parametrized(module):
        return False
    return module.get_parameter("weight")[0].numel() >= _FEWEST_COLUMNS


def unit_of(parameter: str, weight: Tensor, inputs: str, place: Place) -> Unit:
    """The unit of a whole parameter."""
    part, kind, block = place
    return Unit(
        name=parameter,
        parameter=parameter,
        start=0,
        stop=len(weight),
        columns=weight[0].numel(),
        part=part,
        kind=kind,
        block=block,
        inputs=inputs,
    )


def block_of(name: str) -> int:
    """The first number in a layer's name; 0 for none."""
    numbers = re.findall(r"\.(\d+)(?=\.|$)", name)
    return int(numbers[0]) if numbers else 0


def encoder_kind(name: str) -> str:
    """What a layer of an encoder does; "convolution" is one of the front end, as in Whisper."""
    if not re.search(r"encoder\.layers\.\d+\.", name):
        return "convolution"
    if re.search(r"attention|attn", name):
        return "attention"
    return "conv-module" if ".conv" in name else "feed-forward"


def _shared_inputs(layers: Mapping[str, nn.Module], run: Callable[[], object]) -> dict[str, str]:
    """By layer, the first layer that gets the same input tensor."""
    first: dict[int, str] = {}
    kept: list[Tensor] = []  # as long as they live, no other tensor has their identity
    sources: dict[str, str] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            kept.append(inputs[0])
            sources[name] = first.setdefault(id(inputs[0]), name)

        return hook

    handles = [layer.register_forward_pre_hook(note(n)) for n, layer in layers.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return sources
