"""A native export turned, once, into the form of another runtime: one parameter after another.

Neither torch nor transformers is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import ConstraintError, ExportError
from ..extras import install_command
from ..formats import (
    ctranslate2_whisper,
    export_file,
    gguf_parakeet,
    gguf_whisper,
    native_file,
    settings_files,
    unpacked_file,
)
from ..formats.export_file import ExportFile
from ..formats.gguf_file import Packed
from ..formats.parakeet_layout import EMBEDDING, HEADS, ParakeetLayout
from ..formats.parameters import Held, Parameter, array_of, finite
from ..formats.transformers_folder import write as write_transformers
from ..formats.whisper_layout import POSITIONS, WhisperLayout, sinusoids
from ..progress import Progress, Report, silent
from ..quantizers import ggml
from ..storage.folders import atomic_folder, check_delivery
from ..targets import native, target_of

GGUF_FILE = "model.gguf"
_HALF = "f16"


@dataclass(frozen=True)
class Source:
    """A native export that is to be unpacked.

    Attributes:
        folder: its path.
        note: its `export.json`.
        files: settings by name.
        parameters: every stored parameter by name.
        report: called with the progress.
    """

    folder: Path
    note: ExportFile
    files: dict[str, bytes]
    parameters: Mapping[str, Parameter]
    report: Report

    @property
    def name(self) -> str:
        """The model's name without the folder that it was in."""
        return Path(self.note.model).name or self.note.family


@dataclass(frozen=True)
class Way:
    """What an export can be unpacked to.

    Attributes:
        name: how the command line names it.
        runs_in: the runtime, with what installs it.
        widths: ways to store matrices by what they may be called, the usual one first.
        write: writes a folder's files from a source and a way to store matrices.
    """

    name: str
    runs_in: str
    widths: dict[str, str]
    write: Callable[[Path, Source, str], None]


@dataclass(frozen=True)
class Unpacked:
    """An unpacked folder.

    Attributes:
        folder: its path.
        way: what it was unpacked to.
        width: how matrices are stored.
        files: names of its files, its note included.
        bytes: bytes of all files but the note.
        source_bytes: bytes of what was unpacked, without notes.
    """

    folder: Path
    way: str
    width: str
    files: tuple[str, ...]
    bytes: int
    source_bytes: int


def unpack(
    folder: Path, way: str, out: Path, width: str | None = None, report: Report = silent
) -> Unpacked:
    """Turn a native export into another runtime's form; the folder appears whole or not at all.

    Args:
        folder: the export, which is checked against its digests first.
        way: name of what to unpack it to.
        out: the folder to write; one that was unpacked there earlier is replaced.
        width: how to store matrices; as the way usually does if None.
        report: called with the progress.

    Raises:
        ConstraintError: there is no such way, or it has no such width.
        ExportError: the export is damaged, no native one, or of a model that the runtime does not
            know; or the folder cannot be written.
    """
    chosen = way_of(way)
    kind = width_of(chosen, width)
    folder, out = Path(folder), Path(out)
    check_delivery(out, unpacked_file.NAME)
    source = _source(folder, report)
    with atomic_folder(out, unpacked_file.NAME) as fresh:
        chosen.write(fresh, source, kind)
        digests = export_file.digests(fresh, unpacked_file.NAME)
        size = sum((fresh / name).stat().st_size for name in digests)
        note = unpacked_file.UnpackedFile(
            way=way,
            width=kind,
            model=source.note.model,
            family=source.note.family,
            model_digest=source.note.model_digest,
            map_digest=source.note.map_digest,
            files=digests,
        )
        unpacked_file.write(fresh, note)
    needed = {native_file.NAME, settings_files.NAME, *source.files}
    paths = (folder / name for name in needed)
    return Unpacked(
        folder=out,
        way=way,
        width=kind,
        files=(*digests, unpacked_file.NAME),
        bytes=size,
        source_bytes=sum(path.stat().st_size for path in paths if path.exists()),
    )


def way_of(name: str) -> Way:
    """The way of a name.

    Raises:
        ConstraintError: there is no such way.
    """
    if name not in WAYS:
        raise ConstraintError(f"Nothing is unpacked to {name!r}.", f"There are: {', '.join(WAYS)}.")
    return WAYS[name]


def width_of(way: Way, asked: str | None) -> str:
    """How a way stores matrices when it is asked for a width.

    Raises:
        ConstraintError: it has no such width.
    """
    width = next(iter(way.widths)) if asked is None else asked.lower()
    if width not in way.widths:
        raise ConstraintError(
            f"{way.name} is not unpacked to width {asked}.",
            f"Widths: {', '.join(way.widths)}.",
        )
    return way.widths[width]


def _source(folder: Path, report: Report) -> Source:
    """A native export, checked against its digests.

    Raises:
        ExportError: it is damaged, or no native one.
    """
    note = export_file.verify(folder)
    if target_of(note.target).format != native.NAME:
        raise ExportError(
            f"{folder} is written for {note.target} already; native exports are unpacked.",
            f"Export with --target {native.NAME}.",
        )
    for name in (native_file.NAME,):
        if name not in note.files:
            raise ExportError(
                f"{folder / export_file.NAME} does not name {name}.", "Export it again."
            )
    archive = folder / settings_files.NAME
    if archive.exists() and settings_files.NAME not in note.files:
        raise ExportError(f"{folder / export_file.NAME} does not name {archive.name}.")
    stored = native_file.parameters(folder / native_file.NAME)
    parameters = {parameter.name: parameter for parameter in stored}
    return Source(folder, note, settings_files.read(folder), parameters, report)


