"""A bit map as a folder that its target loads, with exactly the bytes that were promised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bitmaps.bitmap import BitMap
from ..bitmaps.figures import figures_of
from ..bitmaps.file import write_bit_map
from ..errors import ExportError
from ..formats import export_file
from ..formats.registry import FORMATS
from ..loading import load_model
from ..models import SpeechModel
from ..models.weights import replaced
from ..profile import Profile
from ..progress import Report, silent
from ..rounding.compilation import Compiled
from ..rounding.rounded import check_model, stored_units
from ..storage.folders import atomic_folder
from ..targets import check_holds, predicted_bytes, target_of


@dataclass(frozen=True)
class ExportResult:
    """An exported folder.

    Attributes:
        folder: its path.
        target: name of the target that loads it.
        files: names of its files, `export.json` included.
        bytes: bytes of all stored parameters, without the headers of files.
        predicted_bytes: bytes that the solver promised.
        disk_bytes: bytes of all files, settings and tokenizer included.
    """

    folder: Path
    target: str
    files: tuple[str, ...]
    bytes: int
    predicted_bytes: int
    disk_bytes: int


def export(
    profile: Profile,
    chosen: BitMap,
    target: str | None,
    out: Path,
    model: SpeechModel | None = None,
    *,
    report: Report = silent,
    compiled: Compiled | None = None,
    **figures: Any,
) -> ExportResult:
    """Write a bit map as a model that a target loads; the folder appears whole or not at all.

    Args:
        profile: the profile; its rounding is written unless `compiled` is given.
        chosen: the map.
        target: name of the target; the native one if None.
        out: the folder; an earlier export there is replaced.
        model: the profile's model; loaded by its name if None.
        report: called with the progress.
        compiled: the map compiled on speech, to be written in place of the profile's rounding.
        figures: what was predicted or measured for the map, for its `bitmap.json`.

    Raises:
        ConstraintError: the target is unknown, or cannot hold the map.
        ModelError: the model cannot be loaded, or is not the profile's.
        ExportError: the folder cannot be written.
    """
    form = target_of(target)
    check_holds(form, profile, chosen.options)
    promised = predicted_bytes(form, profile, chosen.options)
    model = model or load_model(profile.source.model)
    check_model(model, profile)
    out = Path(out)
    with atomic_folder(out, export_file.NAME) as folder:
        stored = (
            compiled.stored if compiled else stored_units(model, profile, chosen.options, report)
        )
        with replaced(model, compiled.tuned if compiled else {}):
            size = FORMATS[form.format].write(folder, model, stored)
        if size != promised:
            raise ExportError(
                f"The {form.name} export takes {size} bytes; {promised} were promised.",
                "This is a fault of the program: please report it.",
            )
        predicted = figures_of(profile, chosen)
        known = {"bytes": promised, "target": form.name, "avg_bits": predicted.avg_bits}
        known |= {"predicted_loss": predicted.predicted_loss, **figures}
        write_bit_map(folder / "bitmap.json", profile, chosen, **known)
        export_file.write(
            folder,
            export_file.ExportFile(
                target=form.name,
                model=profile.source.model,
                family=profile.source.family,
                model_digest=profile.source.model_digest,
                profile_digest=profile.digest,
                map_digest=chosen.digest,
                bytes=size,
                compiled=compiled.digest if compiled else "",
                files=export_file.digests(folder),
            ),
        )
    return _result(out, form.name, size, promised)


def _result(folder: Path, target: str, size: int, promised: int) -> ExportResult:
    """What was written to a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = tuple(path.relative_to(folder).as_posix() for path in files)
    disk = sum(path.stat().st_size for path in files)
    return ExportResult(
        folder=folder,
        target=target,
        files=names,
        bytes=size,
        predicted_bytes=promised,
        disk_bytes=disk,
    )
