"""A Whisper as CTranslate2, and so faster-whisper, loads it: 8-bit matrices, the rest float16.

`model.bin` (binary version 6, specification `WhisperSpec` revision 3) is little-endian: version,
name of the specification, revision and number of variables; of each variable, sorted by name, its
name, rank, sizes, type, number of bytes and data; then aliases. A string is a 16-bit length that
includes the null character at its end. An 8-bit row is read as code / scale. Projections that
share their inputs are one matrix, one after another by rows; keys have a bias of zeros.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import ExportError
from .parameters import Parameter, array_of, finite
from .whisper_layout import EMBEDDING, POSITIONS, TEXT_POSITIONS, WhisperLayout

RUNTIME = "CTranslate2"
MODEL, CONFIG, VOCABULARY = "model.bin", "config.json", "vocabulary.json"
COPIED = ("tokenizer.json", "preprocessor_config.json")
"""Settings that faster-whisper reads as they are."""

_VERSION, _SPECIFICATION, _REVISION = 6, "WhisperSpec", 3
_NUMBERS = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}
_ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}
_GELU = 3
_LANGUAGE = re.compile(r"<\|[a-z]{2,3}\|>")
_TICK = 0.02  # seconds between tokens for times


@dataclass(frozen=True)
class _Joined:
    """Parameters one after another by rows; a number stands for so many zeros."""

    parts: tuple[str | int, ...]
    shape: tuple[int, ...]
    packed: bool = False


def write(
    folder: Path,
    layout: WhisperLayout,
    parameters: Mapping[str, Parameter],
    files: Mapping[str, bytes],
    *,
    packed: bool = True,
) -> None:
    """Write all files that faster-whisper loads, reading one parameter after another.

    Args:
        folder: where to.
        layout: the model's settings.
        parameters: every parameter by its name in `transformers`.
        files: the model's settings as files, by name.
        packed: whether matrices have 8 bits; else all is float16.

    Raises:
        ExportError: the model is none that CTranslate2 loads, or something is missing.
    """
    layout.check_usual(RUNTIME)
    for name in COPIED:
        if name not in files:
            raise ExportError(
                f"{layout.where} holds no {name}, which faster-whisper reads.",
                "Save the model again with save_pretrained, and export it.",
            )
        (folder / name).write_bytes(files[name])
    (folder / CONFIG).write_text(json.dumps(_config(layout), indent=2) + "\n", encoding="utf-8")
    vocabulary = json.dumps(_vocabulary(layout), ensure_ascii=False, indent=0)
    (folder / VOCABULARY).write_text(vocabulary + "\n", encoding="utf-8")
    with (folder / MODEL).open("wb") as file:
        _write_model(file, layout, parameters, packed)


def _write_model(
    file: BinaryIO, layout: WhisperLayout, parameters: Mapping[str, Parameter], packed: bool
) -> None:
    plain: dict[str, np.generic] = {
        "decoder/activation": np.int8(_GELU),
        "decoder/alibi": np.int8(0),
        "decoder/alignment_heads": np.int16(1),
        "decoder/alignment_layer": np.int16(-1),
        "decoder/num_heads": np.int16(layout.size("decoder_attention_heads")),
        "decoder/pre_norm": np.int8(1),
        "decoder/scale_embeddings": np.int8(0),
        "decoder/start_from_zero_embedding": np.int8(0),
        "encoder/num_heads": np.int16(layout.size("encoder_attention_heads")),
    }
    joined = _variables(layout)
    scales = {f"{n}_scale": one for n, one in joined.items() if one.packed and packed}
    names = sorted([*plain, *joined, *scales])
    file.write(struct.pack("<I", _VERSION) + _string(_SPECIFICATION))
    file.write(struct.pack("<II", _REVISION, len(names)))
    kept: dict[str, np.ndarray] = {}
    for name in names:
        if name in plain:
            _start(file, name, plain[name].dtype.name, ())
            file.write(plain[name].tobytes())
        elif name in scales:
            _start(file, name, "float32", kept[name].shape)
            file.write(kept.pop(name).tobytes())
        elif joined[name].packed and packed:
            _start(file, name, "int8", joined[name].shape)
            kept[f"{name}_scale"] = _write_packed(file, joined[name], parameters)
        else:
            _start(file, name, "float16", joined[name].shape)
            _write_halves(file, joined[name], parameters)
    file.write(struct.pack("<I", len(_ALIASES)))
    for alias, name in _ALIASES.items():
        file.write(_string(alias) + _string(name))


def _write_packed(
    file: BinaryIO, joined: _Joined, parameters: Mapping[str, Parameter]
) -> np.ndarray:
    """Write rows in 8 bits; returns their scales."""
    scales = []
    for part in joined.parts:
        for _, rows in finite(parameters[str(part)]):
            codes, scale = packed_rows(rows)
            file.write(codes.data)
            scales.append(scale)
    return np.concatenate(scales)


def packed_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in 8 bits: codes (rows, columns), int8, and the scales (rows,) that divide them."""
    largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    largest[largest == 0] = 127
    scale = np.float32(127) / np.maximum(largest, np.float32(1e-30))
    scaled = rows * scale[:, None]
    return np.rint(scaled, out=scaled).astype(np.int8), scale


