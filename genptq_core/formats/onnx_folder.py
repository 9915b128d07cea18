"""The folder of an ONNX export of Whisper: two graphs and settings. Without torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ExportError
from ..extras import install_command
from ..models.whisper_settings import WhisperSettings
from ..units import Unit
from .onnx_notes import Notes
from .onnx_weights import Weights
from .plain_settings import Files, folder_bytes, settings_bytes, write_settings

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"


def write(
    folder: Path, weights: Weights, config: Any, asked: WhisperSettings, settings: Files
) -> int:
    """Write encoder, decoder and settings, filled up to what `overhead` says.

    Args:
        folder: where to.
        weights: every parameter.
        config: sizes, as attributes named as `transformers` names them.
        asked: how the model decodes.
        settings: its settings files.

    Returns:
        Bytes of all parameters in the graphs.

    Raises:
        ExportError: a package is missing, or a weight cannot be written.
    """
    try:
        from .onnx_graph import Graph
        from .onnx_outline import fill
        from .onnx_whisper import write_decoder, write_encoder
    except ImportError as error:
        raise missing("Writing ONNX graphs", error) from error
    size = write_encoder(folder / ENCODER, Graph(weights), config)
    size += write_decoder(folder / DECODER, Graph(weights), config, _notes(asked, config))
    write_settings(folder, settings)
    units = (unit for units in weights.units.values() for unit in units)
    promised = overhead(weights.shapes, units, config, asked, settings=settings)
    fill(folder / DECODER, promised + size - folder_bytes(folder))
    return size


def overhead(
    shapes: Mapping[str, tuple[int, ...]],
    units: Iterable[Unit],
    config: Any,
    asked: WhisperSettings,
    *,
    settings: Files,
) -> int:
    """Bytes of all that `write` writes besides the parameters, whatever the map.

    Args:
        shapes: of every parameter, by name.
        units: of the model, in order.
        config, asked, settings: as `write` takes them.

    Raises:
        ExportError: a package is missing.
    """
    try:
        from .onnx_outline import Outline
        from .onnx_whisper import write_decoder, write_encoder
    except ImportError as error:
        raise missing("Sizes of ONNX graphs", error) from error
    listed = list(units)
    encoder, decoder = (Outline(shapes, listed) for _ in range(2))
    write_encoder(Path(ENCODER), encoder, config)
    write_decoder(Path(DECODER), decoder, config, _notes(asked, config))
    return settings_bytes(settings) + encoder.length + decoder.length


def missing(what: str, error: ImportError) -> ExportError:
    """What to say where a package is not installed."""
    return ExportError(
        f"{what} needs a package that is not installed ({error.name}).", install_command("onnx")
    )


def _notes(asked: WhisperSettings, config: Any) -> dict[str, str]:
    """The decoder's metadata."""
    notes = Notes(
        prompt=asked.prompt,
        ends=asked.ends,
        never=asked.suppressed,
        not_first=asked.not_first,
        most=asked.most,
        layers=config.decoder_layers,
    )
    return {"decoding": json.dumps(notes.as_json())}
