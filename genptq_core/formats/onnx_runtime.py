"""ONNX Runtime exports of Whisper: written as two graphs, decoded greedily on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import ExportError, GenPTQError
from ..models import SpeechModel
from ..models.folders import check_folder, check_rate, require, whole_reason
from ..models.whisper import require_settings
from ..options import Option
from ..quantizers import Quantized, Stored
from ..quantizers.tensors import half
from ..units import Unit
from . import onnx_folder
from .onnx_folder import DECODER, ENCODER
from .onnx_names import cross_names, past_names
from .onnx_notes import Notes
from .onnx_weights import Integers, Width, by_parameter
from .plain_settings import Files, saved
from .transcriber import WhisperTranscriber
from .whisper_layout import check_tied

FILES = (ENCODER, DECODER)
"""What is read besides settings."""


def write(folder: Path, model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]) -> int:
    """Write encoder and decoder, and all else that loading needs.

    Returns:
        Bytes of all parameters in the graphs.

    Raises:
        ExportError: a package is missing, a weight cannot be written, or the graph does not compute
            what the model does.
    """
    whisper: Any = model
    weights = ModuleWeights(model, stored)
    config, asked = whisper.module.config, whisper.settings
    check_tied(config.to_dict(), model.name, "ONNX Runtime")
    return onnx_folder.write(folder, weights, config, asked, saved(model))


def overhead(model: SpeechModel, settings: Files) -> int:
    """Bytes of all that `write` writes besides the parameters, whatever the map.

    Raises:
        ExportError: a package is missing, or the graph does not compute what the model does.
    """
    whisper: Any = model
    config, asked = whisper.module.config, whisper.settings
    check_tied(config.to_dict(), model.name, "ONNX Runtime")
    return onnx_folder.overhead(_shapes(model), model.units, config, asked, settings=settings)


def _shapes(model: SpeechModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in model.module.named_parameters()}


class ModuleWeights:
    """The parameters of a model in memory: units as a bit map stores them."""

    def __init__(self, model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]) -> None:
        self.shapes = _shapes(model)
        self._module = model.module
        self._integers: dict[str, Quantized] = {}
        self._halves: dict[str, Tensor] = {}
        units = []
        for unit, _, weight in stored:
            if isinstance(weight, Quantized):
                self._integers[unit.name] = weight
            elif isinstance(weight, Tensor):
                self._halves[unit.name] = weight
            else:
                raise ExportError(f"{unit.name} is entropy-coded.", "Solve with --target onnx.")
            units.append(unit)
        self.units = by_parameter(units)

    def width(self, unit: Unit) -> Width | None:
        """How a unit is stored; None where it stays at 16 bit."""
        weight = self._integers.get(unit.name)
        return None if weight is None else Width(weight.grid.bits, weight.grid.group_size)

    def integers(self, unit: Unit) -> Integers:
        """Codes, scales and zero points of a unit."""
        weight = self._integers[unit.name]
        scales, zeros = weight.grid.scale.half(), weight.grid.zero.byte()
        return Integers(weight.codes.numpy(), scales.numpy(), zeros.numpy())

    def rows(self, unit: Unit) -> np.ndarray:
        """A unit at 16 bit."""
        return np.asarray(half(self._halves[unit.name], unit.name).numpy())

    def half(self, name: str) -> np.ndarray:
        """A parameter at 16 bit."""
        return np.asarray(half(self._module.get_parameter(name), name).numpy())


def load(folder: Path, name: str) -> SpeechModel:
    """Load an export; it can transcribe, nothing else.

    Raises:
        ExportError: the package is missing, or cannot read it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise onnx_folder.missing(f"Reading {folder}", error) from error
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
        vocabulary=size,
        features=features,
        tokenizer=tokenizer,
    )
    return cast(SpeechModel, model)


def _options(onnxruntime: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return options


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
        vocabulary: int,
        features: Any,
        tokenizer: Any,
    ) -> None:
        super().__init__(name, notes, vocabulary, features, tokenizer)
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
