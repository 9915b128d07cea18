"""Speech sets from manifests, folders, parquet and the Hugging Face hub.

    clips/dev.jsonl, clips/dev.csv, clips/dev.tsv   manifests; audio is relative to their folder
    cv-corpus/en/test.tsv                           Common Voice; its audio is in `clips` there
    LibriSpeech/dev-clean                           a folder with *.trans.txt files below it
    data/test, data/test/wav.scp                    Kaldi's `wav.scp`, with `text` next to it
    folder                                          with metadata.csv or metadata.jsonl
    clips/dev.parquet, clips                        parquet as `datasets` writes it
    hf:openslr/librispeech_asr?config=clean&split=validation      a data set of the hub

After `?` come the columns' names as audio, text, speaker and language; for the hub also config, and
split (default: test). Which names columns have by themselves is in `columns`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ..errors import SpeechError
from ..extras import install_command
from ..storage.digests import sha256, sha256_file
from ..storage.files import atomic
from ..storage.locations import recording_file
from .columns import CHOSEN, Asked, Row, described, find, listed, locate
from .folders import KALDI, files_below, kaldi, librispeech
from .rows import CSV_REMEDY, JSON_REMEDY, manifest_rows
from .utterances import SpeechSet, check_limit, gather

HUB = "hf:"

_METADATA = ("metadata.csv", "metadata.jsonl")
_MANIFESTS = (".jsonl", ".csv", ".tsv")
_LAYOUTS = (
    "Give a JSONL, CSV or TSV manifest, a folder in LibriSpeech's or Kaldi's layout or with "
    "metadata.csv, parquet files, or a data set of the hub as hf:NAME?config=CONFIG&split=SPLIT."
)


def load_speech(source: str | Path, limit: int | None = None) -> SpeechSet:
    """Read a speech set of any layout that this module names.

    Args:
        source: a path, or `hf:` and the name of a data set; after `?` names of columns.
        limit: take only this many utterances, from the start.

    Raises:
        SpeechError: it is missing, empty or malformed, or needs a library that is not installed.
    """
    check_limit(limit)
    if str(source).startswith(HUB):
        return _hub(str(source), limit)
    try:
        path, asked = _asked(source)
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        raise SpeechError(f"{str(source)[:200]} cannot be opened ({error}).", _LAYOUTS) from error
    if is_folder:
        return _folder(path, asked, limit)
    name, suffix = f"{path.parent.name}/{path.stem}", path.suffix.lower()
    if path.name == KALDI:
        _without_columns(path, asked)
        return gather(name, kaldi(path), limit, _LAYOUTS)
    if suffix == ".parquet":
        return _parquet([path], name, asked, limit)
    remedy = CSV_REMEDY if suffix in (".csv", ".tsv") else JSON_REMEDY
    return gather(name, manifest_rows(path, asked), limit, remedy)


def _asked(source: str | Path) -> tuple[Path, Asked]:
    """A path, and the columns named after it; a file whose name has a `?` is taken as it is."""
    path = Path(source)
    base, mark, query = str(source).rpartition("?")
    if not mark or path.exists():
        return path, {}
    return Path(base), _query(str(source), query, CHOSEN)


def _query(source: str, query: str, known: tuple[str, ...]) -> dict[str, str]:
    """What stands after a source's `?`."""
    pairs = parse_qsl(query, keep_blank_values=True)
    asked = dict(pairs)
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise SpeechError(f"{source}: {listed(tuple(unknown))} is unknown.", _after(known))
    if len(asked) < len(pairs) or not all(asked.values()):
        raise SpeechError(f"{source} names something twice or not at all.", _after(known))
    return asked


def _after(known: tuple[str, ...]) -> str:
    return f"After the question mark come {', '.join(known)}, as in ?audio=COLUMN&text=COLUMN."


