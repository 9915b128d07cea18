"""What a Whisper is asked for: the fields for language and task that forms share."""

from __future__ import annotations

from typing import Any

from genptq_core.models.whisper_asking import may_be_asked
from genptq_core.profile import Profile
from genptq_core.speech.languages import LANGUAGES, name_of

_TASKS = {"": "as the model does", "transcribe": "transcribe", "translate": "translate to English"}


def fields(place: Any, key: str, own: str) -> tuple[str, str]:
    """Draw the fields; returns language and task, "" for what is left open.

    Args:
        place: where they are drawn.
        key: of their widgets.
        own: what counts where nothing is chosen, in words.
    """
    left, right = place.columns(2)
    language = left.selectbox(
        "Language asked for",
        ("", *sorted(LANGUAGES, key=name_of)),
        format_func=lambda code: f"{name_of(code)} ({code})" if code else own,
        key=f"{key}_language",
        help="For multilingual Whispers. A column `language` of a manifest says it row by row.",
    )
    task = right.selectbox(
        "Task", tuple(_TASKS), format_func=lambda name: _TASKS[name], key=f"{key}_task"
    )
    return language or "", task or ""


def of_profile(place: Any, key: str, profile: Profile) -> tuple[str, str]:
    """The fields for a profile's model; none for what cannot be asked."""
    if not may_be_asked(profile):
        return "", ""
    language = profile.source.language
    asked = f"as the profile, {name_of(language)}" if language else "as rows say"
    return fields(place, key, f"{asked}, else the model's own")
