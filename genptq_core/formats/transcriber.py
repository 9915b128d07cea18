"""What exports that run in another runtime share: they can transcribe, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ..errors import ModelError
from ..models import Transcript
from ..models.timed_windows import TimedWindows, timestamps_of, with_times
from ..models.timestamps import Timestamps
from ..models.whisper_asking import asked_prompt, known_in
from ..speech.utterances import RATE


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


class Decoding(Protocol):
    """How a Whisper's decoder is used; see `models.whisper_settings.WhisperSettings`."""

    @property
    def prompt(self) -> tuple[int, ...]: ...
    @property
    def ends(self) -> tuple[int, ...]: ...
    @property
    def not_first(self) -> tuple[int, ...]: ...
    @property
    def never(self) -> tuple[int, ...]: ...
    @property
    def most(self) -> int: ...


class WhisperTranscriber(Transcriber):
    """A Whisper of another runtime, which computes features and decodes as ours does.

    A subclass gives `encode`, of something that has a length, and `step`.

    Args:
        name: its name.
        decoding: how its decoder is used.
        vocabulary: how many tokens that has.
        features: makes log-mel features.
        tokenizer: its tokenizer.
    """

    family = "whisper"
    asked = ("", "")

    _times: Timestamps | None = None

    def __init__(
        self, name: str, decoding: Decoding, vocabulary: int, features: Any, tokenizer: Any
    ) -> None:
        self.name = name
        self._decoding = decoding
        self._vocabulary = vocabulary
        self._features = features
        self._tokenizer = tokenizer

    def log_mel(self, audio: Sequence[np.ndarray]) -> np.ndarray:
        """Log-mel features, padded to 30 s as Whisper was trained: (batch, bands, frames)."""
        batch = self._features(list(audio), sampling_rate=RATE, return_tensors="np")
        return np.asarray(batch.input_features.astype(np.float32))

    def step(self, tokens: np.ndarray, encoded: Any, past: Any = None) -> tuple[np.ndarray, Any]:
        """Decode one or more tokens of each row.

        Args:
            tokens: shape (batch, tokens), int64.
            encoded: encoder outputs of the same batch.
            past: keys and values from the earlier step; None at the first.

        Returns:
            Logits (batch, tokens, vocabulary), and keys and values for the next step.
        """
        raise NotImplementedError

    def with_language(self, language: str, task: str) -> WhisperTranscriber:
        """The same model, asked for a language and a task; "" for its own.

        Raises:
            ModelError: it does not know one of them.
        """
        known = known_in(self._tokenizer.get_vocab(), self._decoding.prompt)
        prompt = asked_prompt(self.name, self._decoding.prompt, known, language, task)
        other = copy.copy(self)
        asked: Any = self._decoding
        other._decoding = replace(asked, prompt=prompt)
        other.asked = (language, task)
        return other

    @property
    def prompt(self) -> list[int]:
        """Tokens that open every decoding."""
        return list(self._decoding.prompt)

    def long_form(self) -> TimedWindows:
        """How it hears recordings of more than 30 s; see `models.long_form`."""
        times = timestamps_of(self._decoding, self._vocabulary, self.name)
        other = copy.copy(self)
        other._decoding = with_times(self._decoding, times)
        other._times = times
        return TimedWindows(other, times, self._tokenizer)

    def transcribe(self, encoded: Any) -> list[Transcript]:
        """Greedy decoding without timestamps, of at most half the text context."""
        asked, past = self._decoding, None

        def step(tokens: np.ndarray) -> np.ndarray:
            nonlocal past
            logits, past = self.step(tokens, encoded, past)
            return logits[:, -1]

        rows = greedy_rows(
            step,
            np.tile(np.array(asked.prompt), (len(encoded), 1)),
            asked.most,
            ends=asked.ends,
            never=asked.never,
            not_first=asked.not_first,
            times=self._times,
        )
        said = [[t for t in row if not (self._times and self._times.is_time(t))] for row in rows]
        texts = (self._tokenizer.decode(row, skip_special_tokens=True) for row in said)
        return [Transcript(t.strip(), tuple(row)) for t, row in zip(texts, rows, strict=True)]


def greedy_rows(
    step: Callable[[np.ndarray], np.ndarray],
    prompts: np.ndarray,
    most: int,
    *,
    ends: Sequence[int],
    never: Sequence[int],
    not_first: Sequence[int],
    times: Timestamps | None = None,
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
        times: the tokens for times, where these are written and their rules hold; none else.

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
        if times is not None:
            _hold_to(times, logits, rows)
        chosen = logits.argmax(axis=-1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if not row or row[-1] not in ends:
                row.append(token)
        if all(row[-1] in ends for row in rows):
            break
        tokens = chosen[:, None].astype(np.int64)
    return rows


def _hold_to(times: Timestamps, logits: np.ndarray, rows: Sequence[Sequence[int]]) -> None:
    """Bar what the rules for times bar, in place; see `models.greedy`."""
    for row, written in zip(logits, rows, strict=True):
        for part in times.barred(written):
            row[part] = -np.inf
        text = row[: times.first]
        if np.logaddexp.reduce(row[times.first : times.stop]) > text.max():
            text.fill(-np.inf)