def _folder(path: Path, asked: Asked, limit: int | None) -> SpeechSet:
    name = f"{path.resolve().parent.name}/{path.resolve().name}"
    files = files_below(path)
    transcripts = [file for file in files if file.name.endswith(".trans.txt")]
    if transcripts:
        _without_columns(path, asked)
        rows = (row for file in transcripts for row in librispeech(file))
        return gather(name, rows, limit, _LAYOUTS)
    parquet = [file for file in files if file.name.endswith(".parquet")]
    if parquet:
        return _parquet(parquet, name, asked, limit)
    tables = [file for file in files if file.name in (*_METADATA, KALDI)]
    tables = [file for file in tables if file.parent == path] or tables
    if len(tables) > 1:
        raise SpeechError(
            f"{path} holds several lists of recordings: {_some(tables)}.", "Give one of them."
        )
    if not tables:
        manifests = [file for file in files if file.suffix.lower() in _MANIFESTS]
        raise SpeechError(
            f"{path} holds neither *.trans.txt nor *.parquet files, nor metadata.csv, "
            "metadata.jsonl or wav.scp.",
            f"Give a manifest in it: {_some(manifests)}." if manifests else _LAYOUTS,
        )
    (table,) = tables
    if table.name == KALDI:
        _without_columns(table, asked)
        return gather(name, kaldi(table), limit, _LAYOUTS)
    return gather(name, manifest_rows(table, asked), limit, _LAYOUTS)


def _without_columns(path: Path, asked: Asked) -> None:
    if asked:
        raise SpeechError(
            f"{path} has no columns, so none can be named.", "Leave out the question mark."
        )


def _some(paths: list[Path]) -> str:
    more = len(paths) - 5
    return ", ".join(map(str, paths[:5])) + (f" and {more} more" if more > 0 else "")


def _hub(source: str, limit: int | None) -> SpeechSet:
    name, _, query = source.removeprefix(HUB).partition("?")
    asked = _query(source, query, ("config", "split", *CHOSEN))
    if not name:
        raise SpeechError(f"{source} names no data set.", _LAYOUTS)
    config, split = asked.pop("config", None), asked.pop("split", "test")
    rows = _rows(source, name, config, split=split)
    label = "/".join(part for part in (name.rpartition("/")[2], config, split) if part)
    return gather(label, _from_rows(rows, source, asked, Path()), limit, _LAYOUTS)


def _parquet(paths: list[Path], name: str, asked: Asked, limit: int | None) -> SpeechSet:
    files = [str(path) for path in paths]
    rows = _rows(str(paths[0]), "parquet", None, data_files=files, split="train")
    folder = paths[0].parent
    return gather(name, _from_rows(rows, str(paths[0]), asked, folder), limit, _LAYOUTS)


def _rows(source: str, name: str, config: str | None, **settings: Any) -> Any:
    """A data set's rows, streamed, with audio not decoded."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise SpeechError(
            f"{source} needs the package `datasets`, which is not installed.",
            install_command("datasets"),
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
    reasons = [" ".join(str(e).split()) for e in (error, error.__cause__) if e is not None]
    reason = ": ".join(dict.fromkeys(filter(None, reasons))) or type(error).__name__
    return SpeechError(
        f"{source} cannot be read as a data set ({reason}).",
        "Check its name, config and split, and that the hub can be reached.",
    )


def _from_rows(rows: Any, source: str, asked: Asked, folder: Path) -> Iterator[Row]:
    numbered = enumerate(rows, start=1)
    classes = {
        column: kind.names
        for column, kind in (getattr(rows, "features", None) or {}).items()
        if hasattr(kind, "names")  # such columns hold numbers
    }
    while True:
        try:
            number, values = next(numbered)
        except StopIteration:
            return
        except Exception as error:  # as above: rows are read when they are taken
            raise _unreadable(source, error) from error
        where = f"{source}, row {number}"
        columns = find(tuple(values), where, asked)
        spoken = columns.get("language", "")
        if spoken in classes and isinstance(values[spoken], int):
            values = {**values, spoken: classes[spoken][values[spoken]]}
        audio = _stored(values[columns["audio"]], where, folder)
        yield Row(where, audio, *described(values, columns, where))


def _stored(audio: Any, where: str, folder: Path) -> Path:
    """The file of a row's audio; audio in the row itself is written to the cache."""
    fields = audio if isinstance(audio, dict) else {}
    data, name = fields.get("bytes"), audio if isinstance(audio, str) else fields.get("path")
    if data:
        suffix = Path(name or "").suffix.lower() or ".audio"
        path = recording_file(sha256(data), suffix)
        if not path.is_file() or sha256_file(path) != path.stem:
            with atomic(path) as temporary:
                temporary.write_bytes(data)
        return path
    if not name:
        raise SpeechError(f"{where} holds no audio.", "Its audio column must hold files.")
    try:
        path = locate(name, folder)
        return path if path.is_file() else Path(name)
    except (OSError, ValueError) as error:
        raise SpeechError(f"{where} has an impossible path of a recording.") from error
