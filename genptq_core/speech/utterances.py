"""Utterances: listed in manifests, and decoded and resampled to what models expect."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ..errors import SpeechError
from ..storage.digests import sha256_file, sha256_json
from ..storage.files import read_text
from .audio_kinds import check_kind

RATE = 16_000
"""Sampling rate of all samples that this module returns, Hz."""

LONGEST = 30.0
"""Longest utterance that is accepted, seconds: what Whisper takes at once."""

LARGEST = 50_000_000
"""Most samples that are accepted, over all channels: a small file may unpack to gigabytes."""


@dataclass(frozen=True)
class Utterance:
    """One recording and what was said in it.

    Attributes:
        audio: path of the audio file.
        text: the reference transcript, or "" if there is none.
        speaker: the speaker's or voice's name, or "".
        digest: SHA-256 of the audio file's content.
    """

    audio: Path
    text: str
    speaker: str
    digest: str


@dataclass(frozen=True)
class SpeechSet:
    """Utterances in manifest order.

    Attributes:
        name: a short name for tables: the manifest's folder and stem.
        utterances: the recordings.
        digest: SHA-256 over every recording's content and text.
    """

    name: str
    utterances: tuple[Utterance, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.utterances)


def load_manifest(path: Path, limit: int | None = None) -> SpeechSet:
    """Read a JSONL manifest: one object per line with `audio`, optionally `text` and `speaker`.

    Args:
        path: the manifest; `audio` is relative to its folder.
        limit: take only this many utterances, from the start.

    Raises:
        SpeechError: the manifest is missing, empty or malformed, or names missing audio.
    """
    path = Path(path)
    remedy = 'Each line must look like {"audio": "clips/a.flac", "text": "what was said"}.'
    if limit is not None and limit < 1:
        raise SpeechError(f"A limit of {limit} utterances leaves nothing.", "Give 1 or more.")
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        raise SpeechError(f"The manifest {path} does not exist.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechError(f"The manifest {path} cannot be read ({error}).", remedy) from error
    utterances: list[Utterance] = []
    for number, line in enumerate(lines, start=1):
        if limit is not None and len(utterances) == limit:
            break
        if line.strip():
            utterances.append(_parse_line(line, path.parent, f"{path}, line {number}", remedy))
    if not utterances:
        raise SpeechError(f"The manifest {path} names no utterance.", remedy)
    return speech_set(f"{path.parent.name}/{path.stem}", utterances)


def speech_set(name: str, utterances: list[Utterance]) -> SpeechSet:
    """A speech set of utterances, with a digest of their content."""
    content = [[u.digest, u.text] for u in utterances]
    return SpeechSet(name, tuple(utterances), sha256_json(content))


def utterance(audio: Path, text: str = "", speaker: str = "") -> Utterance:
    """An utterance from an audio file.

    Raises:
        SpeechError: the file is missing or unreadable.
    """
    try:
        digest = sha256_file(audio)
    except FileNotFoundError:
        raise SpeechError(f"The audio file {audio} does not exist.", "Check the path.") from None
    except OSError as error:
        raise SpeechError(f"The audio file {audio} cannot be read ({error}).") from error
    return Utterance(Path(audio), text, speaker, digest)


def _parse_line(line: str, folder: Path, where: str, remedy: str) -> Utterance:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SpeechError(f"{where} is not JSON ({error}).", remedy) from error
    return from_record(record, folder, where, remedy)


def from_record(record: object, folder: Path, where: str, remedy: str) -> Utterance:
    """An utterance from a manifest's fields: "audio", and optionally "text" and "speaker".

    Args:
        record: a dictionary; `audio` is relative to `folder`.
        folder: the manifest's folder.
        where: file and line, for messages.
        remedy: what a line should look like.

    Raises:
        SpeechError: a field is missing or of the wrong type, or the audio file is missing.
    """
    if not isinstance(record, dict) or not isinstance(record.get("audio"), str):
        raise SpeechError(f'{where} has no "audio" path.', remedy)
    text, speaker = record.get("text", ""), record.get("speaker", "")
    if not isinstance(text, str):
        raise SpeechError(f'{where} has a "text" that is not a string.', remedy)
    try:
        return utterance(folder / record["audio"], text, str(speaker))
    except SpeechError as error:
        raise SpeechError(f"{where}: {error.message}", error.hint) from error
    except ValueError as error:  # a path with a null character
        raise SpeechError(f'{where} has an impossible "audio" path.', remedy) from error


def load_audio(recording: Utterance) -> np.ndarray:
    """Decode one recording to mono at 16 kHz.

    Returns:
        Samples in [-1, 1], shape (n,), float32.

    Raises:
        SpeechError: the file cannot be decoded, has no samples, holds NaN or infinite
            samples, or lasts more than 30 s.
    """
    name = recording.audio
    check_kind(name)
    try:
        with soundfile.SoundFile(name) as source:
            seconds = source.frames / source.samplerate
            if seconds > LONGEST:
                raise SpeechError(
                    f"{name} lasts {seconds:.1f} s, and {LONGEST:.0f} s is the longest accepted.",
                    "Cut it into shorter utterances.",
                )
            if source.frames * source.channels > LARGEST:
                raise SpeechError(
                    f"{name} has {source.channels} channels at {source.samplerate} Hz, more "
                    "samples than are accepted.",
                    "Convert it to one channel at 16 kHz.",
                )
            samples = source.read(dtype="float32", always_2d=True)
            rate = source.samplerate
    # soundfile's errors derive from RuntimeError; it takes a few names for headerless formats.
    except (OSError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise SpeechError(
            f"{name} cannot be decoded as audio ({error}).", "Use WAV, FLAC, OGG or MP3."
        ) from error
    mono = samples.mean(axis=1)
    if mono.size and not math.isfinite(float(np.abs(mono).max())):
        raise SpeechError(f"{name} holds NaN or infinite samples.", "Record or convert it again.")
    if rate != RATE and mono.size:
        try:
            mono = soxr.resample(mono, rate, RATE)
        except (RuntimeError, ValueError) as error:
            raise SpeechError(
                f"{name} has a rate of {rate} Hz, which cannot be resampled ({error}).",
                "Convert it to 16 kHz.",
            ) from error
    if mono.size == 0:
        raise SpeechError(f"{name} holds no samples.", "Remove it from the manifest.")
    return np.asarray(mono, dtype=np.float32)


def duration(recording: Utterance) -> float:
    """Length of a recording in seconds, from its header.

    Raises:
        SpeechError: the file is not audio.
    """
    check_kind(recording.audio)
    try:
        return float(soundfile.info(recording.audio).duration)
    except (OSError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise SpeechError(f"{recording.audio} cannot be decoded as audio ({error}).") from error
