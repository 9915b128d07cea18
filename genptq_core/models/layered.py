"""Weights computed just before a layer runs and dropped after it, in place of a model's own.

The memory that holds a large model has no room for a second set of its weights. `LayeredWeights`
holds how each parameter is computed instead, which takes a fraction of the memory: codes, or a file
to read. While it replaces a model's weights, each layer gets its own just before it runs, and a
backward pass computes them once more, so that only one layer's exist at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

HELD = 2_000_000_000
"""Bytes of a model's weights, float32, up to which a second set of them is simply held."""

Makers = Mapping[str, Callable[[], Tensor]]
"""How each parameter's content is made, by name; each call makes it anew."""


class LayeredWeights(Mapping[str, Tensor]):
    """Weights by parameter name, made on each access.

    Args:
        makers: of weights of layers that use them only by being called.
        ready: weights that are simply there.
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
    """Weights of a module, held where it is small enough, made layer by layer where it is not."""
    if 4 * sum(parameter.numel() for parameter in module.parameters()) > HELD:
        return LayeredWeights(makers, ready)
    return {**{name: make() for name, make in makers.items()}, **(ready or {})}


def overlaid(below: Mapping[str, Tensor], above: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights of both, those of `above` where both have them; nothing is made for it."""
    if not isinstance(below, LayeredWeights) and not isinstance(above, LayeredWeights):
        return {**below, **above}
    under = below if isinstance(below, LayeredWeights) else LayeredWeights({}, below)
    over = above if isinstance(above, LayeredWeights) else LayeredWeights({}, above)
    ready = {name: tensor for name, tensor in under.ready.items() if name not in over.makers}
    return LayeredWeights({**under.makers, **over.makers}, {**ready, **over.ready})


@contextmanager
def layer_by_layer(module: nn.Module, makers: Makers) -> Iterator[None]:
    """Run with each layer's weights made as it runs; backward passes belong in here as well.

    Args:
        module: the model's module; its parameters stay as they are.
        makers: by parameter name.
    """
    named = dict(module.named_parameters())
    names = {id(named[name]): name for name in makers}
    shown: dict[int, str] = {}  # what each storage, while its layer runs, is the content of

    def make(name: str) -> Tensor:
        return makers[name]().to(named[name].dtype).to(named[name].device)

    # Autograd would keep every layer's weights for the way back: it keeps their names.
    def pack(tensor: Tensor) -> Any:
        name = shown.get(tensor.untyped_storage().data_ptr())
        if name is None:
            return tensor
        return name, tensor.size(), tensor.stride(), tensor.storage_offset()

    def unpack(kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        name, *view = kept
        return make(name).as_strided(*view)

    with ExitStack() as stack:
        for layer in module.modules():
            for leaf, parameter in layer._parameters.items():
                if parameter is not None and id(parameter) in names:
                    one = _Layer(layer, leaf, parameter, names[id(parameter)], make, shown)
                    stack.callback(layer.register_forward_pre_hook(one.put_on).remove)
                    after = layer.register_forward_hook(one.take_off, always_call=True)
                    stack.callback(after.remove)
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield


class _Layer:
    """One layer, one of its parameters, and what it shows in its place; tied ones have several."""

    def __init__(
        self,
        layer: nn.Module,
        leaf: str,
        own: nn.Parameter,
        name: str,
        make: Callable[[str], Tensor],
        shown: dict[int, str],
    ) -> None:
        self._layer, self._leaf, self._own = layer, leaf, own
        self._name, self._make, self._shown = name, make, shown
        self._storage = 0

    def put_on(self, *_: object) -> None:
        content = nn.Parameter(self._make(self._name), requires_grad=False)
        self._storage = content.untyped_storage().data_ptr()
        self._shown[self._storage] = self._name
        self._layer._parameters[self._leaf] = content

    def take_off(self, *_: object) -> None:
        self._shown.pop(self._storage, None)
        self._layer._parameters[self._leaf] = self._own
