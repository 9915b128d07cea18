"""Rows of manifests: lines of JSON, CSV and TSV, each read whole or refused with its line.

Records end at a line feed, with or without a carriage return before it, and at nothing else: other
characters that Unicode counts as line breaks may stand in texts. TSV has no quotation marks, as
Common Voice writes it; in CSV a line break inside quotation marks is white space.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import SpeechError
from ..storage.files import LARGEST_TEXT, require_file
from .columns import NAMES, Asked, Row, find, locate, plain, row

JSON_REMEDY = 'Each line must look like {"audio": "clips/a.flac", "text": "what was said"}.'
CSV_REMEDY = (
    'The first line must name the columns, such as "audio" and "text", with commas between them in '
    ".csv and tabs in .tsv."
)
_QUOTE_REMEDY = (
    'A field with a comma or a quotation mark in it stands in quotation marks, and "" in it is one '
    "quotation mark."
)
_QUOTED = re.compile(r'"(?:[^"]++|"")*+"')
_PLAIN = {mark: re.compile(rf"[^{mark}\n]*+") for mark in (",", "\t")}
_BREAK = re.compile(r"\r\n|\n|\r")
_KNOWN = {name for names in NAMES.values() for name in names}


def manifest_rows(path: Path, asked: Asked) -> Iterator[Row]:
    """The rows of a manifest: CSV and TSV by their suffix, else lines of JSON.

    Raises:
        SpeechError: it is missing or malformed; the message names the line.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _separated(path, "\t" if suffix == ".tsv" else ",", asked)
    return _json_lines(path, asked)


def read_lines(path: Path, remedy: str = "") -> list[str]:
    """The lines of a text file.

    Raises:
        SpeechError: it is missing, no UTF-8, or has the line ends of old Macs.
    """
    lines = read(path, remedy).split("\n")
    return [line.removesuffix("\r") for line in lines]


def read(path: Path, remedy: str = "") -> str:
    """A manifest's text, its line ends as they are and without a byte order mark.

    Raises:
        SpeechError: as `read_lines`.
    """
    try:
        require_file(path, LARGEST_TEXT)
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except FileNotFoundError:
        raise SpeechError(f"The manifest {path} does not exist.", "Check the path.") from None
    except UnicodeDecodeError as error:
        raise SpeechError(
            f"The manifest {path} cannot be read ({error}).", f"Save it as UTF-8. {remedy}".strip()
        ) from error
    except (OSError, ValueError) as error:
        raise SpeechError(f"The manifest {path} cannot be read ({error}).", remedy) from error
    if "\n" not in text and "\r" in text.rstrip("\r"):
        raise SpeechError(
            f"The lines of {path} end with a carriage return alone, as on old Macs.",
            "Save it with line feeds, as every editor of today does.",
        )
    return text


def _json_lines(path: Path, asked: Asked) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path, JSON_REMEDY), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise SpeechError(f"{where} is not JSON ({error}).", JSON_REMEDY) from error
        if not isinstance(record, dict):
            raise SpeechError(f"{where} is not a JSON object.", JSON_REMEDY)
        yield row(record, path.parent, where, asked)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; the last of several values of a name would be taken silently."""
    record: dict[str, Any] = {}
    for name, value in pairs:
        if name in record and plain(name).casefold() in _KNOWN:
            raise ValueError(f'"{plain(name)}" stands there twice')
        record[name] = value
    return record


def _separated(path: Path, mark: str, asked: Asked) -> Iterator[Row]:
    text = read(path, CSV_REMEDY)
    records = _records(text, mark, path)
    header = next(records, None)
    if header is None:
        return
    names = tuple(header[1])
    columns = find(names, f"{path}, line {header[0]}", asked)
    at = names.index(columns["audio"])
    # Where blanks follow the separators of the first line, they do so in all.
    spaced = any(name != name.lstrip(" ") for name in names[1:])
    if spaced:
        records = _records(text, mark, path, spaced=True)
        next(records)
    for line, fields, inner in records:
        where = f"{path}, line {line}"
        if len(fields) != len(names):
            raise SpeechError(
                f"{where} has {len(fields)} fields, and there are {len(names)} columns.",
                _QUOTE_REMEDY if mark == "," else "Fields are separated by one tab each.",
            )
        for further in inner:
            _check_further(further.split(mark), at, path, line)
        if _BREAK.search(fields[at]) and mark == ",":
            raise SpeechError(f"{where} has a line break in the path of its recording.")
        if mark == ",":
            fields = [_BREAK.sub(" ", field) for field in fields]
        yield row(dict(zip(names, fields, strict=True)), path.parent, where, asked)


def _check_further(cells: list[str], at: int, path: Path, line: int) -> None:
    """Refuse a line inside quotation marks that is a row itself: a mark was left open before."""
    try:
        swallowed = len(cells) > at and bool(cells[at].strip())
        swallowed = swallowed and locate(cells[at].strip().strip('"'), path.parent).is_file()
    except (OSError, ValueError):
        return
    if swallowed:
        raise SpeechError(
            f"{path}, line {line} opens a quotation mark that is closed only after a further row.",
            _QUOTE_REMEDY,
        )


def _records(
    text: str, mark: str, path: Path, spaced: bool = False
) -> Iterator[tuple[int, list[str], list[str]]]:
    """Records of CSV or TSV: the first line's number, the fields, and what lines in quotes hold.

    Empty lines are left out. Each character is looked at a fixed number of times.
    """
    plain_field, position, line = _PLAIN[mark], 0, 1
    while position < len(text):
        first, fields, further, quoted = line, [], [], False
        while True:
            while spaced and text.startswith(" ", position):
                position += 1
            if mark == "," and text.startswith('"', position):
                match, quoted = _QUOTED.match(text, position), True
                if match is None:
                    raise SpeechError(
                        f"{path}, line {line} opens a quotation mark that is never closed.",
                        _QUOTE_REMEDY,
                    )
                fields.append(match[0][1:-1].replace('""', '"'))
                further += match[0][1:-1].split("\n")[1:]
                opened, line, position = line, line + match[0].count("\n"), match.end()
                if text.startswith("\r\n", position):
                    position += 1
                if position < len(text) and text[position] not in ",\n":
                    raise SpeechError(
                        f"{path}, line {opened} opens a quotation mark, and after it is closed in "
                        f"line {line} there is more than a comma.",
                        _QUOTE_REMEDY,
                    )
            else:
                match = plain_field.match(text, position)
                field = match[0] if match else ""
                position += len(field)
                ends = not text.startswith(mark, position)
                fields.append(field.removesuffix("\r") if ends else field)
            if not text.startswith(mark, position):
                break
            position += 1
        position, line = position + 1, line + 1
        if len(fields) > 1 or fields[0].strip() or quoted:
            yield first, fields, further
