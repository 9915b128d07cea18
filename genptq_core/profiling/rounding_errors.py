"""Rounding errors of every option of every unit, kept in files while a profile is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..models.layered import held_or_layered
from ..models.weights import unit_weight
from ..options import UNQUANTIZED, Option, divides
from ..progress import Progress
from ..quantizers import Sketch, quantize, restored
from ..storage.cache import read_cached, write_cached
from ..units import Unit
from .workspace import Workspace


class RoundingErrors:
    """Rounding errors of every option of every unit, one file per unit, written on first use.

    Args:
        workspace: the profile being computed.
        sketches: Hessian sketches by input name.
        importance: how much the loss depends on each row, by parameter name.
    """

    def __init__(
        self,
        workspace: Workspace,
        sketches: Mapping[str, Sketch],
        importance: Mapping[str, Tensor],
    ) -> None:
        self._workspace = workspace
        self._sketches = sketches
        self._importance = importance
        self._paths: list[Path] = []

    @property
    def paths(self) -> list[Path]:
        """The files, one per unit, in the profile's order."""
        if not self._paths:
            self._paths = self._write()
        return self._paths

    def _write(self) -> list[Path]:
        workspace = self._workspace
        paths: list[Path] = []
        for index, unit in enumerate(workspace.model.units):
            path = workspace.folder / "errors" / f"{index}.safetensors"
            paths.append(path)
            if read_cached(path) is not None:  # checked here: later reads take single tensors
                workspace.hits += 1
                continue
            workspace.report(Progress("rounding", index, len(workspace.model.units)))
            weight = unit_weight(workspace.parameters[unit.parameter], unit)
            sketch = self._sketches.get(unit.inputs)
            rows = self._importance[unit.parameter][unit.start : unit.stop].float()
            options = [o for o in workspace.settings.options if divides(o, unit.columns)]
            hessian = None if sketch is None else sketch.dense()
            rounded = quantize(weight, hessian, rows, options)
            errors = {
                # NaN for an option with which the unit cannot be stored; the solver leaves it out.
                option.key: torch.full_like(weight, torch.nan).half()
                if stored is None
                else (restored(stored) - weight).half()
                for option, stored in zip(options, rounded, strict=True)
            }
            write_cached(path, errors)
        workspace.report(Progress("rounding", len(paths), len(paths)))
        return paths

    def weights(self, options: tuple[Option, ...]) -> Mapping[str, Tensor]:
        """Parameters of a configuration, by name, without those that are left as they are."""
        parts: dict[str, list[tuple[Unit, Option, Path]]] = {}
        for unit, option, path in zip(
            self._workspace.model.units, options, self.paths, strict=True
        ):
            if option != UNQUANTIZED:
                parts.setdefault(unit.parameter, []).append((unit, option, path))
        parameters = self._workspace.parameters
        makers = {name: partial(_shifted, parameters[name], units) for name, units in parts.items()}
        return held_or_layered(self._workspace.model.module, makers)


def _shifted(parameter: Tensor, parts: Sequence[tuple[Unit, Option, Path]]) -> Tensor:
    """A parameter with the rounding errors of its units added."""
    weight = parameter.detach().clone()
    for unit, option, path in parts:
        with safe_open(path, framework="pt") as handle:
            error = handle.get_tensor(option.key).to(weight.device, weight.dtype)
        part = weight[unit.start : unit.stop]
        part += error.view_as(part)
    return weight
