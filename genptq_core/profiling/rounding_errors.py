"""What every unit is rounded to at every option, kept in files while a profile is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..models.layered import held_or_layered
from ..models.weights import unit_weight
from ..options import UNQUANTIZED, Option, divides
from ..progress import Progress
from ..quantizers import Sketch, quantize_together
from ..storage.cache import read_cached
from ..units import Unit
from .footprint import ROUNDED_TOGETHER, kept_as_numbers
from .unit_errors import UnitErrors, write_errors
from .workspace import ROUNDED, Workspace


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
        self._as_numbers = kept_as_numbers(workspace.model.units, workspace.settings.options)
        self._paths: list[Path] = []

    @property
    def paths(self) -> list[Path]:
        """The files, one per unit, in the profile's order."""
        if not self._paths:
            self._paths = self._write()
        return self._paths

    def _write(self) -> list[Path]:
        workspace = self._workspace
        units = workspace.model.units
        folder = workspace.folder / ROUNDED
        paths = [folder / f"{index}.safetensors" for index in range(len(units))]
        missing = {i for i, path in enumerate(paths) if read_cached(path) is None}
        done = len(units) - len(missing)
        workspace.hits += done
        for members in groups_of_units(units):
            # The whole group, as before a run was cut off: other sums might round otherwise.
            left = missing.intersection(members)
            if left:
                workspace.report(Progress("rounding", done, len(units)))
                self._write_group(members, {i: paths[i] for i in left})
                done += len(left)
        workspace.report(Progress("rounding", len(units), len(units)))
        return paths

    def _write_group(self, members: Sequence[int], paths: Mapping[int, Path]) -> None:
        """Round units with the same inputs at every option, and write those that have a path."""
        parameters, options = self._workspace.parameters, self._workspace.settings.options
        units = [self._workspace.model.units[index] for index in members]
        weights = [unit_weight(parameters[unit.parameter], unit) for unit in units]
        importance = [self._importance[u.parameter][u.start : u.stop].float() for u in units]
        held = [option for option in options if divides(option, units[0].columns)]
        sketch = self._sketches.get(units[0].inputs)
        rounded = quantize_together(weights, sketch, importance, held)
        for index, weight, stored in zip(members, weights, rounded, strict=True):
            if index in paths:
                of_option = dict(zip(held, stored, strict=True))
                found = {option: of_option.get(option) for option in options}
                write_errors(paths[index], weight, found, as_numbers=self._as_numbers)

    def weights(self, options: tuple[Option, ...]) -> Mapping[str, Tensor]:
        """Parameters of a configuration, by name, without those that are left as they are.

        A unit that cannot be stored with its option is NaN.
        """
        parts: dict[str, list[tuple[Unit, Option, Path]]] = {}
        for unit, option, path in zip(
            self._workspace.model.units, options, self.paths, strict=True
        ):
            if option != UNQUANTIZED:
                parts.setdefault(unit.parameter, []).append((unit, option, path))
        parameters = self._workspace.parameters
        makers = {name: partial(_rounded, parameters[name], units) for name, units in parts.items()}
        return held_or_layered(self._workspace.model.module, makers)


def groups_of_units(units: Sequence[Unit]) -> list[list[int]]:
    """Indices of units that are rounded together: of the same inputs, and not too many."""
    groups: list[list[int]] = []
    latest: dict[tuple[str, int], list[int]] = {}
    for index, unit in enumerate(units):
        key = unit.inputs, unit.columns
        group = latest.get(key)
        if group is None or sum(units[i].weights for i in group) + unit.weights > ROUNDED_TOGETHER:
            group = latest[key] = []
            groups.append(group)
        group.append(index)
    return groups


def _rounded(parameter: Tensor, parts: Sequence[tuple[Unit, Option, Path]]) -> Tensor:
    """A parameter with its units as they are rounded."""
    weight = parameter.detach().clone()
    for unit, option, path in parts:
        rounded = UnitErrors(path, unit_weight(parameter, unit)).restored(option)
        part = weight[unit.start : unit.stop]
        if rounded is None:
            part.fill_(torch.nan)
        else:
            part.copy_(rounded.view_as(part))
    return weight
