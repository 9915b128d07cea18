"""MLX exports of Whisper: the folder that mlx-audio loads, mixed widths in one file.

For a quantized module M, `model.safetensors` holds

    M.weight   uint32   (rows, columns * bits / 32): codes, dense, least significant bit first
    M.scales   float16  (rows, groups)
    M.biases   float16  (rows, groups); a weight is scale * code + bias

where bias = -scale * zero, rounded to float16: at most 2^-11 of zero * scale off, as far as 16-bit
arithmetic rounds the largest weights of the group anyway. Everything else is float16, convolutions
as (out, kernel, in). `config.json` names each quantized module's width and group size.

The header of the weights and `config.json` are filled up with spaces to the length that they have
when everything is quantized, so that the size of the files depends on the model alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError
from ..models import SpeechModel
from ..models.whisper import POSITIONS
from ..options import Option
from ..quantizers import Quantized, Stored
from ..quantizers.packing import pack_words
from ..quantizers.tensors import half
from ..targets.mlx import GROUPS, quantizable
from ..units import Unit
from . import safetensors_file
from .mlx_names import WEIGHTS, mlx_name
from .mlx_whisper import load
from .plain_settings import Files, saved
from .safetensors_file import Entry
from .whisper_tokens import add_timestamps

FILES = (WEIGHTS,)
"""What is read besides settings."""

_CONFIG = "config.json"
_TOKENIZER = "tokenizer.json"
_HEADER_LENGTH = 8  # bytes that say how long the header is


def run_snippet(folder: str) -> str:
    """Python that transcribes talk.wav without Apple's GPU, where 16-bit arithmetic is slow."""
    return f"""\
import mlx.core as mx
from mlx_audio.stt.utils import load

model = load({json.dumps(folder)})
model.set_dtype(mx.float32)
model.dtype = mx.float32
heard = model.generate("talk.wav", fp16=False, return_timestamps=False)
print(heard.text)
"""


def write(folder: Path, model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]) -> int:
    """Write weights, configuration and tokenizer.

    Returns:
        Bytes of all tensors.

    Raises:
        ExportError: mlx-audio's Whisper does not compute what the model does, or a weight cannot
            be written.
    """
    _check_computed(model)
    packed: dict[str, list[dict[str, np.ndarray]]] = {}
    options: dict[str, Option] = {}
    for unit, option, weight in stored:
        if isinstance(weight, Quantized):
            packed.setdefault(unit.parameter, []).append(_packed(weight, unit.name))
            options[unit.parameter] = option
        elif option.form != "half":
            raise ExportError(f"{unit.name} is entropy-coded.", "Solve with --target mlx.")
    tensors: dict[str, np.ndarray] = {}
    for name, parameter in model.module.named_parameters():
        module = mlx_name(name).removesuffix(".weight") if name in packed else ""
        for part in packed[name][0] if module else ():
            rows = [block[part] for block in packed[name]]
            tensors[f"{module}.{part}"] = np.concatenate(rows)
        if not module and name not in model.derived:
            array = np.asarray(half(parameter, name).numpy())
            tensors[mlx_name(name)] = array.swapaxes(1, 2) if array.ndim == 3 else array
    for file, content in _settings(model, saved(model), options):
        (folder / file).write_bytes(content)
    entries = {name: Entry(tensor.dtype.name, tensor.shape) for name, tensor in tensors.items()}
    room = _header_bytes(model)
    return safetensors_file.write(folder / WEIGHTS, entries, tensors.items(), {}, header_bytes=room)


def overhead(model: SpeechModel, settings: Files) -> int:
    """Bytes of an export's files besides its tensors, whatever the map: exact.

    Raises:
        ExportError: mlx-audio's Whisper does not compute what the model does.
    """
    _check_computed(model)
    size = sum(len(content) for _, content in _settings(model, settings, {}))
    return size + _HEADER_LENGTH + _header_bytes(model)


def _check_computed(model: SpeechModel) -> None:
    """Make sure that mlx-audio's Whisper computes what a model does.

    Raises:
        ExportError: it does not.
    """
    config: Any = model.module.config
    reason = ""
    if POSITIONS not in model.derived:
        reason = "it computes the encoder's positions, and the model has learned its own"
    elif {config.encoder_ffn_dim, config.decoder_ffn_dim} != {4 * config.d_model}:
        reason = "its feed-forward layers are four times as wide as its states"
    elif not config.tie_word_embeddings:
        reason = "its output is its embedding"
    elif config.scale_embedding:
        reason = "it does not scale embeddings"
    elif config.activation_function != "gelu":
        reason = f"it has no activation {str(config.activation_function)[:40]!r}"
    if reason:
        raise ExportError(
            f"mlx-audio's Whisper is not {model.name}: {reason}.", "Use --target native."
        )


def _packed(stored: Quantized, name: str) -> dict[str, np.ndarray]:
    """A unit's tensors by the last part of their names."""
    scale, zero = stored.grid.scale.float(), stored.grid.zero.float()
    return {
        "weight": pack_words(stored.codes.numpy(), stored.grid.bits).view("<u4"),
        "scales": np.asarray(half(scale, name).numpy()),
        "biases": np.asarray(half(-scale * zero, name).numpy()),
    }


def _settings(
    model: SpeechModel, files: Files, options: dict[str, Option]
) -> Iterator[tuple[str, bytes]]:
    """Every settings file: JSON without needless blanks, widths in `config.json`."""
    for name, data in files.items():
        if not name.endswith(".json"):
            yield name, data
            continue
        content = json.loads(data)
        if name == _TOKENIZER:
            add_timestamps(content, model)
        text = _text(content)
        if name == _CONFIG:
            widest = dict.fromkeys(_quantizable(model), Option(8, max(GROUPS)))
            room = len(_text(_configured(content, widest)).encode())
            text = _text(_configured(content, options))
            text += " " * (room - len(text.encode()))
        yield name, text.encode()


def _text(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def _configured(settings: dict[str, Any], options: dict[str, Option]) -> dict[str, Any]:
    """A configuration with the width and the group size of every quantized module.

    mlx-audio leaves modules alone that the common group size does not divide.
    """
    layers = {
        mlx_name(name).removesuffix(".weight"): {
            "group_size": option.group_size,
            "bits": int(option.bits),
        }
        for name, option in options.items()
    }
    return {**settings, "quantization": {"group_size": min(GROUPS), "bits": 4, **layers}}


def _quantizable(model: SpeechModel) -> list[str]:
    """Parameters that may be integers."""
    return list(dict.fromkeys(unit.parameter for unit in model.units if quantizable(unit)))


def _header_bytes(model: SpeechModel) -> int:
    """The length of the weights' header, enough for every map.

    An entry is longest where a module has three tensors and offsets have the most digits; those
    are of tensors at 16 bit, which take more bytes than integers.
    """
    able = set(_quantizable(model))
    entries: dict[str, Entry] = {}
    for name, parameter in model.module.named_parameters():
        if name in model.derived:
            continue
        entry = Entry("float16", tuple(parameter.shape))
        entries[mlx_name(name)] = entry
        if name in able:
            module = mlx_name(name).removesuffix(".weight")
            entries |= {f"{module}.{part}": entry for part in ("scales", "biases")}
    return len(safetensors_file.header(entries, {}))


__all__ = ["FILES", "load", "overhead", "run_snippet", "write"]
