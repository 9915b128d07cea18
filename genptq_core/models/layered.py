"""Weights computed just before a layer runs and dropped after it, in place of a model's own.

The memory that holds a large model has no room for a second set of its weights. `LayeredWeights`
holds how each parameter is computed instead, which takes a fraction of the memory: codes, or a file
to read. While it replaces a model's weights, each layer gets its own just before it runs, and a
backward pass computes them once more, so that only one layer's exist at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

HELD = 2_000_000_000
"""Bytes of a model's float32 weights up to which a second set of them is held in memory."""

Makers = Mapping[str, Callable[[], Tensor]]
"""By parameter name, a function that computes the parameter's content at each call."""


class LayeredWeights(Mapping[str, Tensor]):
    """Weights by parameter name, computed on each access.

    Args:
        makers: for weights that only their own layer uses, when it is called.
        ready: weights that are held in memory.
    """

    def __init__(self, makers: Makers, ready: Mapping[str, Tensor] | None = None) -> None:
        self.ready = dict(ready or {})
        self.makers = {name: make for name, make in makers.items() if name not in self.ready}

    def __getitem__(self, name: str) -> Tensor:
        return self.ready[name] if name in self.ready else self.makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter((*self.makers, *self.ready))

    def __len__(self) -> int:
        return len(self.makers) + len(self.ready)


def held_or_layered(
    module: nn.Module, makers: Makers, ready: Mapping[str, Tensor] | None = None
) -> Mapping[str, Tensor]:
    """Weights of a module: held if they are few enough, else computed layer by layer."""
    if 4 * sum(parameter.numel() for parameter in module.parameters()) > HELD:
        return LayeredWeights(makers, ready)
    return {**{name: make() for name, make in makers.items()}, **(ready or {})}


def overlaid(below: Mapping[str, Tensor], above: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights of both, those of `above` for names in both; nothing is computed for it."""
    if not isinstance(below, LayeredWeights) and not isinstance(above, LayeredWeights):
        return {**below, **above}
    under = below if isinstance(below, LayeredWeights) else LayeredWeights({}, below)
    over = above if isinstance(above, LayeredWeights) else LayeredWeights({}, above)
    ready = {name: tensor for name, tensor in under.ready.items() if name not in over.makers}
    return LayeredWeights({**under.makers, **over.makers}, {**ready, **over.ready})


@contextmanager
def layer_by_layer(module: nn.Module, makers: Makers) -> Iterator[None]:
    """While active, each layer's weights are computed when it runs, in backward passes as well.

    Args:
        module: the model's module; its parameters stay as they are.
        makers: by parameter name.
    """
    named = dict(module.named_parameters())
    names = {id(named[name]): name for name in makers}
    shown: dict[int, str] = {}  # parameter name by storage, while its layer runs

    def make(name: str) -> Tensor:
        return makers[name]().to(named[name].dtype).to(named[name].device)

    # For the backward pass autograd would keep every layer's weights: it gets their names instead.
    def pack(tensor: Tensor) -> Any:
        name = shown.get(tensor.untyped_storage().data_ptr())
        if name is None:
            return tensor
        return name, tensor.size(), tensor.stride(), tensor.storage_offset()

    def unpack(kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        name, size, stride, offset = kept
        return make(name).as_strided(size, stride, offset)

    with ExitStack() as stack:
        for layer in module.modules():
            for leaf, parameter in layer._parameters.items():
                if parameter is not None and id(parameter) in names:
                    name = names[id(parameter)]
                    swap = _Swap(
                        layer=layer,
                        leaf=leaf,
                        own=parameter,
                        make=partial(make, name),
                        name=name,
                        shown=shown,
                    )
                    stack.callback(layer.register_forward_pre_hook(swap.put_in).remove)
                    after = layer.register_forward_hook(swap.take_out, always_call=True)
                    stack.callback(after.remove)
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield


@dataclass
class _Swap:
    """Exchanges one parameter of one layer while it runs; a tied parameter has one per layer.

    Attributes:
        layer: the layer.
        leaf: the parameter's name in the layer.
        own: the parameter that is there otherwise.
        make: computes the content to show instead.
        name: the parameter's name in the model.
        shown: names by storage, of all contents that are shown now.
        storage: address of the content that is shown now.
    """

    layer: nn.Module
    leaf: str
    own: nn.Parameter
    make: Callable[[], Tensor]
    name: str
    shown: dict[int, str]
    storage: int = 0

    def put_in(self, *_: object) -> None:
        content = nn.Parameter(self.make(), requires_grad=False)
        self.storage = content.untyped_storage().data_ptr()
        self.shown[self.storage] = self.name
        self.layer._parameters[self.leaf] = content

    def take_out(self, *_: object) -> None:
        self.shown.pop(self.storage, None)
        self.layer._parameters[self.leaf] = self.own
