"""What the documents say that can be checked: code, commands, tables, headings, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.conftest import ROOT

DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

FENCE, CELL, TEXT = "fence", "cell", "text"

_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ENVIRONMENT = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Code:
    """A line of a fenced `sh` block, or a code span.

    Attributes:
        document: name of the file.
        line: its line there, from 1.
        section: heading that it stands under.
        place: FENCE, CELL (of a table) or TEXT.
        text: the code on one line.
    """

    document: str
    line: int
    section: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """Words of each command in it, without comments and settings of the environment."""
        words = shlex.split(self.text, comments=self.place == FENCE)
        parts = [list(part) for joint, part in groupby(words, lambda w: w == "&&") if not joint]
        for part in parts:
            while part and _ENVIRONMENT.fullmatch(part[0]):
                del part[0]
        return [part for part in parts if part]


@dataclass(frozen=True)
class Line:
    """A line of a document, and where it is.

    Attributes:
        number: from 1.
        text: the line.
        section: heading that it stands under.
        fence: language of the fenced block that it is in, "text" where none is named; or "".
    """

    number: int
    text: str
    section: str
    fence: str


def lines(document: Path) -> Iterator[Line]:
    """The lines of a document, fences themselves left out."""
    section = fence = ""
    for number, text in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        if text.startswith("```"):
            fence = "" if fence else text.strip("` ") or "text"
            continue
        if not fence and text.startswith("#"):
            section = text.lstrip("# ").strip()
        yield Line(number, text, section, fence)


def codes(document: Path) -> list[Code]:
    """Commands in fenced `sh` blocks, and all code spans; a span may run over line ends."""
    name, found = document.relative_to(ROOT).as_posix(), []
    for kind, group in groupby(lines(document), _kind):
        block = list(group)
        if kind == FENCE:
            text = "\n".join(line.text for line in block).replace("\\\n", " ")
            for line, command in zip(block, text.splitlines(), strict=True):
                if command.strip():
                    found.append(Code(name, line.number, line.section, FENCE, command))
        elif kind in (CELL, TEXT):
            text = "\n".join(line.text for line in block)
            for match in _SPAN.finditer(text):
                line = block[text.count("\n", 0, match.start())]
                span = " ".join(match[1].split())
                found.append(Code(name, line.number, line.section, kind, span))
    return found


def _kind(line: Line) -> str:
    if line.fence:
        return FENCE if line.fence == "sh" else "other"
    if line.text.startswith("|"):
        return CELL
    return TEXT if line.text.strip() else "blank"


def tables(document: Path, section: str = "") -> list[list[list[str]]]:
    """Tables of a document, or of one section: rows of cells, the first row being the heading."""
    found = []
    wanted = [line for line in lines(document) if section in ("", line.section)]
    for is_table, group in groupby(wanted, lambda line: _kind(line) == CELL):
        if is_table:
            rows = [_cells(line.text) for line in group]
            found.append([row for row in rows if not re.fullmatch(r"[-: ]*", "".join(row))])
    return found


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def spans(text: str) -> list[str]:
    """Code spans of a text."""
    return _SPAN.findall(text)


def links(document: Path) -> list[tuple[int, str]]:
    """Line and target of each link and picture; a link's words may run over a line's end."""
    outside = [line for line in lines(document) if not line.fence]
    text = "\n".join(line.text for line in outside)
    return [
        (outside[text.count("\n", 0, match.start())].number, match[1])
        for match in _LINK.finditer(text)
    ]


def anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = [
        line.text.lstrip("# ")
        for line in lines(document)
        if not line.fence and line.text.startswith("#")
    ]
    slugs = [re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings]
    return {
        slug if slugs[:place].count(slug) == 0 else f"{slug}-{slugs[:place].count(slug)}"
        for place, slug in enumerate(slugs)
    }
