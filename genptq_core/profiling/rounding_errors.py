"""Rounding errors of every option of every unit, kept in files while a profile is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..models.layered import held_or_layered
from ..models.weights import unit_weight
from ..options import UNQUANTIZED, Option
from ..progress import Progress
from ..quantizers import quantize, restored
from ..storage.cache import read_cached, write_cached
from ..units import Unit
from .calibration_pass import CalibrationPass
from .workspace import Workspace


class RoundingErrors:
    """Rounding errors of every option of every unit, one file a unit, made when first needed."""

    def __init__(
        self, work: Workspace, observed: CalibrationPass, importance: dict[str, Tensor]
    ) -> None:
        self._work = work
        self._observed = observed
        self._importance = importance
        self._paths: list[Path] = []

    @property
    def paths(self) -> list[Path]:
        """The files, one a unit, in the profile's order."""
        if not self._paths:
            self._paths = self._make()
        return self._paths

    def _make(self) -> list[Path]:
        work = self._work
        paths: list[Path] = []
        for index, unit in enumerate(work.model.units):
            path = work.folder / "errors" / f"{index}.safetensors"
            paths.append(path)
            if read_cached(path) is not None:  # read later a tensor at a time, unchecked
                work.hits += 1
                continue
            work.report(Progress("rounding", index, len(work.model.units)))
            weight = unit_weight(work.parameters[unit.parameter], unit)
            hessian = self._observed.sketches.get(unit.inputs)
            rows = self._importance[unit.parameter][unit.start : unit.stop].float()
            options = work.settings.options
            moments = None if hessian is None else hessian.dense()
            stored = quantize(weight, moments, rows, options)
            found = {
                # An option that cannot be had is NaN, which the solver leaves out by name.
                option.key: torch.full_like(weight, torch.nan).half()
                if one is None
                else (restored(one) - weight).half()
                for option, one in zip(options, stored, strict=True)
            }
            write_cached(path, found)
        work.report(Progress("rounding", len(paths), len(paths)))
        return paths

    def weights(self, options: tuple[Option, ...]) -> Mapping[str, Tensor]:
        """Parameters of a configuration, by name; those left as they are stay out."""
        parts: dict[str, list[tuple[Unit, Option, Path]]] = {}
        for unit, option, path in zip(self._work.model.units, options, self.paths, strict=True):
            if option != UNQUANTIZED:
                parts.setdefault(unit.parameter, []).append((unit, option, path))
        parameters = self._work.parameters
        makers = {name: partial(_shifted, parameters[name], found) for name, found in parts.items()}
        return held_or_layered(self._work.model.module, makers)


def _shifted(parameter: Tensor, parts: Sequence[tuple[Unit, Option, Path]]) -> Tensor:
    weight = parameter.detach().clone()
    for unit, option, path in parts:
        with safe_open(path, framework="pt") as handle:
            error = handle.get_tensor(option.key).to(weight.device, weight.dtype)
        part = weight[unit.start : unit.stop]
        part += error.view_as(part)
    return weight
