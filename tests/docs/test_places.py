"""Places that the documents name: files, links, folders, modules and what is in them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import genptq_core
from tests.conftest import ROOT
from tests.docs.markdown import DOCUMENTS, anchors, codes, links, spans, tables
from tests.test_architecture import PAGE, STAGES

README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

MOST_LINES = 160

ELSEWHERE = {
    ".venv/bin/activate",
    "data/profiles/mine",
    "openai/whisper-base",
    "openai/whisper-small",
    "librispeech-mini/dev.jsonl",
    "librispeech-mini/calibration.jsonl",
    "librispeech-mini/calibration-large.jsonl",
    "clips/a.flac",
    "an4/dev",
    "maps/",
    "../shared/speech",
}
"""Paths that a reader makes, or that stand for theirs."""

_PATH = re.compile(r"\.{0,2}[\w.\-]+(/[\w.\-]+)+/?|[\w.\-]+/")
_FILE = re.compile(r"Makefile|LICENSE|[\w.\-]+\.(md|txt|toml)")
_OPTION = re.compile(r"[\d.]+/\d+")
_ITALICS = re.compile(r"(?<![*\w])\*([^*]+)\*(?!\*)")
_NAMED = re.compile(r"`(\w+)(?:\(\))?`\s+(?:of|in|\()\s*`?\(?`?([\w/]+\.py)`")


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(document: Path) -> None:
    wrong = [
        f"{code}: {word}"
        for code in codes(document)
        for word in re.split(r"[\s'\"]+", code.text)
        if (_PATH.fullmatch(word) or _FILE.fullmatch(word))
        and not _OPTION.fullmatch(word)
        and word not in ELSEWHERE
        and not any((base / word).exists() for base in (ROOT, ROOT / "genptq_core"))
    ]
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for line, target in links(document):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        assert there.exists(), f"{document.name}:{line}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{document.name}:{line}: {target}"


def test_the_readme_leads_to_every_document() -> None:
    reached = {(ROOT / target.partition("#")[0]).resolve() for _, target in links(README)}
    assert set(DOCUMENTS) - {README} <= reached


@pytest.mark.parametrize("document", [README, ARCHITECTURE], ids=lambda path: path.name)
@pytest.mark.parametrize(("package", "stages"), [("genptq_core", STAGES), ("dashboard", PAGE)])
def test_folders_are_listed_in_the_order_of_the_flow(
    document: Path, package: str, stages: tuple[tuple[str, ...], ...]
) -> None:
    """`test_architecture` makes sure that these stages are the real folders."""
    (table,) = (t for t in tables(document) if f"`{package}/`" in t[0][0])
    rows = [name for cell, *_ in table[1:] for name in spans(cell)]
    assert rows == [name for stage in stages for name in stage]


def test_functions_are_where_the_walks_say() -> None:
    walks = [table for table in tables(ARCHITECTURE) if table[0][1:] == ["module", "functions"]]
    rows = [row for walk in walks for row in walk[1:]]
    assert len(walks) == 5
    wrong = [
        f"{name} is not in {spans(module)[0]}"
        for _, module, functions in rows
        for name in spans(functions)
        if name.removesuffix("()") not in defined(ROOT / spans(module)[0])
    ]
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_names_are_in_the_modules_that_they_are_said_to_be_in(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    wrong = [
        f"{name} is not in {path}"
        for name, path in _NAMED.findall(text)
        if name not in defined(ROOT / path)
    ]
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_names_of_the_package_are_public(document: Path) -> None:
    names = [
        match[1]
        for code in codes(document)
        if (match := re.fullmatch(r"genptq_core\.([a-z_]+)", code.text))
    ]
    assert set(names) <= set(genptq_core.__all__)


def test_labels_are_on_the_page() -> None:
    """Words in italics are what the page writes on its tabs, lists and buttons."""
    text = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
    page = "".join(path.read_text() for path in sorted((ROOT / "dashboard").rglob("*.py")))
    labels = [" ".join(label.split()) for label in _ITALICS.findall(re.sub(r"`[^`]*`", "", text))]
    assert labels
    assert not [label for label in labels if f'"{label}' not in page]


@cache
def defined(path: Path) -> set[str]:
    """Functions, classes, methods as `Class.method`, and constants of a module."""
    if not path.is_file():
        return set()
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".js":
        named = re.findall(r"function (\w+)\(|^  (\w+)\(.*\) \{$", text, re.MULTILINE)
        return {function or method for function, method in named}
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found
