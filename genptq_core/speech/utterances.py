"""Utterances: recordings with what was said in them, gathered to sets from rows of any layout."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import SpeechError
from ..storage.digests import sha256_file, sha256_json
from . import decoding
from .columns import Row
from .decoding import LONGEST as LONGEST
from .decoding import RATE as RATE
from .rows import JSON_REMEDY, manifest_rows

_SHARE = 0.05  # by which a recording may be shorter or longer than its source says
_SECONDS = 0.2  # and it may always differ by this


@dataclass(frozen=True)
class Utterance:
    """One recording and what was said in it.

    Attributes:
        audio: path of the audio file.
        text: the reference transcript, or "" if there is none.
        speaker: the speaker's or voice's name, or "".
        digest: SHA-256 of the audio file's content.
        language: code of what is spoken, or ""; see `columns.Row`.
    """

    audio: Path
    text: str
    speaker: str
    digest: str
    language: str = ""


@dataclass(frozen=True)
class SpeechSet:
    """Utterances in manifest order.

    Attributes:
        name: a short name for tables: the manifest's folder and stem.
        utterances: the recordings.
        digest: SHA-256 over every recording's content and text, and its language if that is not
            English.
    """

    name: str
    utterances: tuple[Utterance, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.utterances)


def load_manifest(path: Path, limit: int | None = None) -> SpeechSet:
    """Read a manifest: lines of JSON with `audio`, optionally `text` and `speaker`; or CSV, TSV.

    Args:
        path: the manifest; `audio` is relative to its folder.
        limit: take only this many utterances, from the start.

    Raises:
        SpeechError: the manifest is missing, empty or malformed, or names missing audio.
    """
    path = Path(path)
    return gather(f"{path.parent.name}/{path.stem}", manifest_rows(path, {}), limit, JSON_REMEDY)


def gather(name: str, rows: Iterable[Row], limit: int | None, remedy: str) -> SpeechSet:
    """A speech set from rows: all of them with a text, or none.

    Args:
        name: the set's name.
        rows: of a source of any layout; what is wrong in one is raised when it is taken.
        limit: take only this many, from the start.
        remedy: a hint for when there is none.

    Raises:
        SpeechError: there is no row; only some have a text; a recording is missing, or much
            shorter or longer than its row says.
    """
    check_limit(limit)
    utterances: list[Utterance] = []
    first: Row | None = None
    for row in itertools.islice(rows, limit):
        first = first or row
        if (row.text is None) != (first.text is None):
            with_text, without = (first, row) if row.text is None else (row, first)
            raise SpeechError(
                f"{without.where} has no text, and {with_text.where} has one.",
                'Give every row its text; "" is for recordings in which nobody speaks.',
            )
        utterances.append(_utterance(row))
    if not utterances:
        raise SpeechError(f"{name} names no utterance.", remedy)
    return speech_set(name, utterances)


def check_limit(limit: int | None) -> None:
    """Make sure that a limit leaves something.

    Raises:
        SpeechError: it does not.
    """
    if limit is not None and limit < 1:
        raise SpeechError(f"A limit of {limit} utterances leaves nothing.", "Give 1 or more.")


def speech_set(name: str, utterances: list[Utterance]) -> SpeechSet:
    """A speech set of utterances, with a digest of their content."""
    # English was heard before languages were told, and adds nothing.
    content = [
        [u.digest, u.text, *([u.language] if u.language not in ("", "en") else [])]
        for u in utterances
    ]
    return SpeechSet(name, tuple(utterances), sha256_json(content))


def utterance(audio: Path, text: str = "", speaker: str = "", language: str = "") -> Utterance:
    """An utterance from an audio file.

    Raises:
        SpeechError: the file is missing or unreadable.
    """
    try:
        digest = sha256_file(audio)
    except FileNotFoundError:
        raise SpeechError(f"The audio file {audio} does not exist.", "Check the path.") from None
    except (OSError, ValueError) as error:
        raise SpeechError(f"The audio file {audio} cannot be read ({error}).") from error
    return Utterance(Path(audio), text, speaker, digest, language)


def load_audio(recording: Utterance) -> np.ndarray:
    """Decode one recording of up to 30 s to mono at 16 kHz; `long_audio` reads longer ones.

    Returns:
        Samples, mostly in [-1, 1], shape (n,), float32.

    Raises:
        SpeechError: the file cannot be decoded, has no samples, is shorter than it says, lasts
            more than 30 s, or holds samples that are no numbers or far outside of [-1, 1].
    """
    return decoding.decode(recording.audio)


def duration(recording: Utterance) -> float:
    """Length of a recording in seconds, from its header where that says so.

    Raises:
        SpeechError: the file is not audio.
    """
    return _seconds(recording.audio, recording.digest)


@lru_cache(maxsize=1 << 16)
def _seconds(audio: Path, digest: str) -> float:
    """As `duration`; what phones record is decoded to find out, and asked for several times."""
    return decoding.seconds(audio)


def _utterance(row: Row) -> Utterance:
    try:
        found = utterance(row.audio, row.text or "", row.speaker, row.language)
        lasts = duration(found) if row.duration is not None else None
    except SpeechError as error:
        raise SpeechError(f"{row.where}: {error.message}", error.hint) from error
    if lasts is not None:
        _check_duration(row, lasts)
    return found


def _check_duration(row: Row, lasts: float) -> None:
    said = row.duration or 0.0
    if abs(lasts - said) > max(_SHARE * said, _SECONDS):
        relation = "shorter" if lasts < said else "longer"
        raise SpeechError(
            f"{row.where}: {row.audio} lasts {lasts:.2f} s, much {relation} than the {said:.2f} s "
            "that the manifest says.",
            "Fetch or cut the recording again, or correct the duration, in seconds.",
        )
