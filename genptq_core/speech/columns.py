"""Columns of speech sets: under which names recordings, texts and the rest stand, in any layout.

One table for lines of JSON, CSV, TSV, parquet and data sets. A name counts without the blanks and
the byte order mark around it; its case is ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import SpeechError
from .languages import code_of

NAMES = {
    "audio": (
        *("audio", "audio_filepath", "audio_path", "path", "file", "file_name", "filename"),
        *("wav", "wav_filename"),
    ),
    "text": ("text", "sentence", "transcription", "transcript", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk_id"),
    "duration": ("duration",),
    "offset": ("offset",),
    "language": ("language", "lang", "locale"),
}
"""What a column may be called, by what it holds."""

CHOSEN = ("audio", "text", "speaker", "language")
"""Fields whose column can be named after a source's `?`."""

REMEDY = "Name its columns after the source, as in dev.csv?audio=COLUMN&text=COLUMN."

_CLIPS = "clips"  # the folder beside Common Voice's tables
_MOST_SHOWN = 20
_LONGEST_SHOWN = 40

Asked = Mapping[str, str]
"""Columns that the user named, by field."""


@dataclass(frozen=True)
class Row:
    """One utterance as a source tells of it.

    Attributes:
        where: file and line, for messages.
        audio: the recording.
        text: what was said; "" for silence, None if the source does not say.
        speaker: a name, or "".
        duration: seconds that the recording lasts according to the source, or None.
        language: its code, or in lower case what is no code or name that is known; "" if the
            source does not say.
    """

    where: str
    audio: Path
    text: str | None = None
    speaker: str = ""
    duration: float | None = None
    language: str = ""


def find(columns: tuple[str, ...], where: str, asked: Asked) -> dict[str, str]:
    """Which column holds what.

    Args:
        columns: names as they are written.
        where: for messages.
        asked: columns that the user named, by field.

    Returns:
        The column of each field that there is; "audio" is always among them.

    Raises:
        SpeechError: no column is known to hold recordings, several could hold the same, or one
            that was named is missing.
    """
    found, problem = _find(columns, tuple(sorted(asked.items())))
    if problem:
        raise SpeechError(f"{where} {problem}", REMEDY)
    return dict(found)


def row(values: Mapping[str, object], folder: Path, where: str, asked: Asked) -> Row:
    """An utterance from a record's values by column, its recording relative to `folder`.

    Raises:
        SpeechError: as `find`, or a value is of a wrong type.
    """
    columns = find(tuple(values), where, asked)
    name = values[columns["audio"]]
    if not isinstance(name, str) or not name.strip():
        raise SpeechError(f'{where} has no "{columns["audio"]}" path.', "It names a recording.")
    try:
        audio = locate(name, folder)
    except (OSError, ValueError) as error:
        raise SpeechError(f'{where} has an impossible "{columns["audio"]}" path.') from error
    return Row(where, audio, *described(values, columns, where))


def described(
    values: Mapping[str, object], columns: Mapping[str, str], where: str
) -> tuple[str | None, str, float | None, str]:
    """Text, speaker, duration and language of a record.

    Raises:
        SpeechError: a value is of a wrong type, or only a part of a recording is meant.
    """
    text = _value(values, columns, "text")
    if text is not None and not isinstance(text, str):
        raise SpeechError(f'{where} has a "{columns["text"]}" that is not a string.')
    speaker = _value(values, columns, "speaker")
    if speaker is None:
        speaker = ""
    if not isinstance(speaker, str | int | float):
        raise SpeechError(f'{where} has a "{columns["speaker"]}" that is neither name nor number.')
    if _seconds(values, columns, "offset", where):
        raise SpeechError(
            f'{where} has an "{columns["offset"]}" that is not 0: only a part of the recording is '
            "meant, and parts are not supported.",
            "Cut the recordings into files, one for each line.",
        )
    try:
        f"{text}{speaker}".encode()
    except UnicodeEncodeError as error:
        raise SpeechError(f"{where} has half a character in its text or speaker.") from error
    seconds = _seconds(values, columns, "duration", where)
    return text, str(speaker), seconds, _language(values, columns, where)


def locate(name: str, folder: Path) -> Path:
    """The file that a source means: in its folder, or in `clips` below, as Common Voice has it.

    Returns:
        A path, whether or not there is a file.

    Raises:
        OSError: no file can have that name.
        ValueError: likewise.
    """
    for candidate in (name, name.strip()):
        for path in (folder / candidate, folder / _CLIPS / candidate):
            if path.is_file():
                return path
    return folder / name


def listed(names: tuple[str, ...]) -> str:
    """Names from outside, as messages show them: not too many, not too long, in quotation marks."""
    shown = [repr(n if len(n) <= _LONGEST_SHOWN else f"{n[:_LONGEST_SHOWN]}…") for n in names]
    more = len(names) - _MOST_SHOWN
    return ", ".join(shown[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def plain(name: str) -> str:
    """A column's name without the blanks and the byte order mark around it."""
    return name.strip().strip("\ufeff").strip()


@lru_cache(maxsize=256)
def _find(
    columns: tuple[str, ...], asked: tuple[tuple[str, str], ...]
) -> tuple[tuple[tuple[str, str], ...], str]:
    """What `find` returns, and what is wrong, or ""."""
    found: dict[str, str] = {}
    chosen = dict(asked)
    for field, names in NAMES.items():
        if field in chosen:
            names = (chosen[field],)
        known = {name.casefold() for name in names}
        candidates = [column for column in columns if plain(column).casefold() in known]
        exact = [column for column in candidates if plain(column) == names[0]]
        if len(candidates) > 1 and len(exact) != 1 and field != "speaker":
            several = listed(tuple(candidates))
            return (), f"has several columns that could be the {field}: {several}."
        if candidates:
            found[field] = exact[0] if exact else candidates[0]
        elif field in chosen:
            return (), f"has no column {names[0]!r}; it has only the columns {listed(columns)}."
    if "audio" not in found:
        known_names = "; ".join(f"{field}: {', '.join(NAMES[field])}" for field in CHOSEN)
        return (), (
            f"has no known column of recordings; it has only the columns {listed(columns)}, and "
            f"known are {known_names}."
        )
    return tuple(found.items()), ""


def _value(values: Mapping[str, object], columns: Mapping[str, str], field: str) -> object:
    return values[columns[field]] if field in columns else None


def _language(values: Mapping[str, object], columns: Mapping[str, str], where: str) -> str:
    value = _value(values, columns, "language")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SpeechError(
            f'{where} has a "{columns["language"]}" that is not a string.',
            "Give a code like de, or a name like German.",
        )
    language = code_of(value)
    if len(language) > _LONGEST_SHOWN or not language.isprintable():
        raise SpeechError(f'{where} has a "{columns["language"]}" that is no language.')
    return language


def _seconds(
    values: Mapping[str, object], columns: Mapping[str, str], field: str, where: str
) -> float | None:
    value = _value(values, columns, field)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise SpeechError(f'{where} has a "{columns[field]}" that is no number of seconds.')
    return seconds
