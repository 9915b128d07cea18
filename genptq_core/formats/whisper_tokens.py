"""Whisper's tokens for times, which some tokenizers do not name."""

from __future__ import annotations

from typing import Any

from ..models import SpeechModel
from ..models.whisper_settings import TIMESTAMPS

_STEP = 0.02  # seconds


def add_timestamps(tokenizer: dict[str, Any], model: SpeechModel) -> None:
    """Name a Whisper's tokens for times where its tokenizer does not.

    mlx-audio finds the first of them by its name, and takes another token for it otherwise.

    Args:
        tokenizer: content of a `tokenizer.json`, which is changed.
        model: the Whisper.
    """
    whisper: Any = model
    first = whisper.settings.prompt[-1] + 1  # those for times follow the one that asks for none
    last = min(first + TIMESTAMPS, whisper.module.config.vocab_size)
    added = tokenizer["added_tokens"]
    used = {token["id"] for token in added} | {token["content"] for token in added}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    for index in range(first, last):
        written = f"<|{(index - first) * _STEP:.2f}|>"
        if not {index, written} & used:
            added.append({"id": index, "content": written, **plain})
