"""A checkpoint, loaded whole and exactly, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from ..errors import ModelError
from .folders import AGAIN, say

Computed = Callable[[str, Tensor], Tensor | None]
"""Gives the content of a parameter that need not be stored, by its name and shape; else None."""

_START = re.compile(r"^(?:(?:module|_orig_mod|base_model\.model)\.)+")
_INSIDE = "._orig_mod."


def outline(make: Callable[[], Any]) -> Any:
    """A module of transformers without storage, for the names and shapes of its parameters.

    Drawing initial weights would take longer than loading the real ones; even without storage it
    imports PyTorch's compiler, which takes a second.

    Args:
        make: makes the module.
    """
    with torch.device("meta"), no_init_weights():
        module = make()
    module.tie_weights()  # which is skipped along with drawing
    return module


def from_parameters(
    kind: Any, config: Any, source: object, parameters: Mapping[str, Tensor]
) -> Any:
    """A module of transformers with a configuration's shape and these parameters.

    Buffers are as the architecture starts them.

    Args:
        kind: a class with `from_config`.
        config: the configuration.
        source: where the parameters are from, for messages.
        parameters: by name, tied ones once.

    Raises:
        ModelError: one is missing, or has another shape.
    """
    options: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": False}
    # No memory is taken before the parameters are known to fit.
    described = outline(lambda: kind.from_config(config, **options))
    check_shapes(source, dict(described.named_parameters()), parameters)
    module = kind.from_config(config, **options)
    module.load_state_dict(dict(parameters), strict=False)
    return module.eval()


def load_whole(kind: Any, source: str, offline: bool, computed: Computed) -> Any:
    """A module of transformers with all weights that its checkpoint has, and no others.

    Names that training tools prefix are taken without the prefix, with a warning.

    Args:
        kind: a class with `from_pretrained`.
        source: a folder written by `save_pretrained`, or a hub name.
        offline: whether to stay off the hub.
        computed: tells what need not be stored.

    Raises:
        ModelError: a weight is missing, has another shape, or is one too many.
        Exception: whatever transformers raises for what it cannot read.
    """
    module, report = _load(kind, source, offline)
    missing, unexpected = set(report["missing_keys"]), set(report["unexpected_keys"])
    bare = {name: bare_name(name) for name in unexpected}
    prefixed = bool(bare) and all(name != short for name, short in bare.items())
    if prefixed and len(set(bare.values())) == len(bare) and set(bare.values()) <= missing:
        module, report = _load(kind, source, offline, {_START.pattern: "", r"\._orig_mod\.": "."})
        first = min(bare)
        say(f"{source} names its weights as {first}; they are taken as {bare[first]}.")
    _check(source, report, computed, module)
    return module


def bare_name(name: str) -> str:
    """A weight's name without what tools for training and compiling put before it."""
    return _START.sub("", name).replace(_INSIDE, ".")


def _load(
    kind: Any, source: str, offline: bool, key_mapping: dict[str, str] | None = None
) -> tuple[Any, dict[str, Any]]:
    found: tuple[Any, dict[str, Any]] = kind.from_pretrained(
        source,
        local_files_only=offline,
        dtype=torch.float32,
        trust_remote_code=False,
        weights_only=True,
        ignore_mismatched_sizes=True,  # they are reported, and refused here
        output_loading_info=True,
        **({"key_mapping": key_mapping} if key_mapping else {}),
    )
    return found


def _check(source: str, report: Mapping[str, Any], computed: Computed, module: nn.Module) -> None:
    misshapen = sorted(report["mismatched_keys"])
    if misshapen:
        name, stored, wanted = misshapen[0]
        raise ModelError(
            f"{source} holds {name} of shape {tuple(stored)}, and its config.json describes "
            f"{tuple(wanted)}.",
            "Get the model again, or correct its config.json.",
        )
    missing = []
    parameters = dict(module.named_parameters(remove_duplicate=False))
    for name in sorted(report["missing_keys"]):
        content = computed(name, parameters[name]) if name in parameters else None
        if content is None:
            missing.append(name)
        else:
            with torch.no_grad():
                parameters[name].copy_(content)
    unexpected = sorted(report["unexpected_keys"])
    if missing or unexpected:
        raise ModelError(differences(source, missing, unexpected), _hint(unexpected))
    if report["error_msgs"]:
        said = " ".join(" ".join(map(str, report["error_msgs"])).split())
        raise ModelError(f"{source} cannot be loaded ({said}).", AGAIN)


def differences(source: object, missing: Collection[str], unexpected: Collection[str]) -> str:
    """One sentence on weights that a checkpoint lacks, or has too many of; the first are named."""
    parts = []
    if missing:
        parts.append(
            f"lacks {len(missing)} of the weights that its settings describe, first {min(missing)}"
        )
    if unexpected:
        parts.append(f"holds {len(unexpected)} that they do not describe, first {min(unexpected)}")
    return f"{source} {', and '.join(parts)}."


def check_shapes(
    source: object,
    wanted: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    optional: Collection[str] = (),
) -> None:
    """Make sure that weights are those of a model, none missing, none too many, each of its shape.

    Args:
        source: where they are from, for messages.
        wanted: the model's parameters, tied ones once; their storage is not looked at.
        found: the weights.
        optional: names that may be missing.

    Raises:
        ModelError: they are not.
    """
    missing = set(wanted) - set(found) - set(optional)
    unexpected = set(found) - set(wanted)
    if missing or unexpected:
        raise ModelError(differences(source, missing, unexpected), _hint(unexpected))
    for name, parameter in sorted(found.items()):
        if parameter.shape != wanted[name].shape:
            raise ModelError(
                f"{source} holds {name} of shape {tuple(parameter.shape)}, and its config.json "
                f"describes {tuple(wanted[name].shape)}.",
                AGAIN,
            )


def _hint(unexpected: Collection[str]) -> str:
    if any("lora_" in name or ".base_layer." in name for name in unexpected):
        return "It holds an adapter that is not merged: call merge_and_unload(), and save it again."
    if any(name in ("state_dict", "model_state_dict", "model", "epoch") for name in unexpected):
        return "A training checkpoint wraps its weights: save the model with save_pretrained."
    prefix = next((m[0] for name in unexpected if (m := _START.match(name))), "")
    if prefix:
        return f"Take {prefix!r} off the names of its weights."
    return "Get the model again, or correct its config.json."


def check_finite(module: nn.Module, name: str) -> None:
    """Make sure that every parameter and statistic of a model is a number.

    Args:
        module: the model's module.
        name: the model's, for messages.

    Raises:
        ModelError: one holds NaN or an infinite value; the first is named.
    """
    for key, tensor in module.state_dict().items():
        # A sum is a number only if all are; if it is not, it may only have grown too large.
        if tensor.is_floating_point() and not (
            bool(tensor.sum().isfinite()) or bool(torch.isfinite(tensor).all())
        ):
            raise ModelError(f"{key} of {name} holds NaN or infinite weights.", AGAIN)
