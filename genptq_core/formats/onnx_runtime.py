"""ONNX Runtime exports of Whisper: written as two graphs, decoded greedily on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..errors import ExportError, GenPTQError
from ..extras import install_command
from ..models import SpeechModel
from ..models.folders import check_folder, check_rate, require, whole_reason
from ..models.whisper import require_settings
from ..options import Option
from ..quantizers import Stored
from ..units import Unit
from .onnx_names import cross_names, past_names
from .onnx_notes import Notes
from .plain_settings import Files, folder_bytes, saved, settings_bytes, write_settings
from .transcriber import WhisperTranscriber

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
FILES = (ENCODER, DECODER)
"""What is read besides settings."""


def write(folder: Path, model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]) -> int:
    """Write encoder and decoder, and all else that loading needs.

    Returns:
        Bytes of all parameters in the graphs.

    Raises:
        ExportError: a package is missing, or a weight cannot be written.
    """
    try:
        from .onnx_graph import Graph, Weights
        from .onnx_outline import fill
        from .onnx_whisper import write_decoder, write_encoder
    except ImportError as error:
        raise _missing("Writing ONNX graphs", error) from error
    whisper: Any = model
    weights, config = Weights(model.module, stored), whisper.module.config
    size = write_encoder(folder / ENCODER, Graph(weights), config)
    size += write_decoder(folder / DECODER, Graph(weights), config, _notes(model))
    settings = saved(model)
    write_settings(folder, settings)
    fill(folder / DECODER, overhead(model, settings) + size - folder_bytes(folder))
    return size


def overhead(model: SpeechModel, settings: Files) -> int:
    """Bytes of all that `write` writes besides the parameters, whatever the map.

    Raises:
        ExportError: a package is missing.
    """
    try:
        from .onnx_outline import Outline
        from .onnx_whisper import write_decoder, write_encoder
    except ImportError as error:
        raise _missing("Sizes of ONNX graphs", error) from error
    whisper: Any = model
    encoder, decoder = (Outline(model.module, model.units) for _ in range(2))
    write_encoder(Path(ENCODER), encoder, whisper.module.config)
    write_decoder(Path(DECODER), decoder, whisper.module.config, _notes(model))
    return settings_bytes(settings) + encoder.length + decoder.length


def _notes(model: SpeechModel) -> dict[str, str]:
    """The decoder's metadata."""
    whisper: Any = model
    settings = whisper.settings
    notes = Notes(
        prompt=settings.prompt,
        ends=settings.ends,
        never=settings.suppressed,
        not_first=settings.not_first,
        most=settings.most,
        layers=whisper.module.config.decoder_layers,
    )
    return {"decoding": json.dumps(notes.as_json())}


def load(folder: Path, name: str) -> SpeechModel:
    """Load an export; it can transcribe, nothing else.

    Raises:
        ExportError: the package is missing, or cannot read it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing(f"Reading {folder}", error) from error
    from transformers import WhisperFeatureExtractor, WhisperTokenizer

    check_folder(folder)
    for file in (ENCODER, DECODER):
        require(folder, "graph", [[file]])
    require_settings(folder)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        encoder, decoder = (
            onnxruntime.InferenceSession(
                str(folder / file), _options(onnxruntime), providers=["CPUExecutionProvider"]
            )
            for file in (ENCODER, DECODER)
        )
        said = json.loads(decoder.get_modelmeta().custom_metadata_map["decoding"])
        features = WhisperFeatureExtractor.from_pretrained(folder, **options)
        tokenizer = WhisperTokenizer.from_pretrained(folder, **options)
        shapes = {i.name: i.shape for i in [*decoder.get_inputs(), *encoder.get_inputs()]}
        size = int(next(o.shape[-1] for o in decoder.get_outputs() if o.name == "logits"))
        notes = Notes.of(said, size)
        wanted = {"tokens", "features", *cross_names(notes.layers), *past_names(notes.layers)}
        if not wanted <= set(shapes):
            raise ValueError(f"its graphs have no inputs of {notes.layers} layers")
        if shapes["features"][1] != features.feature_size:
            raise ValueError(
                f"its encoder hears {shapes['features'][1]} mel bands, and its features have "
                f"{features.feature_size}"
            )
        check_rate(str(folder), features)
    except GenPTQError:
        raise
    except Exception as error:  # onnxruntime's own errors have no common base
        reason = whole_reason(error)
        raise ExportError(f"{folder} cannot be loaded ({reason}).", "Export it again.") from error
    model = OnnxWhisper(
        name=name,
        encoder=encoder,
        decoder=decoder,
        notes=notes,
        features=features,
        tokenizer=tokenizer,
    )
    return cast(SpeechModel, model)


def _options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return options


def _missing(what: str, error: ImportError) -> ExportError:
    return ExportError(
        f"{what} needs a package that is not installed ({error.name}).", install_command("onnx")
    )


@dataclass(frozen=True)
class Encoded:
    """Encoder outputs of a batch: states, and keys and values of cross-attention."""

    arrays: tuple[np.ndarray, ...]

    def __getitem__(self, part: slice) -> Encoded:
        return Encoded(tuple(array[part] for array in self.arrays))

    def __len__(self) -> int:
        return len(self.arrays[0])


class OnnxWhisper(WhisperTranscriber):
    """A Whisper in ONNX Runtime: of `SpeechModel` it has `encode` and `transcribe` only."""

    kind = "an ONNX export"

    def __init__(
        self,
        *,
        name: str,
        encoder: Any,
        decoder: Any,
        notes: Notes,
        features: Any,
        tokenizer: Any,
    ) -> None:
        super().__init__(name, notes, features, tokenizer)
        self._encoder = encoder
        self._decoder = decoder
        self._cross = cross_names(notes.layers)
        self._past = past_names(notes.layers)

    def encode(self, audio: Sequence[np.ndarray]) -> Encoded:
        """Log-mel features through the encoder."""
        return Encoded(tuple(self._encoder.run(None, {"features": self.log_mel(audio)})))

    def step(
        self, tokens: np.ndarray, encoded: Encoded, past: list[np.ndarray] | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Decode one or more tokens of each row."""
        past = self._empty(len(encoded)) if past is None else past
        feeds = dict(zip(self._past, past, strict=True))
        feeds |= dict(zip(self._cross, encoded.arrays[1:], strict=True))
        logits, *kept = self._decoder.run(None, {"tokens": tokens, **feeds})
        return logits, kept

    def _empty(self, count: int) -> list[np.ndarray]:
        _, heads, _, size = next(
            i.shape for i in self._decoder.get_inputs() if i.name == self._past[0]
        )
        return [np.zeros((count, heads, 0, size), dtype=np.float32) for _ in self._past]
