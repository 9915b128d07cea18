"""What a model's folder holds, told from its small files and headers before anything is loaded."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ..errors import ModelError, ModelWarning
from ..speech.decoding import RATE
from ..storage.files import read_text

FOLDER_REMEDY = "Point to a folder written by save_pretrained."
AGAIN = "Get the model again."

FEATURE_FILES = (("preprocessor_config.json",), ("processor_config.json",))
"""Where feature settings are."""

MOST_LAYERS = 256
"""More than any recognizer has; each costs time before a weight is read."""

MOST_SIZE = 2**24
"""No width, vocabulary or length of a recognizer is larger."""

_POINTER = b"version https://git-lfs.github.com/spec/"
_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"
MODEL_FILES = ("config.json", _SAFE, _PICKLED)
"""Files of a model's folder, one of which is there."""

_FEATURES = ("preprocessor_config.json", "processor_config.json")
_SETTINGS = (
    *_FEATURES,
    *("generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json"),
)
_INTEGERS = ("I", "U", "BOOL")
_FLAGS = ("num_batches_tracked", "position_ids", "_shape")  # whole numbers that are no weights
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def say(message: str) -> None:
    """Warn about a model."""
    warnings.warn(message, ModelWarning, stacklevel=3)


def whole_reason(error: BaseException) -> str:
    """Everything that an exception says, in one line."""
    return " ".join(_ESCAPES.sub("", str(error)).split()) or type(error).__name__


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a model's folder.

    Raises:
        ModelError: it is missing, too large, or no JSON object.
    """
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON ({whole_reason(error)}).", AGAIN
        ) from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no JSON object.", AGAIN)
    return found


def check_folder(folder: Path) -> dict[str, Any]:
    """Refuse what cannot be a model of ours.

    Returns:
        The content of its `config.json`.

    Raises:
        ModelError: the folder holds an adapter, a pointer of Git LFS in place of a file, or a
            configuration that is of a model which is quantized already or impossibly large.
    """
    _check_adapter(folder)
    _check_pointers(folder)
    try:
        config = read_object(folder / "config.json")
    except ModelError as error:
        raise ModelError(
            f"{folder} holds no readable config.json with a model_type: {error.message}",
            FOLDER_REMEDY,
        ) from error
    if not isinstance(config.get("model_type"), str):
        raise ModelError(
            f"{folder} holds no readable config.json with a model_type.", FOLDER_REMEDY
        )
    check_sizes(config, str(folder / "config.json"))
    for path in (folder / name for name in _SETTINGS):
        # Some readers of transformers take a damaged file for one that is not there.
        content = read_object(path) if path.exists() else {}
        for part in (content, content.get("feature_extractor")):
            if isinstance(part, dict) and path.name in _FEATURES:
                check_features(part, str(path))
    return config


def check_unquantized(config: dict[str, Any], where: str) -> None:
    """Refuse a checkpoint that another tool has quantized.

    Raises:
        ModelError: its configuration says that it is.
    """
    settings = config.get("quantization_config")
    if settings:
        method = settings.get("quant_method") if isinstance(settings, dict) else None
        raise ModelError(
            f"{where} is quantized already, by {method or 'a tool that it does not name'}.",
            "Give the model as it was before, in 16 or 32 bit.",
        )


def check_sizes(settings: Any, where: str) -> None:
    """Refuse settings that would take unbounded time or memory.

    Raises:
        ModelError: a size in them is larger than that of any model; it is named.
    """
    for name, value in _entries(settings):
        layers = bool(re.search(r"layers$", name))
        most = MOST_LAYERS if layers else MOST_SIZE
        if isinstance(value, int) and abs(value) > most:
            raise ModelError(
                f"{where} says {name} = {_short(value)}; no model has more than {most}.", AGAIN
            )
        if isinstance(value, list) and len(value) > MOST_LAYERS and re.search(r"^conv_|dim", name):
            raise ModelError(
                f"{where} lists {len(value)} entries under {name}; no model has more than "
                f"{MOST_LAYERS}.",
                AGAIN,
            )


def check_features(settings: dict[str, Any], where: str) -> None:
    """Refuse feature settings whose filters would take unbounded memory.

    Raises:
        ModelError: one of them is no sensible number; it is named.
    """
    for name, most in (("n_fft", 2**14), ("feature_size", 512), ("chunk_length", 3600)):
        value = settings.get(name)
        if value is not None and not (type(value) is int and 0 < value <= most):
            raise ModelError(f"{where} says {name} = {_short(value)}, which cannot be.", AGAIN)
    check_sizes(settings, where)


def _entries(settings: Any) -> Iterator[tuple[str, Any]]:
    """All values of nested settings, with the name of the nearest key above."""
    waiting: list[tuple[str, Any]] = [("", settings)]
    while waiting:
        name, value = waiting.pop()
        yield name, value
        if isinstance(value, dict):
            waiting += [(str(key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(name, item) for item in value]


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**12:
        return "a number of more than 12 digits"
    text = repr(value)
    return text if len(text) <= 40 else text[:40] + "…"


def _check_adapter(folder: Path) -> None:
    if not (folder / "adapter_config.json").exists():
        return
    merge = (
        "Merge it into its base model: PeftModel.from_pretrained(base, FOLDER)"
        ".merge_and_unload().save_pretrained(OUT)"
    )
    if (folder / _SAFE).exists() or (folder / _PICKLED).exists():
        raise ModelError(
            f"{folder} holds a model and an adapter (adapter_config.json); which of them is meant "
            "cannot be told.",
            f"{merge}; or remove adapter_config.json.",
        )
    raise ModelError(
        f"{folder} holds an adapter (adapter_config.json), such as LoRA makes, without its model.",
        f"{merge}.",
    )


def _check_pointers(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.stat().st_size > 1024:
            continue
        try:
            start = path.read_bytes()[: len(_POINTER)]
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({whole_reason(error)}).", AGAIN) from error
        if start == _POINTER:
            raise ModelError(
                f"{path} is a Git LFS pointer, not the file that it stands for.",
                "Fetch the files: git lfs install, then git lfs pull in the folder.",
            )


@dataclass(frozen=True)
class Stored:
    """What the header of a weight file says of one tensor.

    Attributes:
        shape: its shape.
        whole: whether it holds integers.
    """

    shape: tuple[int, ...]
    whole: bool


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a folder's checkpoint, from headers alone.

    Raises:
        ModelError: there is no checkpoint, a part is missing, or it holds more than tensors.
    """
    for name in (_SAFE, _PICKLED):
        index = folder / f"{name}.index.json"
        if (folder / name).exists():
            return _read_part(folder / name)
        if index.exists():
            found: dict[str, Stored] = {}
            for part in _parts(index):
                found |= _read_part(folder / part)
            return found
    others = sorted(
        p.name
        for p in folder.iterdir()
        if p.suffix in (".pt", ".bin", ".h5", ".msgpack", ".ckpt", ".safetensors", ".gguf")
    )
    seen = f"; it has {', '.join(others[:3])}" if others else ""
    raise ModelError(f"{folder} holds no weights: no {_SAFE}{seen}.", FOLDER_REMEDY)


