"""Hooks on a running model: second moments of inputs, gradients of chosen weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from ..models import SpeechModel
from ..models.device import bf16_products
from ..quantizers import is_wide, sketch_products


class _Enough(Exception):
    """All inputs that were asked for have been seen, and the run can stop."""


class SecondMoments:
    """While active, adds the second moments of units' inputs to `sums`, by input name.

    Args:
        model: the model that is run.
        sums: where to add; new names start at zero.
        names: only these inputs; all units' by default.
        rank: if given, wide inputs (see `is_wide`) are summed as `sketch_products` of this rank.
        stop: end the run when all inputs have been seen once, without a result.
        bf16: multiply matrices in bf16; a moment's factors are kept in 8 bits.
    """

    def __init__(
        self,
        model: SpeechModel,
        sums: dict[str, Tensor],
        names: Collection[str] | None = None,
        rank: int | None = None,
        stop: bool = False,
        bf16: bool = False,
    ) -> None:
        modules = dict(model.module.named_modules())
        wanted = {u.inputs for u in model.units} if names is None else names
        self._targets = [(name, modules[name]) for name in sorted(wanted)]
        self._sums = sums
        self._rank = rank
        self._products = bf16_products if bf16 else contextlib.nullcontext
        self._unseen = {name for name, _ in self._targets} if stop else None
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> None:
        for name, module in self._targets:
            self._handles.append(module.register_forward_pre_hook(self._hook(name)))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for handle in self._handles:
            handle.remove()
        return kind is _Enough

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            flat = _patches(module, inputs[0].detach())
            wide = self._rank is not None and is_wide(flat.shape[1], self._rank)
            with self._products():
                product = (sketch_products(flat, self._rank or 0) if wide else flat.T @ flat).cpu()
            self._sums[name] = self._sums[name] + product if name in self._sums else product
            if self._unseen is not None:
                self._unseen.discard(name)
                if not self._unseen:
                    raise _Enough

        return add


Take = Callable[[str, Tensor], None]
"""Called with a parameter's name and its gradient."""


class GradientsOf:
    """While active, backward passes compute gradients of these parameters only.

    With `take`, each gradient is passed to it as soon as it is computed, and not kept.
    """

    def __init__(
        self, module: nn.Module, parameters: dict[str, nn.Parameter], take: Take | None = None
    ) -> None:
        self._all = list(module.parameters())
        self._lookups = [m for m in module.modules() if isinstance(m, nn.Embedding)]
        self._parameters = parameters
        self._take = take
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> None:
        self._before = [p.requires_grad for p in self._all]
        wanted = {id(p) for p in self._parameters.values()}
        for parameter in self._all:
            parameter.requires_grad_(id(parameter) in wanted)
        self._sparse = [lookup.sparse for lookup in self._lookups]
        if self._take is not None:
            # Else each pass writes zeros for all tokens, of which a few were looked up.
            for lookup in self._lookups:
                lookup.sparse = True
            for name, parameter in self._parameters.items():
                hook = self._hook(name, self._take)
                self._handles.append(parameter.register_post_accumulate_grad_hook(hook))

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        for lookup, before in zip(self._lookups, self._sparse, strict=True):
            lookup.sparse = before
        for parameter, before in zip(self._all, self._before, strict=True):
            parameter.requires_grad_(before)

    def _hook(self, name: str, take: Take) -> Callable[[Tensor], None]:
        def pass_on(parameter: Tensor) -> None:
            gradient, parameter.grad = parameter.grad, None
            if gradient is not None:
                take(name, gradient.to_dense() if gradient.is_sparse else gradient)

        return pass_on


def _patches(module: nn.Module, inputs: Tensor) -> Tensor:
    """The vectors that each row of a module's weight is multiplied by: (positions, columns)."""
    if isinstance(module, nn.Conv2d):
        edges = (int(module.padding[0]), int(module.padding[1]))
        windows = nn.functional.unfold(
            inputs, module.kernel_size, module.dilation, edges, module.stride
        )
        inputs = windows.transpose(1, 2)  # (batch, positions, channels * kernel)
    # A subclass with its own forward may have its channels last, like a linear layer.
    elif isinstance(module, nn.Conv1d) and type(module).forward is nn.Conv1d.forward:
        padded = nn.functional.pad(inputs, (int(module.padding[0]),) * 2)
        windows = padded.unfold(2, module.kernel_size[0], module.stride[0])
        inputs = windows.transpose(1, 2).flatten(2)  # (batch, positions, channels * kernel)
    return inputs.reshape(-1, inputs.shape[-1])