def _write_halves(file: BinaryIO, joined: _Joined, parameters: Mapping[str, Parameter]) -> None:
    for part in joined.parts:
        if isinstance(part, int):
            file.write(bytes(2 * part))
        else:
            file.write(np.ascontiguousarray(array_of(parameters[part], np.float16)).data)


def _start(file: BinaryIO, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Write all of a variable but its data."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size >= 2**32:
        raise ExportError(f"{name} takes {size} bytes, more than {RUNTIME} can hold in one matrix.")
    file.write(_string(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape))
    file.write(struct.pack("<BI", _NUMBERS[dtype], size))


def _string(text: str) -> bytes:
    data = text.encode("utf-8") + b"\0"
    return struct.pack("<H", len(data)) + data


def _variables(layout: WhisperLayout) -> dict[str, _Joined]:
    """What every variable that is no plain number consists of."""
    found: dict[str, _Joined] = {}

    def put(name: str, *parts: str | int, packed: bool = False) -> None:
        shapes = [(part,) if isinstance(part, int) else layout.shapes[part] for part in parts]
        rows = sum(shape[0] for shape in shapes)
        found[name] = _Joined(parts, (rows, *shapes[0][1:]), packed)

    def norm(name: str, source: str) -> None:
        put(f"{name}/gamma", f"{source}.weight")
        put(f"{name}/beta", f"{source}.bias")

    def linear(name: str, *sources: str) -> None:
        put(f"{name}/weight", *(f"{source}.weight" for source in sources), packed=True)
        biases = (f"{source}.bias" for source in sources)
        put(f"{name}/bias", *(b if b in layout.shapes else layout.size("d_model") for b in biases))

    for index in (1, 2):
        for part in ("weight", "bias"):
            put(f"encoder/conv{index}/{part}", f"model.encoder.conv{index}.{part}")
    put("decoder/embeddings/weight", EMBEDDING, packed=True)
    for side, positions in (("encoder", POSITIONS), ("decoder", TEXT_POSITIONS)):
        put(f"{side}/position_encodings/encodings", positions)
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for index in range(layout.size(f"{side}_layers")):
            layer, source = f"{side}/layer_{index}", f"model.{side}.layers.{index}"
            own = [f"{source}.self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
            norm(f"{layer}/self_attention/layer_norm", f"{source}.self_attn_layer_norm")
            linear(f"{layer}/self_attention/linear_0", *own[:3])
            linear(f"{layer}/self_attention/linear_1", own[3])
            if side == "decoder":
                cross = [f"{source}.encoder_attn.{part}_proj" for part in ("q", "k", "v", "out")]
                norm(f"{layer}/attention/layer_norm", f"{source}.encoder_attn_layer_norm")
                linear(f"{layer}/attention/linear_0", cross[0])
                linear(f"{layer}/attention/linear_1", *cross[1:3])
                linear(f"{layer}/attention/linear_2", cross[3])
            norm(f"{layer}/ffn/layer_norm", f"{source}.final_layer_norm")
            linear(f"{layer}/ffn/linear_0", f"{source}.fc1")
            linear(f"{layer}/ffn/linear_1", f"{source}.fc2")
    return found


def _config(layout: WhisperLayout) -> dict[str, object]:
    """What CTranslate2 needs to know of the tokens, and of the heads that tell words' times."""
    heads = layout.said("alignment_heads")
    if not isinstance(heads, list) or not heads:
        layers = layout.size("decoder_layers")
        count = layout.size("decoder_attention_heads")
        heads = [[i, head] for i in range(layers // 2, layers) for head in range(count)]
    table = layout.said("lang_to_id")
    spoken = [t for text, t in layout.tokens.items() if _LANGUAGE.fullmatch(text)]
    return {
        "alignment_heads": heads,
        "lang_ids": sorted(table.values() if isinstance(table, dict) and table else spoken),
        "suppress_ids": layout.barred("suppress_tokens"),
        "suppress_ids_begin": layout.barred("begin_suppress_tokens"),
    }


def _vocabulary(layout: WhisperLayout) -> list[str]:
    """What every token writes; those for times, which tokenizers may lack, are named here."""
    tokens = list(layout.token_list)
    first = layout.needed_token("<|notimestamps|>", "no_timestamps_token_id") + 1
    known = set(layout.tokens.values())
    for token in range(first, len(tokens)):
        if token not in known:
            tokens[token] = f"<|{(token - first) * _TICK:.2f}|>"
    return tokens