def _whisper(source: Source) -> tuple[WhisperLayout, dict[str, Parameter]]:
    """A Whisper's settings, and all of its parameters: positions that follow from a formula too.

    Raises:
        ExportError: it is no Whisper, or a parameter is missing, misshapen or unknown.
    """
    layout = WhisperLayout.of(source.files, str(source.folder))
    parameters = dict(source.parameters)
    if POSITIONS not in parameters:
        parameters[POSITIONS] = Held(POSITIONS, sinusoids(*layout.shapes[POSITIONS]))
    _check_complete(source, parameters, layout.shapes)
    return layout, parameters


def _check_complete(
    source: Source, parameters: Mapping[str, Parameter], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Make sure that parameters are those that the settings describe.

    Raises:
        ExportError: one is missing, misshapen or unknown.
    """
    for name, shape in shapes.items():
        if name not in parameters:
            raise ExportError(f"{source.folder} lacks {name}.", "Export it again.")
        if parameters[name].shape != shape:
            raise ExportError(f"{name} of {source.folder} is of another shape than its settings.")
    unknown = next((name for name in parameters if name not in shapes), None)
    if unknown is not None:
        raise ExportError(
            f"{source.folder} holds {unknown}, which no {source.note.family} model has."
        )


def _reported(source: Source, parameters: Mapping[str, Parameter]) -> Iterator[Parameter]:
    for done, parameter in enumerate(parameters.values()):
        source.report(Progress("unpacking", done, len(parameters)))
        yield parameter


def _write_gguf(folder: Path, source: Source, kind: str) -> None:
    if source.note.family in HEADS:
        parakeet = ParakeetLayout.of(source.files, str(source.folder))
        model, packable = gguf_parakeet.model_of(parakeet, source.name), gguf_parakeet.is_packable
        parameters: Mapping[str, Parameter] = source.parameters
        _check_complete(source, parameters, parakeet.shapes)
        if EMBEDDING in parameters:
            gguf_parakeet.check_start(parakeet, array_of(parameters[EMBEDDING])[parakeet.silence])
    else:
        whisper, parameters = _whisper(source)
        model, packable = gguf_whisper.model_of(whisper, source.name), gguf_whisper.is_matrix

    def tensors() -> Iterator[tuple[str, Packed | np.ndarray]]:
        for one in _reported(source, parameters):
            is_float = kind == _HALF or not packable(one.name, one.shape)
            yield one.name, array_of(one) if is_float else _packed(one, kind)

    model.write(folder / GGUF_FILE, tensors())


def _packed(parameter: Parameter, kind: str) -> Packed | np.ndarray:
    """A matrix in blocks of a type, if they divide its rows."""
    shape = parameter.shape
    block = ggml.TYPES[kind]
    if shape[1] % block.weights:
        return array_of(parameter, np.float16)
    data = np.empty((shape[0], ggml.row_bytes(block, shape[1])), dtype=np.uint8)
    for start, rows in finite(parameter):
        data[start : start + len(rows)] = ggml.nearest(block, rows)
    return Packed(block.number, data, shape)


def _write_ctranslate2(folder: Path, source: Source, kind: str) -> None:
    layout, parameters = _whisper(source)
    ctranslate2_whisper.write(folder, layout, parameters, source.files, packed=kind == "int8")


def _write_transformers(folder: Path, source: Source, kind: str) -> None:
    parameters = source.parameters
    if source.note.family == "whisper":
        _, parameters = _whisper(source)
    write_transformers(folder, source.files, parameters)


def _write_onnx(folder: Path, source: Source, kind: str) -> None:
    try:
        from .unpack_onnx import write
    except ImportError as error:
        raise ExportError(
            f"Unpacking to ONNX needs a package that is not installed ({error.name}).",
            install_command("onnx"),
        ) from error
    layout, parameters = _whisper(source)
    size = write(folder, layout, parameters, source.files, report=source.report)
    note = replace(source.note, target="onnx", bytes=size)
    export_file.write(folder, replace(note, files=export_file.digests(folder)))


WAYS = {
    way.name: way
    for way in (
        Way(
            "gguf",
            "transcribe.cpp: pip install transcribe-cpp",
            {
                **{"8": "q8_0", "5": "q5_1", "16": _HALF},
                **{name: name for name in ("q8_0", "q5_1", "q5_0", _HALF)},
            },
            _write_gguf,
        ),
        Way(
            "ctranslate2",
            "faster-whisper: pip install faster-whisper",
            {"8": "int8", "16": "float16", "int8": "int8", "float16": "float16"},
            _write_ctranslate2,
        ),
        Way("onnx", "ONNX Runtime: genptq transcribe", {"8": "int8", "int8": "int8"}, _write_onnx),
        Way(
            "transformers",
            "transformers: from_pretrained",
            {"16": "float16", "float16": "float16"},
            _write_transformers,
        ),
    )
}
"""What an export can be unpacked to, by name."""
