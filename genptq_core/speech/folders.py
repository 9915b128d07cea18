"""Speech sets in folders: LibriSpeech's and Kaldi's layouts, and finding what a folder holds.

Links to folders are followed, each folder once. What macOS and other systems hide in folders is
left out: names that begin with a dot, and `__MACOSX`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import SpeechError
from .audio_kinds import SUFFIXES
from .columns import Row, locate
from .languages import code_of
from .rows import read_lines

MOST_FILES = 5_000_000
"""Most files in a folder and below it: a link may lead to a whole disk."""

KALDI = "wav.scp"
"""The file of Kaldi that lists recordings."""

_SEGMENTS = "Cut the recordings into files, one for each utterance."


def files_below(folder: Path) -> list[Path]:
    """Files in a folder and in those below it, links followed, sorted.

    Raises:
        SpeechError: a folder cannot be read, a link leads nowhere, or there are too many files.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    count = 0
    while waiting:
        current = waiting.pop()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                for entry in entries:
                    count += 1
                    if count > MOST_FILES:
                        raise SpeechError(f"{folder} holds more than {MOST_FILES:,} files.")
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    path = current / entry.name
                    if entry.is_dir():
                        waiting.append(path)
                    elif entry.is_symlink() and not path.exists():
                        raise SpeechError(f"The link {path} leads nowhere.", "Mend or delete it.")
                    else:
                        found.append(path)
        except (OSError, ValueError) as error:
            raise SpeechError(f"The folder {current} cannot be read ({error}).") from error
    return sorted(found)


def librispeech(path: Path) -> Iterator[Row]:
    """Rows from lines `SPEAKER-CHAPTER-NUMBER WORDS`, with audio of that name next to it.

    A name without words has no text.

    Raises:
        SpeechError: the file cannot be read, or a recording is missing.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        name, text = _parted(line)
        candidates = [path.parent / f"{name}{suffix}" for suffix in SUFFIXES]
        try:
            audio = next((candidate for candidate in candidates if candidate.is_file()), None)
        except (OSError, ValueError) as error:
            raise SpeechError(f"{where} has an impossible name of a recording.") from error
        if audio is None:
            raise SpeechError(
                f"{where}: there is no audio file of {name}.",
                f"It must be in the same folder, as {', '.join(SUFFIXES)}.",
            )
        yield Row(where, audio, text or None, name.partition("-")[0])


def kaldi(path: Path) -> Iterator[Row]:
    """Rows from `wav.scp`, with `text`, `utt2spk` and `utt2lang` next to it where these are there.

    A name without words in `text` is silence, as Kaldi has it.

    Raises:
        SpeechError: a file cannot be read or is malformed, names are not the same in all of them,
            or a recording is to come from a command, from an archive, or in segments.
    """
    folder = path.parent
    if (folder / "segments").exists():
        raise SpeechError(
            f"{folder / 'segments'} cuts recordings into parts, which is not supported.", _SEGMENTS
        )
    recordings = _table(path)
    texts = _table(folder / "text") if (folder / "text").exists() else None
    speakers = _table(folder / "utt2spk") if (folder / "utt2spk").exists() else {}
    languages = _table(folder / "utt2lang") if (folder / "utt2lang").exists() else {}
    for name, (where, _) in (texts or {}).items():
        if name not in recordings:
            raise SpeechError(f"{where}: {path} names no recording of {name}.")
    for name, (where, value) in recordings.items():
        if value.endswith("|") or value.startswith("|"):
            raise SpeechError(
                f"{where} is a command, and commands are never run.",
                "Write its recordings to files, and name these.",
            )
        if texts is not None and name not in texts:
            raise SpeechError(f"{where}: {folder / 'text'} has no text of {name}.")
        try:
            audio = locate(value, folder)
        except (OSError, ValueError) as error:
            raise SpeechError(f"{where} has an impossible path.") from error
        head, colon, offset = value.rpartition(":")
        if colon and offset.isdigit() and not audio.is_file():
            raise SpeechError(
                f"{where} is a place in the archive {head}, and archives are not read.",
                "Write its recordings to files, and name these.",
            )
        text = texts[name][1] if texts is not None else None
        yield Row(
            where,
            audio,
            text,
            speakers.get(name, ("", ""))[1],
            language=code_of(languages.get(name, ("", ""))[1]),
        )


def _table(path: Path) -> dict[str, tuple[str, str]]:
    """Kaldi's tables: file and line, and what follows the name, by the name that begins a line."""
    found: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        name, value = _parted(line)
        if name in found:
            raise SpeechError(f"{where} names {name} again.", "Each name may stand there once.")
        found[name] = where, value.strip()
    return found


def _parted(line: str) -> tuple[str, str]:
    """A line's first word, and what follows the blank or tab after it."""
    line = line.strip()
    ends = [at for at in (line.find(" "), line.find("\t")) if at >= 0]
    if not ends:
        return line, ""
    return line[: min(ends)], line[min(ends) + 1 :]