def _parts(index: Path) -> list[str]:
    """The names of a checkpoint's parts, each of a file next to its index."""
    table = read_object(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise ModelError(f"{index} names no weights.", AGAIN)
    names = sorted({str(name) for name in table.values()})
    for name in names:
        if Path(name).name != name or not (index.parent / name).is_file():
            raise ModelError(
                f"{index} names {name!r}, which is not a file of that folder.",
                "Get all parts of the model.",
            )
    return names


def _read_part(path: Path) -> dict[str, Stored]:
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as handle:
                slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
                return {
                    name: Stored(tuple(part.get_shape()), part.get_dtype().startswith(_INTEGERS))
                    for name, part in slices.items()
                }
        except Exception as error:
            raise ModelError(f"{path} cannot be loaded ({whole_reason(error)}).", AGAIN) from error
    say(f"{path} is a pickle file: only tensors are read from it, and none of its code is run.")
    try:
        import torch

        content = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:
        raise ModelError(
            f"{path} holds more than tensors, or is damaged, and is not read "
            f"({whole_reason(error)}).",
            "Save the model with save_pretrained, as safetensors.",
        ) from error
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> dict[str, Stored]:
    from torch import Tensor

    flat = isinstance(content, dict) and all(isinstance(t, Tensor) for t in content.values())
    if not flat or not content:
        inner = [str(name) for name in content][:3] if isinstance(content, dict) else []
        raise ModelError(
            f"{path} is no plain table of weights"
            + (f": it holds {', '.join(inner)}." if inner else "."),
            "A training checkpoint wraps its weights: save the model with save_pretrained.",
        )
    return {
        str(name): Stored(
            tuple(tensor.shape), not (tensor.is_floating_point() or tensor.is_complex())
        )
        for name, tensor in content.items()
    }


def check_stored(stored: dict[str, Stored], parameters: int, where: str) -> None:
    """Compare a checkpoint's headers with its configuration, before memory is taken for it.

    Args:
        stored: what `stored_tensors` returned.
        parameters: how many the configuration describes.
        where: the model's folder, for messages.

    Raises:
        ModelError: it holds integers, or far fewer numbers than the model has.
    """
    for name, tensor in stored.items():
        if tensor.whole and not name.endswith(_FLAGS):
            raise ModelError(
                f"{where} holds {name} as integers: another tool has quantized it.",
                "Give the model as it was before, in 16 or 32 bit.",
            )
    held = sum(math.prod(tensor.shape) for tensor in stored.values())
    if parameters > 2 * held + 10_000_000:
        raise ModelError(
            f"{where} has a config.json of a model with {parameters} parameters, and weight files "
            f"with {held}.",
            "Get the model again, or correct its config.json.",
        )


def require(folder: Path, what: str, choices: Sequence[Sequence[str]]) -> None:
    """Make sure that a folder holds the files that a part of a model is read from.

    Args:
        folder: the model's.
        what: the part, for messages.
        choices: sets of files, one of which is enough.

    Raises:
        ModelError: none is complete.
    """
    if not any(all((folder / name).is_file() for name in names) for names in choices):
        wanted = ", or ".join(" and ".join(names) for names in choices)
        raise ModelError(
            f"{folder} holds no {what}: there is no {wanted}.",
            "Copy it from the model that this one was trained from, or save it there with "
            "save_pretrained.",
        )


def own_settings(
    source: str,
    folder: Path,
    offline: bool,
    readers: tuple[Any, Any],
    check: Callable[[Path], None],
) -> tuple[Any, Any]:
    """Features and tokenizer, both of which a model's folder must hold itself.

    Args:
        source: the folder or hub name.
        folder: the folder, or where the hub's files are kept.
        offline: whether to stay off the hub.
        readers: classes of `transformers` that read features and tokenizer.
        check: makes sure that the folder holds the files of both.

    Raises:
        ModelError: one of them is missing.
        Exception: whatever transformers raises for what it cannot read.
    """
    local = Path(source).is_dir()
    if local:
        check(folder)
    options: dict[str, Any] = {"local_files_only": offline, "trust_remote_code": False}
    features, tokenizer = (reader.from_pretrained(source, **options) for reader in readers)
    if not local:  # the hub's files are here only now
        check(folder)
    return features, tokenizer


def check_rate(name: str, features: Any) -> None:
    """Make sure that features are of audio at 16 kHz.

    Raises:
        ModelError: they are of another rate.
    """
    if features.sampling_rate != RATE:
        raise ModelError(
            f"{name} hears audio at {features.sampling_rate} Hz, by its preprocessor_config.json; "
            f"this program gives {RATE} Hz.",
            f"Take a model of {RATE} Hz, or correct that file.",
        )
