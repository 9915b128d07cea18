"""Reading an exported folder back as a model."""

from __future__ import annotations

from pathlib import Path

from ..errors import ExportError
from ..models import SpeechModel
from ..targets import target_of
from . import export_file
from .registry import FORMATS


def load_export(folder: Path) -> SpeechModel:
    """Load an exported model, after checking its files.

    Raises:
        ExportError: a file is missing, damaged or altered, or has no digest to check it by.
        ConstraintError: it was written for a target that this program does not know.
    """
    export = export_file.verify(folder)
    form = FORMATS[target_of(export.target).format]
    for name in form.FILES:
        if name not in export.files:
            raise ExportError(
                f"{Path(folder) / export_file.NAME} does not name {name}, which a "
                f"{export.target} export has.",
                "Export it again.",
            )
    model: SpeechModel = form.load(Path(folder), str(folder))
    return model
