"""What exports that run in another runtime share: they can transcribe, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError


class Transcriber:
    """A model of which there is `encode` and `transcribe` only.

    Attributes:
        name: its name.
        kind: what it is, for messages, such as "an ONNX export".
    """

    name: str
    kind: str

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise ModelError(
            f"{self.name} is {self.kind}, which can only transcribe.",
            "Use the model that it was exported from.",
        )


def greedy_rows(
    step: Callable[[np.ndarray], np.ndarray],
    prompts: np.ndarray,
    most: int,
    *,
    ends: Sequence[int],
    never: Sequence[int],
    not_first: Sequence[int],
) -> list[list[int]]:
    """The likeliest token at each step, for a batch, until all rows have ended.

    Args:
        step: gives logits (batch, vocabulary) after tokens (batch, count), int64, that follow
            those of earlier calls; it may be given the logits back changed.
        prompts: tokens before the first that is decided, (batch, count).
        most: most tokens in a row, including the end.
        ends: tokens, any of which ends a row.
        never: tokens that must not be written.
        not_first: tokens that must not be written first.

    Returns:
        The tokens of each row, with the end if it was written.
    """
    rows: list[list[int]] = [[] for _ in prompts]
    tokens = prompts.astype(np.int64)
    for place in range(most):
        logits = step(tokens)
        logits[:, list(never)] = -np.inf
        if place == 0:
            logits[:, list(not_first)] = -np.inf
        chosen = logits.argmax(axis=-1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if not row or row[-1] not in ends:
                row.append(token)
        if all(row[-1] in ends for row in rows):
            break
        tokens = chosen[:, None].astype(np.int64)
    return rows
