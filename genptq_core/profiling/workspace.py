"""The workspace of one profile: what its stages share, and the folder of their results."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ..errors import ProfileError
from ..models import SpeechModel
from ..profile import Settings
from ..progress import Report
from ..speech.utterances import SpeechSet
from ..storage.files import locked
from ..storage.json_files import read_json, write_json
from ..units import Unit
from .footprint import plan_memory

SCHEMA = "genptq-work"
VERSION = 3

ROUNDED = "rounded"
"""The folder of what every unit is rounded to."""

_ERRORS = "errors"  # its name in earlier versions, which kept errors instead


@dataclass(kw_only=True)
class Workspace:
    """A profile being computed; every stage resumes from its files in `folder`.

    Attributes:
        folder: where stages keep their results; its name is a digest of all that they depend on.
        model: the model.
        speech: the calibration set.
        listening: more speech, only for the statistics of inputs.
        settings: what to compute.
        report: called with the progress of each stage.
        bf16: whether backward passes and second moments multiply matrices in bf16; see
            `models.device`.
        hits: how many steps came from the cache.
        backward_passes: how many backward passes were run.
        parameters: parameters that have units, by name.
        rows_of: the units of each of them, with their indices in the profile.
    """

    folder: Path
    model: SpeechModel
    speech: SpeechSet
    listening: SpeechSet | None
    settings: Settings
    report: Report
    bf16: bool = False
    hits: int = 0
    backward_passes: int = 0
    parameters: dict[str, nn.Parameter] = field(init=False)
    rows_of: dict[str, list[tuple[int, Unit]]] = field(init=False)

    def __post_init__(self) -> None:
        wanted = {unit.parameter for unit in self.model.units}
        named = self.model.module.named_parameters()
        self.parameters = {name: p for name, p in named if name in wanted}
        self.rows_of = {name: [] for name in wanted}
        for row, unit in enumerate(self.model.units):
            self.rows_of[unit.parameter].append((row, unit))

    def spent(self, seconds: float) -> float:
        """The seconds that all runs of this profile took, with those of this run added."""
        path = self.folder / "seconds.json"
        try:
            before = float(read_json(path, SCHEMA, VERSION, ProfileError, "")["seconds"])
        except (ProfileError, KeyError, TypeError, ValueError):
            before = 0.0  # absent or damaged
        if self.backward_passes == 0 and before:
            return before
        write_json(path, SCHEMA, VERSION, {"seconds": before + seconds})
        return before + seconds

    def finish(self) -> None:
        """Delete what units were rounded to: it is large, and not needed again."""
        for name in (ROUNDED, _ERRORS):
            shutil.rmtree(self.folder / name, ignore_errors=True)


@contextmanager
def opened(workspace: Workspace, max_memory: int | None) -> Iterator[int]:
    """Keep other processes out of a workspace, after its footprint was found to fit.

    A second process on the same profile waits, and then takes everything from the cache.

    Yields:
        How many utterances' gradients to hold together, 0 for none.

    Raises:
        FootprintError: it does not fit in the memory allowed, or on the disk.
        GenPTQError: the folder cannot be written.
    """
    folder, settings = workspace.folder, workspace.settings
    together, _ = plan_memory(workspace.model, workspace.speech, settings, folder, max_memory)
    with locked(folder):
        yield together
