"""Recordings that the user gives the page: checked, kept under a random name, deleted after use."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Collection
from pathlib import Path

from genptq_core.errors import SpeechError
from genptq_core.speech.decoding import stream
from genptq_core.speech.utterances import duration, utterance
from genptq_core.storage.digests import sha256
from genptq_core.storage.files import atomic
from genptq_core.storage.locations import uploads_folder

TYPES = ("wav", "flac", "ogg", "mp3", "m4a", "webm")
"""Kinds of file taken; the last two where PyAV is installed, and named where it is not."""

LARGEST = 8
"""Largest file taken, MB."""

LONGEST = 3600.0
"""Longest recording taken, seconds: it is decoded twice, in about a tenth of that each."""

_YOUNG = 120.0
"""Seconds that a file without a job is left alone: its job may be about to be queued."""


def folder() -> Path:
    """Where recordings are while they wait."""
    return uploads_folder()


def keep(data: bytes, name: str) -> Path:
    """Write a recording where a worker finds it; nothing of the user's name for it is used.

    Raises:
        SpeechError: it is too large, of another kind, no audio, or longer than `LONGEST`.
    """
    suffix = Path(name).suffix.lower().lstrip(".")
    if suffix not in TYPES:
        raise SpeechError(
            f"A file of type {suffix[:8] or 'unknown'!r} is not taken.",
            f"Use one of: {', '.join(TYPES)}.",
        )
    if len(data) > LARGEST * 1_000_000:
        raise SpeechError(
            f"The recording has {len(data) / 1e6:.1f} MB, and {LARGEST} MB is the most taken.",
            "Cut it, or save it as FLAC, OGG or MP3.",
        )
    path = folder() / f"{secrets.token_hex(16)}.{suffix}"
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    path.chmod(0o600)
    try:
        recording = utterance(path)
        if duration(recording) > LONGEST:
            raise SpeechError(
                f"{path} lasts more than {LONGEST / 60:.0f} minutes, the most taken.", "Cut it."
            )
        for _ in stream(path):  # to its end: one that is cut short is refused now
            pass
    except SpeechError as error:
        path.unlink(missing_ok=True)
        message = error.message.replace(str(path), "The recording")
        raise SpeechError(message, error.hint) from error
    return path


def owner(secret: bytes) -> str:
    """A name for the browser that holds a secret; the secret cannot be computed from it."""
    return sha256(secret)[:16]


def drop(path: str) -> None:
    """Delete a recording, if it is one of ours."""
    if Path(path).parent == folder():
        Path(path).unlink(missing_ok=True)


def sweep(awaited: Collection[str]) -> None:
    """Delete recordings that no job waits for, such as those of a page that was closed."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder()):
            if entry.path not in awaited and time.time() - entry.stat().st_mtime > _YOUNG:
                Path(entry.path).unlink(missing_ok=True)
