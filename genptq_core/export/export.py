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
from ..formats.plain_settings import folder_bytes, saved
from ..formats.registry import FORMATS
from ..loading import load_model_of
from ..models import SpeechModel
from ..models.weights import replaced
from ..profile import Profile
from ..progress import Report, silent
from ..rounding.compilation import Compiled
from ..rounding.rounded import check_model, stored_units
from ..storage.folders import atomic_folder
from ..targets import check_holds, overhead, predicted_bytes, target_of


@dataclass(frozen=True)
class ExportResult:
    """An exported folder.

    Attributes:
        folder: its path.
        target: name of the target that loads it.
        files: names of its files, `export.json` included.
        bytes: bytes of all files that its runtime reads: all but `export.json` and `bitmap.json`,
            which are notes of this program.
        predicted_bytes: bytes that the solver promised: of those files, or, where the profile does
            not know what they take besides the tensors, of the tensors alone.
        weights_bytes: bytes of the tensors among them.
        disk_bytes: bytes of all files.
    """

    folder: Path
    target: str
    files: tuple[str, ...]
    bytes: int
    predicted_bytes: int
    weights_bytes: int
    disk_bytes: int

    @property
    def as_promised(self) -> bool:
        """Whether the folder, or the tensors alone where only they were promised, is as promised.

        It is not where other versions of libraries write the settings than when the profile was
        computed.
        """
        return self.predicted_bytes in (self.bytes, self.weights_bytes)


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
    promised_weights = promised - overhead(form, profile)
    model = model or load_model_of(profile)
    check_model(model, profile)
    out = Path(out)
    with atomic_folder(out, export_file.NAME) as folder:
        stored = (
            compiled.stored if compiled else stored_units(model, profile, chosen.options, report)
        )
        with replaced(model, compiled.tuned if compiled else {}):
            size = FORMATS[form.format].write(folder, model, stored)
        if size != promised_weights:
            raise _fault(form.name, size, promised_weights)
        written = folder_bytes(folder)
        if written != promised:
            # Either the program is wrong, or other libraries than the profile's write the settings.
            known = size + FORMATS[form.format].overhead(model, saved(model))
            if written != known:
                raise _fault(form.name, written, known)
        predicted = figures_of(profile, chosen)
        said = {"bytes": promised, "target": form.name, "avg_bits": predicted.avg_bits}
        said |= {"predicted_loss": predicted.predicted_loss, **figures}
        write_bit_map(folder / "bitmap.json", profile, chosen, **said)
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


def _fault(target: str, found: int, promised: int) -> ExportError:
    return ExportError(
        f"The {target} export takes {found} bytes; {promised} were promised.",
        "This is a fault of the program: please report it.",
    )


def _result(folder: Path, target: str, weights: int, promised: int) -> ExportResult:
    """What was written to a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = tuple(path.relative_to(folder).as_posix() for path in files)
    disk = sum(path.stat().st_size for path in files)
    return ExportResult(
        folder=folder,
        target=target,
        files=names,
        bytes=folder_bytes(folder),
        predicted_bytes=promised,
        weights_bytes=weights,
        disk_bytes=disk,
    )
