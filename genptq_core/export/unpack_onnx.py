"""A native export of Whisper as ONNX graphs in 8 bits; unlike other ways, this needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..formats import export_file, onnx_runtime
from ..formats.reading import load_export
from ..models import SpeechModel
from ..options import UNQUANTIZED, Option
from ..quantizers import Stored, fit_grid, round_to_nearest
from ..targets import onnx_runtime as target
from ..units import Unit

_BITS = 8
_GROUPS = (64, 32, 16)


def write(folder: Path, source: Path) -> None:
    """Write the graphs, every matrix that they can hold in 8 bits, as an export of this program.

    Args:
        folder: where to.
        source: the native export.

    Raises:
        ExportError: the export cannot be read, or the graphs cannot be written.
    """
    model = load_export(source)
    size = onnx_runtime.write(folder, model, _stored(model))
    note = replace(export_file.read(source), target="onnx", bytes=size)
    export_file.write(folder, replace(note, files=export_file.digests(folder)))


def _stored(model: SpeechModel) -> Iterator[tuple[Unit, Option, Stored]]:
    parameters = dict(model.module.named_parameters())
    for unit in model.units:
        weight = parameters[unit.parameter].detach()[unit.start : unit.stop]
        weight = weight.reshape(unit.rows, unit.columns).float()
        held = (Option(_BITS, size) for size in _GROUPS)
        option = next((o for o in held if target.holds(unit, o)), UNQUANTIZED)
        if option.form == "half":
            yield unit, option, weight
        else:
            grid = fit_grid(weight, _BITS, option.group_size)
            yield unit, option, round_to_nearest(weight, grid)
