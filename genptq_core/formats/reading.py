"""Reading an exported folder back as a model."""

from __future__ import annotations

from pathlib import Path

from ..models import SpeechModel
from ..targets import target_of
from . import export_file
from .registry import FORMATS


def load_export(folder: Path) -> SpeechModel:
    """Load an exported model, after checking its files.

    Raises:
        ExportError: a file is missing, damaged or altered.
        ConstraintError: it was written for a target that this program does not know.
    """
    export = export_file.verify(folder)
    model: SpeechModel = FORMATS[target_of(export.target).format].load(Path(folder), str(folder))
    return model
