"""What a Whisper is asked for: language, task, and the tokens that open, end and are barred.

Older checkpoints say only a part of it in their generation settings. The rest is taken from the
model's configuration and from the tokenizer, which names its control tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelError
from ..speech.languages import code_of
from .folders import say
from .whisper_asking import (
    TRANSCRIBE,
    TRANSLATE,
    Known,
    control_tokens,
    languages_in,
    tasks_in,
)

ENGLISH_WORDS = 50256
"""Tokens before the end token in the vocabulary of Whispers that know only English."""

TIMESTAMPS = 1501
"""Tokens for times: every 20 ms from 0 to 30 s. They follow the one that asks for none."""

_REMEDY = "Correct its generation_config.json, or take that of the model it was trained from."


@dataclass(frozen=True)
class WhisperSettings:
    """How a Whisper decodes.

    Attributes:
        prompt: tokens that open every decoding: start, (language, task), no timestamps.
        ends: tokens, any of which ends a transcript.
        never: tokens that must not be written.
        not_first: tokens that must not be written first.
        suppressed: those of `never` that the generation settings name.
        most: most tokens of a transcript.
        pad: the token that fills shorter rows.
        language: code of the language that is asked for; "" for a model that knows only English.
        task: "transcribe" or "translate"; "" for a model that knows only English.
    """

    prompt: tuple[int, ...]
    ends: tuple[int, ...]
    never: tuple[int, ...]
    not_first: tuple[int, ...]
    suppressed: tuple[int, ...]
    most: int
    pad: int
    language: str = ""
    task: str = ""

    @property
    def english(self) -> bool:
        """Whether what it writes is English."""
        return self.language in ("", "en") or self.task == TRANSLATE

    @property
    def words(self) -> str:
        """The decoding in a few words."""
        asked = f", {self.language} {self.task}" if self.language else ""
        return f"greedy, at most {self.most} tokens{asked}"


def settings_of(
    name: str, config: Any, generation: Any, vocabulary: Mapping[str, int]
) -> WhisperSettings:
    """How a Whisper decodes, from all that came with it.

    Args:
        name: the model's, for messages.
        config: its configuration.
        generation: its generation settings.
        vocabulary: tokens of its tokenizer by what they write.

    Raises:
        ModelError: a token that decoding needs cannot be had, or the settings contradict each
            other or the tokenizer's size.
    """
    return _Reader(name, config, generation, vocabulary).read()


def known_of(name: str, config: Any, generation: Any, vocabulary: Mapping[str, int]) -> Known:
    """What a Whisper can be asked for; arguments and errors are those of `settings_of`."""
    return _Reader(name, config, generation, vocabulary).known()


class _Reader:
    """Looks for each setting in the generation settings, the configuration and the tokenizer."""

    def __init__(
        self, name: str, config: Any, generation: Any, vocabulary: Mapping[str, int]
    ) -> None:
        self.name = name
        self.size = int(config.vocab_size)
        self.sources = (generation, config)
        self.vocabulary = vocabulary
        self.controls = vocabulary

    def read(self) -> WhisperSettings:
        ends = self.ends()
        self.check_vocabulary(min(ends))
        start = self.token("decoder_start_token_id", "<|startoftranscript|>")
        silent = self.token("no_timestamps_token_id", "<|notimestamps|>")
        self.controls = control_tokens(self.vocabulary, start, silent)
        language, task, middle = self.asked(ends)
        suppressed = self.tokens("suppress_tokens")
        times = range(silent + 1, min(silent + 1 + TIMESTAMPS, self.size))
        nameless = set(range(silent + 1, self.size)) - set(self.vocabulary.values())
        never = (*suppressed, *sorted({*times, *nameless} - set(ends)))
        pad = self.said("pad_token_id")
        most = int(self.sources[1].max_target_positions) // 2
        prompt = (start, *middle, silent)
        if most < 1 or len(prompt) >= most * 2:
            raise ModelError(f"{self.name} has no room for a transcript of one token.")
        return WhisperSettings(
            prompt=prompt,
            ends=ends,
            never=never,
            not_first=self.tokens("begin_suppress_tokens"),
            suppressed=suppressed,
            most=most,
            pad=pad if type(pad) is int and 0 <= pad < self.size else 0,
            language=language,
            task=task,
        )

    def known(self) -> Known:
        ends = self.ends()
        start = self.token("decoder_start_token_id", "<|startoftranscript|>")
        silent = self.token("no_timestamps_token_id", "<|notimestamps|>")
        self.controls = control_tokens(self.vocabulary, start, silent)
        if not self.multilingual(ends):
            return Known({}, {})
        return Known(self.languages(), self.tasks())

    def said(self, key: str) -> Any:
        """A setting from the first place that has it; None where none has."""
        values = (getattr(source, key, None) for source in self.sources)
        return next((value for value in values if value is not None), None)

    def token(self, key: str, written: str) -> int:
        """A control token by its setting, else as the tokenizer writes it."""
        value, named = self.said(key), self.vocabulary.get(written)
        if value is None:
            value = named
        if value is None:
            raise ModelError(
                f"{self.name} does not say its {key}, and its tokenizer has no {written}.", _REMEDY
            )
        found = self.checked(value, key)
        if named is not None and named != found:
            say(
                f"{self.name} takes {written} for token {found}, and its tokenizer for {named}: "
                "the tokenizer may be another model's, and texts wrong."
            )
        return found

    def checked(self, value: Any, key: str) -> int:
        if type(value) is not int or not 0 <= value < self.size:
            raise ModelError(
                f"{self.name} says {key} {str(value)[:40]}; tokens are numbers from 0 to "
                f"{self.size - 1}.",
                _REMEDY,
            )
        return value

    def ends(self) -> tuple[int, ...]:
        value = self.said("eos_token_id")
        if value is None or value == []:
            value = self.vocabulary.get("<|endoftext|>")
        if value is None:
            raise ModelError(f"{self.name} does not say its eos_token_id.", _REMEDY)
        several = value if isinstance(value, list | tuple) else [value]
        return tuple(dict.fromkeys(self.checked(v, "eos_token_id") for v in several))

    def tokens(self, key: str) -> tuple[int, ...]:
        """A list of tokens; those that do not exist can never be written, and are left out."""
        value = self.said(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or any(type(v) is not int for v in value):
            raise ModelError(f"{self.name} says {key}, which is no list of numbers.", _REMEDY)
        kept = tuple(v for v in value if 0 <= v < self.size)
        if len(kept) < len(value):
            beyond = next(v for v in value if not 0 <= v < self.size)
            say(f"{self.name} bars token {beyond} in its {key}, which its vocabulary lacks.")
        return kept

    def check_vocabulary(self, end: int) -> None:
        """Compare the tokenizer with what the model writes."""
        largest = max(self.vocabulary.values(), default=-1)
        words = len({i for i in self.vocabulary.values() if i < end})
        if largest >= self.size or words < end:
            raise ModelError(
                f"{self.name} writes {self.size} tokens, {end} of them words, and its tokenizer "
                f"has {len(self.vocabulary)}, {words} of them words.",
                "Take the tokenizer that the model was trained with.",
            )

    def asked(self, ends: tuple[int, ...]) -> tuple[str, str, tuple[int, ...]]:
        """Language, task, and the tokens that say so."""
        languages, tasks = self.languages(), self.tasks()
        forced_language, forced_task = self.forced(languages, tasks)
        language = self.language_code(languages) or forced_language
        task = self.said("task") or forced_task or TRANSCRIBE
        if task not in (TRANSCRIBE, TRANSLATE):
            raise ModelError(
                f"{self.name} says task {str(task)[:40]!r}; there are {TRANSCRIBE} and "
                f"{TRANSLATE}.",
                _REMEDY,
            )
        if not self.multilingual(ends):
            if language not in ("", "en") or task == TRANSLATE:
                raise ModelError(
                    f"{self.name} knows only English, and its settings ask for "
                    f"{language or 'en'} {task}.",
                    _REMEDY,
                )
            return "", "", ()
        language = language or self.usual(languages)
        if task not in tasks:
            raise ModelError(f"{self.name} has no token for task {task}.", _REMEDY)
        return language, task, (languages[language], tasks[task])

    def multilingual(self, ends: tuple[int, ...]) -> bool:
        value = self.said("is_multilingual")
        if value is not None:
            return bool(value)
        if self.said("lang_to_id"):
            return True
        return ends[0] != ENGLISH_WORDS and self.size > ENGLISH_WORDS

    def languages(self) -> dict[str, int]:
        """Tokens by language code: those of the settings, else those of the tokenizer."""
        table = self.said("lang_to_id")
        said = self.table(table, "lang_to_id") if table else self.controls
        return languages_in(said, every=bool(table))

    def tasks(self) -> dict[str, int]:
        table = self.said("task_to_id")
        return self.table(table, "task_to_id") if table else tasks_in(self.controls)

    def table(self, value: Any, key: str) -> dict[str, int]:
        if not isinstance(value, Mapping):
            raise ModelError(f"{self.name} says {key}, which is no table.", _REMEDY)
        return {str(name): self.checked(token, key) for name, token in value.items()}

    def language_code(self, languages: Mapping[str, int]) -> str:
        """The code of the language that the generation settings name; "" where they name none."""
        value = self.said("language")
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        if value is None:
            return ""
        code = code_of(str(value))
        if isinstance(value, str) and code in languages:
            return code
        if self.said("is_multilingual") is False and code == "en":
            return code
        raise ModelError(
            f"{self.name} says language {str(value)[:40]!r}, which is none of those it knows: "
            f"{', '.join(sorted(languages)[:100]) or 'none'}.",
            _REMEDY,
        )

    def usual(self, languages: Mapping[str, int]) -> str:
        """English, or the one language that a model knows, where its settings name none."""
        if "en" in languages:
            return "en"
        if len(languages) == 1:
            return next(iter(languages))
        raise ModelError(
            f"{self.name} does not say its language, and English is none of the "
            f"{len(languages)} that it knows.",
            "Set language in its generation_config.json.",
        )

    def forced(self, languages: Mapping[str, int], tasks: Mapping[str, int]) -> tuple[str, str]:
        """Language and task of `forced_decoder_ids`, "" for what they leave open."""
        language = task = ""
        for source in self.sources[::-1]:  # what the generation settings say comes last, and stays
            pairs = getattr(source, "forced_decoder_ids", None) or ()
            for token in self.forced_tokens(pairs):
                spoken = [code for code, i in languages.items() if i == token]
                doing = [name for name, i in tasks.items() if i == token]
                if spoken:
                    language = spoken[0]
                elif doing:
                    task = doing[0]
                elif token != self.token("no_timestamps_token_id", "<|notimestamps|>"):
                    raise ModelError(
                        f"{self.name} forces token {token} in its forced_decoder_ids, which is no "
                        "language and no task that it knows.",
                        _REMEDY,
                    )
        return language, task

    def forced_tokens(self, pairs: Any) -> list[int]:
        if not isinstance(pairs, list | tuple) or any(
            not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs
        ):
            raise ModelError(
                f"{self.name} says forced_decoder_ids, which is no list of pairs.", _REMEDY
            )
        key = "forced_decoder_ids"
        return [self.checked(token, key) for _, token in pairs if token is not None]
