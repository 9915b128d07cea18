"""Speech sets from manifests, LibriSpeech's folders, parquet and the Hugging Face hub.

    clips/dev.jsonl, clips/dev.csv, clips/dev.tsv   manifests; audio is relative to their folder
    LibriSpeech/dev-clean                           a folder with *.trans.txt files below it
    clips/dev.parquet, clips                        parquet as `datasets` writes it
    hf:openslr/librispeech_asr?config=clean&split=validation      a data set of the hub

After `?` come config, split (default: test), and the columns' names as audio and text.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ..errors import SpeechError
from ..storage.digests import sha256, sha256_file
from ..storage.files import atomic, read_text
from ..storage.locations import recording_file
from .utterances import SpeechSet, Utterance, from_record, load_manifest, speech_set, utterance

HUB = "hf:"
DATASETS = "datasets==5.2.0"

_TEXTS = ("text", "sentence", "transcription", "transcript", "normalized_text")
_FORMATS = (".flac", ".wav", ".ogg", ".mp3")
_CSV_REMEDY = 'The first line must name the columns: "audio", and optionally "text", "speaker".'
_LAYOUTS = (
    "Give a JSONL or CSV manifest, a folder in LibriSpeech's layout, parquet files, or a data set "
    "of the hub as hf:NAME?config=CONFIG&split=SPLIT."
)


def load_speech(source: str | Path, limit: int | None = None) -> SpeechSet:
    """Read a speech set of any layout that this module names.

    Args:
        source: a path, or `hf:` and the name of a data set.
        limit: take only this many utterances, from the start.

    Raises:
        SpeechError: it is missing, empty or malformed, or needs a library that is not installed.
    """
    if limit is not None and limit < 1:
        raise SpeechError(f"A limit of {limit} utterances leaves nothing.", "Give 1 or more.")
    if str(source).startswith(HUB):
        return _hub(str(source), limit)
    path = Path(source)
    if path.is_dir():
        return _folder(path, limit)
    if path.suffix == ".parquet":
        return _parquet([path], f"{path.parent.name}/{path.stem}", limit)
    if path.suffix in (".csv", ".tsv"):
        return _gather(f"{path.parent.name}/{path.stem}", _csv(path), limit)
    return load_manifest(path, limit)


def _gather(name: str, utterances: Iterator[Utterance], limit: int | None) -> SpeechSet:
    taken = list(itertools.islice(utterances, limit))
    if not taken:
        raise SpeechError(f"{name} names no utterance.", _LAYOUTS)
    return speech_set(name, taken)


def _csv(path: Path) -> Iterator[Utterance]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise SpeechError(f"The manifest {path} does not exist.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechError(f"The manifest {path} cannot be read ({error}).", _CSV_REMEDY) from error
    rows = csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ",")
    try:
        for row in rows:
            known = {key: value for key, value in row.items() if value is not None}
            yield from_record(known, path.parent, f"{path}, line {rows.line_num}", _CSV_REMEDY)
    except csv.Error as error:
        raise SpeechError(f"{path} is not CSV ({error}).", _CSV_REMEDY) from error


def _folder(path: Path, limit: int | None) -> SpeechSet:
    name = f"{path.resolve().parent.name}/{path.resolve().name}"
    transcripts = sorted(path.rglob("*.trans.txt"))
    if transcripts:
        utterances = (u for file in transcripts for u in _librispeech(file))
        return _gather(name, utterances, limit)
    parquet = sorted(path.rglob("*.parquet"))
    if parquet:
        return _parquet(parquet, name, limit)
    raise SpeechError(f"{path} holds neither *.trans.txt nor *.parquet files.", _LAYOUTS)


def _librispeech(path: Path) -> Iterator[Utterance]:
    """Utterances from lines `SPEAKER-CHAPTER-NUMBER WORDS`, with audio of that name next to it."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechError(f"{path} cannot be read ({error}).") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, text = line.strip().partition(" ")
        candidates = [path.parent / f"{name}{suffix}" for suffix in _FORMATS]
        audio = next((candidate for candidate in candidates if candidate.is_file()), None)
        if audio is None:
            raise SpeechError(
                f"{path}, line {number}: there is no audio file of {name}.",
                f"It must be in the same folder, as {', '.join(_FORMATS)}.",
            )
        yield utterance(audio, text, name.partition("-")[0])


def _hub(source: str, limit: int | None) -> SpeechSet:
    name, _, query = source.removeprefix(HUB).partition("?")
    asked = dict(parse_qsl(query))
    unknown = set(asked) - {"config", "split", "audio", "text"}
    if not name or unknown:
        raise SpeechError(f"{source} names no data set, or {sorted(unknown)} is unknown.", _LAYOUTS)
    config, split = asked.get("config"), asked.get("split", "test")
    rows = _rows(source, name, config, split=split)
    label = "/".join(part for part in (name.rpartition("/")[2], config, split) if part)
    return _gather(label, _from_rows(rows, source, asked), limit)


def _parquet(paths: list[Path], name: str, limit: int | None) -> SpeechSet:
    files = [str(path) for path in paths]
    rows = _rows(str(paths[0]), "parquet", None, data_files=files, split="train")
    return _gather(name, _from_rows(rows, str(paths[0]), {}), limit)


def _rows(source: str, name: str, config: str | None, **settings: Any) -> Any:
    """A data set's rows, streamed, with audio not decoded."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise SpeechError(
            f"{source} needs the package `datasets`, which is not installed.",
            f"pip install {DATASETS}",
        ) from None
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(name, config, streaming=True, **settings)
    except Exception as error:  # it passes on every exception of its readers
        raise _unreadable(source, error) from error
    for column, kind in (rows.features or {}).items():
        if isinstance(kind, datasets.Audio):
            rows = rows.cast_column(column, datasets.Audio(decode=False))
    return rows


def _unreadable(source: str, error: Exception) -> SpeechError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return SpeechError(
        f"{source} cannot be read as a data set ({reason}).",
        "Check its name, config and split, and that the hub can be reached.",
    )


def _from_rows(rows: Any, source: str, asked: dict[str, str]) -> Iterator[Utterance]:
    audio = asked.get("audio", "audio")
    remedy = f"Name its columns: ?audio={audio}&text=text."
    numbered = enumerate(rows, start=1)
    while True:
        try:
            number, row = next(numbered)
        except StopIteration:
            return
        except Exception as error:  # as above: rows are read when they are taken
            raise _unreadable(source, error) from error
        where = f"{source}, row {number}"
        text = asked.get("text") or next((t for t in _TEXTS if t in row), "text")
        if audio not in row or ("text" in asked and text not in row):
            raise SpeechError(f"{where} has only the columns {', '.join(row)}.", remedy)
        speaker = str(row.get("speaker_id", row.get("speaker", "")))
        yield utterance(_stored(row[audio], where), str(row.get(text) or ""), speaker)


def _stored(audio: Any, where: str) -> Path:
    """The file of a row's audio; audio in the row itself is written to the cache."""
    if isinstance(audio, str):
        return Path(audio)
    fields = audio if isinstance(audio, dict) else {}
    data, name = fields.get("bytes"), fields.get("path")
    if data:
        suffix = Path(name or "").suffix.lower() or ".audio"
        path = recording_file(sha256(data), suffix)
        if not path.is_file() or sha256_file(path) != path.stem:
            with atomic(path) as temporary:
                temporary.write_bytes(data)
        return path
    if name:
        return Path(name)
    raise SpeechError(f"{where} holds no audio.", "Its audio column must hold files.")
