"""Export: a bit map as a folder that its target loads, of the size that was promised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from . import bitmap, manifest
from .bitmap import BitMap
from .compilation import Compiled
from .delivery import delivered
from .errors import ExportError
from .formats import compressed_tensors, native, onnx_runtime
from .measurement import check_model, stored_units
from .models import SpeechModel, load_model, replaced
from .prediction import figures_of
from .profile import Profile
from .progress import Report, silent
from .targets import check, predicted_bytes, target_of

_FORMATS: dict[str, ModuleType] = {
    "native": native,
    "compressed_tensors": compressed_tensors,
    "onnx_runtime": onnx_runtime,
}


@dataclass(frozen=True)
class ExportResult:
    """An exported folder.

    Attributes:
        folder: where it is.
        target: name of the target that loads it.
        files: names of its files, the manifest among them.
        bytes: what all stored parameters take there, containers' headers left out.
        predicted_bytes: what the solver promised.
        disk_bytes: what the files take, settings and tokenizer included.
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
    report: Report = silent,
    compiled: Compiled | None = None,
    **figures: Any,
) -> ExportResult:
    """Write a bit map as a model that a target loads; whole, or not at all.

    Args:
        profile: the profile whose rounding is written.
        chosen: the map.
        target: name of the target; the native one if absent.
        out: the folder; what an earlier export left there is replaced.
        model: the profile's model; loaded by its name if absent.
        report: called with the progress.
        compiled: the map compiled on speech, to be written in place of the profile's rounding.
        figures: what was predicted or measured for the map, for its `bitmap.json`.

    Raises:
        ConstraintError: the target is unknown, or cannot hold the map.
        ModelError: the model cannot be loaded, or is not the profile's.
        ExportError: the folder cannot be written.
    """
    found = target_of(target)
    check(found, profile, chosen.options)
    promised = predicted_bytes(found, profile, chosen.options)
    model = model or load_model(profile.source.model)
    check_model(model, profile)
    out = Path(out)
    with delivered(out, manifest.NAME) as folder:
        stored = (
            compiled.stored if compiled else stored_units(model, profile, chosen.options, report)
        )
        with replaced(model, compiled.tuned if compiled else {}):
            size = _FORMATS[found.format].write(folder, model, stored)
        if size != promised:
            raise ExportError(
                f"The {found.name} export takes {size} bytes; {promised} were promised.",
                "This is a fault of the program: please report it.",
            )
        _, average, loss = figures_of(profile, chosen)
        known = {"bytes": promised, "target": found.name, "avg_bits": average}
        known |= {"predicted_loss": loss, **figures}
        bitmap.write(folder / "bitmap.json", profile, chosen, **known)
        manifest.write(
            folder,
            manifest.Manifest(
                target=found.name,
                model=profile.source.model,
                family=profile.source.family,
                model_digest=profile.source.model_digest,
                profile_digest=profile.digest,
                map_digest=chosen.digest,
                bytes=size,
                compiled=compiled.digest if compiled else "",
                files=manifest.digests(folder),
            ),
        )
    return _result(out, found.name, size, promised)


def load(folder: Path) -> SpeechModel:
    """Load an exported model, after checking its files.

    Raises:
        ExportError: a file is missing, damaged or altered.
        ConstraintError: it was written for a target that this program does not know.
    """
    found = manifest.verify(folder)
    loaded: SpeechModel = _FORMATS[target_of(found.target).format].load(Path(folder), str(folder))
    return loaded


def _result(folder: Path, target: str, size: int, promised: int) -> ExportResult:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = tuple(path.relative_to(folder).as_posix() for path in files)
    disk = sum(path.stat().st_size for path in files)
    return ExportResult(folder, target, names, size, promised, disk)
