"""What a model is asked for: a language and a task, for all speech or row by row.

A model that is asked for something else shares its weights with the one that is not: what is
replaced in one is replaced in both. All that depends on what is asked follows from `text_digest`,
which differs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from ..errors import ModelError
from ..speech.languages import code_of
from . import SpeechModel
from .decoding import GREEDY, decoding_of
from .whisper_asking import TRANSCRIBE, TRANSLATE

if TYPE_CHECKING:
    from ..speech.utterances import Utterance

TASKS = (TRANSCRIBE, TRANSLATE)
"""What a Whisper can be asked to do; it translates to English."""


def with_language(model: SpeechModel, language: str = "", task: str = "") -> SpeechModel:
    """A model that is asked for a language and a task, whatever rows say.

    Args:
        model: the model.
        language: a code or name; "" for what rows say, else what the model's own settings say.
        task: one of `TASKS`; "" for the model's own.

    Raises:
        ModelError: it does not know the language or the task, or cannot be asked.
    """
    if not language and not task:
        return model
    own = _way(model)
    if own is None:
        raise ModelError(
            f"{model.name} ({model.family}) cannot be asked for a language or a task: it writes "
            "what it was trained on; only Whispers can be asked.",
            "Leave out --language and --task.",
        )
    return cast(SpeechModel, own(model, code_of(language) if language else "", task))


def asked_of(model: SpeechModel) -> tuple[str, str]:
    """Language and task that a model was asked for, each "" where it follows its settings."""
    return getattr(model, "asked", ("", "")) if _way(model) else ("", "")


def in_language(model: SpeechModel, language: str) -> SpeechModel:
    """A model as it hears speech whose row names a language, or "".

    Raises:
        ModelError: it does not know the language.
    """
    way = _way(model)
    if not language or way is None or asked_of(model)[0]:
        return model
    own: Any = model
    known: dict[str, SpeechModel] = vars(model).setdefault("_by_language", {})
    if language not in known:
        spoken: Any = way(model, language, "")
        spoken.asked = asked_of(model)
        known[language] = spoken if spoken.prompt != own.prompt else model
    return known[language]


def by_language(
    model: SpeechModel, utterances: Sequence[Utterance]
) -> list[tuple[SpeechModel, list[int]]]:
    """The model for each language of some utterances, and which of them it hears.

    Raises:
        ModelError: it does not know a language.
    """
    members: dict[int, tuple[SpeechModel, list[int]]] = {}
    for index, utterance in enumerate(utterances):
        spoken = in_language(model, utterance.language)
        members.setdefault(id(spoken), (spoken, []))[1].append(index)
    return list(members.values())


def text_digests(model: SpeechModel, utterances: Sequence[Utterance]) -> list[str]:
    """What stands in keys for what utterances are asked for: nothing where that is the model's own.

    Raises:
        ModelError: it does not know a language.
    """
    digests = [in_language(model, utterance.language).text_digest for utterance in utterances]
    return [] if all(digest == model.text_digest for digest in digests) else digests


def asked_in_words(model: SpeechModel, utterances: Sequence[Utterance]) -> str:
    """What a model is asked for on some utterances, such as "de transcribe", "de, en transcribe" or
    "fallback"; "" where it follows its own settings, greedily.

    Raises:
        ModelError: it does not know a language.
    """
    spoken: list[Any] = [one for one, _ in by_language(model, utterances)]
    if _way(model) is None:
        return ""
    asked = []
    if any(one.settings != one.own_settings for one in spoken):
        languages = sorted({one.settings.language for one in spoken})
        asked.append(f"{', '.join(languages)} {spoken[0].settings.task}")
    if decoding_of(model) != GREEDY:
        asked.append(decoding_of(model).name)
    return ", ".join(asked)


def decoding_in_words(model: SpeechModel, utterances: Sequence[Utterance]) -> str:
    """How a model decodes some utterances; each way, where rows name several languages.

    Raises:
        ModelError: it does not know a language.
    """
    return "; or ".join(sorted({one.decoding for one, _ in by_language(model, utterances)}))


def generation_settings(module: Any, language: str, task: str) -> Any:
    """A Whisper's generation settings with another language and task."""
    generation = copy.deepcopy(module.generation_config)
    generation.language, generation.task = language, task
    generation.forced_decoder_ids = None
    return generation


def _way(model: SpeechModel) -> Any:
    # Asked of the class: models of other runtimes answer for every attribute that they lack.
    return getattr(type(model), "with_language", None)
