"""Folders of an adapter, such as LoRA makes, without its model: merged where `peft` is there.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2022), section 4: the product of
two narrow matrices is added to a weight.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ..errors import ModelError
from ..extras import install_command
from .folders import AGAIN, MODEL_FILES, read_object, whole_reason

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_MERGE = (
    "Merge it yourself: PeftModel.from_pretrained(base, FOLDER).merge_and_unload()"
    ".save_pretrained(OUT)"
)


def base_of(source: str) -> str | None:
    """The model that a folder's adapter was trained on; None for what holds no adapter alone.

    Raises:
        ModelError: the adapter cannot be merged here.
    """
    folder = Path(source)
    if not source or not (folder / CONFIG).is_file():
        return None
    if any((folder / name).exists() for name in MODEL_FILES):
        return None  # refused as a folder of a model, since one of both would be left out
    said = read_object(folder / CONFIG)
    base, kind = said.get("base_model_name_or_path"), said.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{source} holds an adapter of type {str(kind)[:40]!r}, not LORA.", _MERGE)
    if not isinstance(base, str) or not base:
        raise ModelError(f"{folder / CONFIG} names no base_model_name_or_path.", _MERGE)
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{source} holds an adapter without its {WEIGHTS}.", AGAIN)
    try:
        import peft  # noqa: F401
    except ImportError:
        raise ModelError(
            f"{source} holds an adapter of {base} ({CONFIG}), such as LoRA makes, without its "
            "model, and merging needs a package that is not installed.",
            f"{install_command('lora')}. {_MERGE}.",
        ) from None
    return base


def merged(module: Any, folder: Path) -> Any:
    """A model with a folder's adapter added to its weights.

    Args:
        module: the model that the adapter was trained on.
        folder: holds the adapter.

    Raises:
        ModelError: the adapter does not fit the model.
    """
    from peft import PeftModel
    from peft.utils import get_peft_model_state_dict

    try:
        adapted = PeftModel.from_pretrained(module, str(folder), local_files_only=True)
        used = get_peft_model_state_dict(adapted)
        with safe_open(folder / WEIGHTS, framework="pt") as handle:
            stored = set(handle.keys())
        if stored != set(used):
            raise ValueError(_differences(stored, set(used)))
        return adapted.merge_and_unload(safe_merge=True)
    except Exception as error:  # the library raises whatever it meets
        raise ModelError(
            f"The adapter in {folder} does not fit its model ({whole_reason(error)}).", _MERGE
        ) from error


def _differences(stored: Collection[str], used: Collection[str]) -> str:
    left, lacking = sorted(set(stored) - set(used)), sorted(set(used) - set(stored))
    return f"{left[0]} has no place in it" if left else f"it lacks {lacking[0]}"
