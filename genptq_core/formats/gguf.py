"""GGUF exports for transcribe.cpp: written as one file, and read there.

What transcribe.cpp reads is all there is: `model.gguf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..errors import ExportError
from ..extras import install_command
from ..models import SpeechModel, Transcript
from ..models.folders import whole_reason
from ..options import Option
from ..quantizers import Blocks, Stored, restored
from ..storage.files import require_file
from ..units import Unit
from . import export_file, gguf_parakeet, gguf_whisper
from .gguf_file import Packed
from .gguf_model import GgufModel
from .parakeet_layout import EMBEDDING, HEADS, ParakeetLayout
from .plain_settings import Files, saved
from .transcriber import Transcriber
from .whisper_layout import WhisperLayout

NAME = "model.gguf"
FILES = (NAME,)
"""What is read besides settings."""


def write(folder: Path, model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]) -> int:
    """Write a model in one file that transcribe.cpp loads.

    Returns:
        Bytes of all parameters.

    Raises:
        ExportError: a weight cannot be written, or the model is none that transcribe.cpp loads.
    """
    return _file(model, saved(model)).write(folder / NAME, _tensors(model, stored))


def overhead(model: SpeechModel, settings: Files) -> int:
    """Bytes of the file beyond those of its parameters, whatever the map.

    Raises:
        ExportError: the model is none that transcribe.cpp loads.
    """
    return _file(model, settings).overhead


def _file(model: SpeechModel, files: Files) -> GgufModel:
    """What the file of a model holds besides its weights."""
    name = Path(model.name).name
    if model.family in HEADS:
        layout = ParakeetLayout.of(files, model.name)
        if layout.head != "ctc":
            row = model.module.get_parameter(EMBEDDING)[layout.silence]
            gguf_parakeet.check_start(layout, row.detach().cpu().numpy())
        return gguf_parakeet.model_of(layout, name)
    return gguf_whisper.model_of(WhisperLayout.of(files, model.name), name)


def _tensors(
    model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]
) -> Iterator[tuple[str, Packed | np.ndarray]]:
    """Every stored parameter, as soon as all of its rows are there."""
    parameters = dict(model.module.named_parameters())
    written = set(model.derived)
    parts: dict[str, list[Stored]] = {}
    rows: dict[str, int] = {}
    for unit, _, weight in stored:
        name = unit.parameter
        parts.setdefault(name, []).append(weight)
        rows[name] = rows.get(name, 0) + unit.rows
        if rows[name] == len(parameters[name]):
            written.add(name)
            yield name, _joined(parts.pop(name), tuple(parameters[name].shape))
    for name, parameter in parameters.items():
        if name not in written:
            yield name, parameter.detach().cpu().float().numpy()


def _joined(parts: Sequence[Stored], shape: tuple[int, ...]) -> Packed | np.ndarray:
    """A parameter from the rows of its units, in their order."""
    blocks = [part for part in parts if isinstance(part, Blocks)]
    if len(blocks) < len(parts):
        return torch.cat([restored(part) for part in parts]).reshape(shape).numpy()
    kind = blocks[0].scales.kind
    return Packed(kind.number, np.concatenate([part.packed() for part in blocks]), shape)


def load(folder: Path, name: str) -> SpeechModel:
    """Load an export in transcribe.cpp; it can transcribe, nothing else.

    Raises:
        ExportError: the package is missing, or cannot read it.
    """
    try:
        import transcribe_cpp
    except ImportError as error:
        raise ExportError(
            f"Reading {folder} needs a package that is not installed ({error.name}).",
            install_command("gguf"),
        ) from error
    path = Path(folder) / NAME
    require_file(path)
    transcribe_cpp.set_log_callback(lambda *_: None)  # it would write to the terminal
    try:
        model = transcribe_cpp.Model(str(path))
        session = model.session(n_threads=torch.get_num_threads())
    except Exception as error:  # the runtime's own errors say what is wrong with the file
        reason = whole_reason(error)
        raise ExportError(f"{folder} cannot be loaded ({reason}).", "Export it again.") from error
    # The runtime has one name for a family's heads; the note that is verified tells them apart.
    noted = (Path(folder) / export_file.NAME).is_file()
    family = export_file.read(folder).family if noted else str(model.arch)
    return cast(SpeechModel, TranscribeCpp(name, family, model, session))


class TranscribeCpp(Transcriber):
    """A model in transcribe.cpp: of `SpeechModel` it has `encode` and `transcribe` only."""

    kind = "a GGUF export"

    def __init__(self, name: str, family: str, model: Any, session: Any) -> None:
        self.name = name
        self.family = family
        self._model = model  # the session is valid only as long as its model is
        self._session = session

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The samples themselves: transcribe.cpp encodes and decodes in one."""
        return list(audio)

    def transcribe(self, encoded: Sequence[np.ndarray]) -> list[Transcript]:
        """What transcribe.cpp writes, with its own decoding; as far as it went where it stopped."""
        import transcribe_cpp

        written = []
        for samples in encoded:
            try:
                result = self._session.run(np.ascontiguousarray(samples, dtype=np.float32))
            except transcribe_cpp.OutputTruncated as stopped:
                result = stopped.partial_result
            text, tokens = (result.text, result.tokens) if result else ("", ())
            written.append(Transcript(text.strip(), tuple(token.id for token in tokens)))
        return written
