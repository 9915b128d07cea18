"""compressed-tensors' `pack-quantized` checkpoints: `transformers` loads them without our code.

A group of weights along a row is called a block of shape (1, g) in the file: `transformers` loads
zero points of blocks as they are, while those of the "group" strategy are packed, which its loader
cannot read (compressed-tensors 0.18 to 0.20).

The header of the tensors and the list of quantized modules vary with the bit map. Blanks fill the
header up to what the longest of both takes, so that the folder's size is known beforehand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ExportError, GenPTQError, ModelError
from ..extras import install_command
from ..models import SpeechModel
from ..models.checkpoint import differences
from ..models.folders import check_folder, whole_reason
from ..models.hub import assembled
from ..options import Option
from ..quantizers import Quantized, Stored
from ..quantizers.packing import pack_words
from ..quantizers.tensors import half
from ..storage.files import write_text
from ..targets.compressed_tensors import LINEAR
from ..units import Unit
from . import safetensors_file
from .plain_settings import Files, compact, folder_bytes, saved, settings_bytes, write_settings
from .safetensors_file import Entry

NAME = "model.safetensors"
FILES = (NAME,)
"""What is read besides settings."""

_METHOD = "compressed-tensors"
_SETTINGS = "config.json"
_ALIGNED = 8  # bytes that the tensors' start is a multiple of
_PARTS = ("_packed", "_scale", "_zero_point", "_shape")


def write(folder: Path, model: SpeechModel, stored: Iterable[tuple[Unit, Option, Stored]]) -> int:
    """Write a checkpoint with its configuration, and all else that loading needs.

    Returns:
        Bytes of all tensors.

    Raises:
        ExportError: a weight cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    packed: dict[Option, list[str]] = {}
    for unit, option, weight in stored:
        if not isinstance(weight, Quantized):
            continue
        module = unit.parameter.removesuffix(".weight")
        if not isinstance(model.module.get_submodule(module), nn.Linear):
            raise ExportError(f"{unit.name} is not a Linear module.", "Leave it at 16 bit.")
        parts = _packed(weight)
        tensors |= {f"{unit.parameter}_{part}": tensor for part, tensor in parts.items()}
        packed.setdefault(option, []).append(module)
    for name, parameter in model.module.named_parameters():
        if f"{name}_packed" not in tensors:
            tensors[name] = half(parameter, name)
    files = saved(model)
    write_settings(folder, files)
    path = folder / _SETTINGS
    settings = json.loads(path.read_text(encoding="utf-8"))
    text = _settings_text(settings, _configuration(packed))
    room = overhead(model, files) - folder_bytes(folder, _SETTINGS) - 8 - len(text.encode())
    write_text(path, text + " " * (room % _ALIGNED))
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    entries = {name: Entry(array.dtype.name, array.shape) for name, array in arrays.items()}
    header = room - room % _ALIGNED
    return safetensors_file.write(
        folder / NAME, entries, arrays.items(), {"format": "pt"}, header_bytes=header
    )


def overhead(model: SpeechModel, settings: Files) -> int:
    """Bytes of all that `write` writes besides the tensors, whatever the map."""
    modules = [unit.parameter.removesuffix(".weight") for unit in model.units if _packable(unit)]
    every = {Option(8, 10**5 + place): [module] for place, module in enumerate(modules)}
    text = _settings_text(json.loads(settings[_SETTINGS]), _configuration(every))
    longest = settings_bytes(settings, _SETTINGS) + len(text.encode()) + 8 + _longest_header(model)
    return -(-longest // _ALIGNED) * _ALIGNED


def load(folder: Path, name: str) -> SpeechModel:
    """Load an exported model with `transformers`, every weight unpacked.

    Raises:
        ExportError: the package is missing.
        ModelError: `transformers` cannot load it.
    """
    try:
        import compressed_tensors  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"{folder} needs a package that is not installed.",
            install_command("compressed-tensors"),
        ) from error
    return assembled(folder, name, unpacked(folder))


def unpacked(folder: Path) -> dict[str, Tensor]:
    """Every parameter by name as `transformers` reads it from a checkpoint, float32.

    Raises:
        ModelError: it cannot be read.
    """
    from ..models.hub import checkpoint_of

    config = check_folder(folder)  # sizes, before anything is built of them
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict) or quantization.get("quant_method") != _METHOD:
        raise ModelError(f"{folder} holds no weights of {_METHOD}.", "Export it again.")
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        kind = checkpoint_of(config["model_type"])
        module, report = kind.from_pretrained(
            folder, dtype=torch.float32, weights_only=True, output_loading_info=True, **options
        )
        # Statistics of norms were folded into weights: what is missing of them is not missed.
        parameters = dict(module.named_parameters(remove_duplicate=False))
        missing = sorted(report["missing_keys"] & parameters.keys())
        unexpected = sorted(report["unexpected_keys"])
        if missing or unexpected:
            raise ModelError(differences(folder, missing, unexpected), "Export it again.")
        # Otherwise weights are unpacked in the first forward pass.
        module.hf_quantizer.compressor.decompress_model(module)
    except GenPTQError:
        raise
    except Exception as error:  # the libraries raise whatever they meet, some of it bare
        raise ModelError(
            f"{folder} cannot be loaded by transformers ({whole_reason(error)}).",
            "Export it again.",
        ) from error
    named = module.named_parameters()
    return {name: p.detach() for name, p in named if not name.endswith(_PARTS)}


def _packable(unit: Unit) -> bool:
    return unit.kind in LINEAR


def _settings_text(settings: dict[str, Any], configuration: dict[str, Any]) -> str:
    # The model computes in float32: 16 bit is only how weights are stored.
    more = {"dtype": "float32", "quantization_config": configuration}
    return compact(_SETTINGS, {**settings, **more})


def _longest_header(model: SpeechModel) -> int:
    """Bytes that the header of the tensors takes at most, whatever the map."""
    parameters = {name: list(p.shape) for name, p in model.module.named_parameters()}
    packed = {unit.parameter for unit in model.units if _packable(unit)}
    entries = {}
    for name, shape in parameters.items():
        # No part has more rows or columns than the weight.
        for part in _PARTS if name in packed else ("",):
            entries[name + part] = shape
    end = 4 * sum(math.prod(shape) for shape in parameters.values()) + 64 * len(packed)
    header = {
        "__metadata__": {"format": "pt"},
        **{
            name: {"dtype": "BF16", "shape": shape, "data_offsets": [end, end]}
            for name, shape in entries.items()
        },
    }
    return len(json.dumps(header, separators=(",", ":")).encode()) + _ALIGNED


def _packed(stored: Quantized) -> dict[str, Tensor]:
    grid = stored.grid
    middle = 2 ** (grid.bits - 1)
    return {
        "packed": torch.from_numpy(pack_words(stored.codes.numpy(), grid.bits)),
        "scale": grid.scale.half(),
        "zero_point": (grid.zero - middle).to(torch.int8),
        "shape": torch.tensor(stored.codes.shape),
    }


def _configuration(packed: dict[Option, list[str]]) -> dict[str, Any]:
    """The quantization settings: one group per width and group size, with its modules' names."""
    return {
        "quant_method": _METHOD,
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": [],
        "config_groups": {
            f"{option.bits}-bit-groups-of-{option.group_size}": {
                "targets": [f"re:^{name.replace('.', '[.]')}$" for name in packed[option]],
                "weights": {
                    "num_bits": option.bits,
                    "type": "int",
                    "symmetric": False,
                    "strategy": "block",
                    "block_structure": [1, option.group_size],
                },
            }
            for option in sorted(packed)
        },
    }
