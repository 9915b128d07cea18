"""Commands in the documents: the program knows them, and those that need nothing run."""

from __future__ import annotations

import argparse
import re
import runpy
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from genptq_core.cli import main as command_line
from tests.conftest import ROOT
from tests.docs.markdown import CELL, DOCUMENTS, FENCE, TEXT, Code, codes, tables

PROGRAMS = {"genptq", "python", "python3", "pip", "make", "dask", "mlx_audio.stt.generate", "."}

PLACEHOLDER = re.compile(r"\b(DIR|PROFILE|MANIFEST|MODEL|NAME|SET|BITS|GLOB|POINTS|GB|my\.jsonl)\b")
"""What a reader must replace before a command runs."""

QUICK = {"front", "solve", "measured", "doctor"}
"""Commands that take seconds."""

RUN = {
    ROOT / "README.md": "Five minutes",
    ROOT / "docs" / "commands.md": "Page and command line, side by side",
}
"""Documents with the section whose quick commands are run, in the order in which they stand."""

PRINTED = [
    (
        "README.md",
        "What a megabyte costs: Whisper tiny.en",
        "benchmarks.prediction --profile data/profiles/whisper-tiny.en --markdown",
    ),
    (
        "docs/results.md",
        "Against others at the same bytes",
        "benchmarks.accuracy --profile data/profiles/whisper-tiny.en --report",
    ),
    (
        "docs/results.md",
        "By profile, speech and format",
        "benchmarks.prediction --profile data/profiles/whisper-tiny.en data/profiles/whisper-base "
        "data/profiles/conformer-an4 --summary",
    ),
    (
        "docs/results.md",
        "Whisper base against others at the same bytes",
        "benchmarks.accuracy --profile data/profiles/whisper-base "
        "--out benchmarks/results/accuracy-base.json --report",
    ),
    (
        "docs/results.md",
        "Does the quadratic objective choose better maps?",
        "benchmarks.objectives --profile data/profiles/whisper-tiny.en --report",
    ),
    ("docs/large-models.md", "What is refused beforehand", "benchmarks.growth --estimate"),
    ("docs/large-models.md", "Growth from tiny to large-v3", "benchmarks.growth --report"),
]
"""Documents, sections with one table, and the commands that print its figures from what is kept."""

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?")

ALL = [code for document in DOCUMENTS for code in codes(document)]


def parser() -> argparse.ArgumentParser:
    """The program's own parser; the one place that knows what builds it."""
    return command_line.build_parser()


@cache
def flags() -> dict[str, set[str]]:
    """The flags of each command."""
    (commands,) = (
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return {
        name: {flag for action in sub._actions for flag in action.option_strings}
        for name, sub in commands.choices.items()
    }


def called(program: str) -> list[tuple[Code, list[str]]]:
    """Every command of a program, with the words after its name."""
    return [
        (code, words[1:])
        for code in ALL
        if "--" in code.text or code.text.split()[0] in PROGRAMS
        for words in code.commands
        if words[0] == program
    ]


def flags_in(words: list[str]) -> list[str]:
    return [word.split("=", 1)[0] for word in words if word.startswith("--")]


@pytest.mark.parametrize(("code", "words"), called("genptq"), ids=str)
def test_the_program_knows_its_commands_and_flags(code: Code, words: list[str]) -> None:
    if not words or words == ["--help"]:
        return
    name, *rest = words
    assert name in flags(), f"{code}: there is no command {name!r}"
    unknown = set(flags_in(rest)) - flags()[name]
    assert not unknown, f"{code}: {name} has no {', '.join(sorted(unknown))}"
    # In running text a command is mentioned; in a block or a table it can be typed as it stands.
    if code.place == FENCE or (code.place == CELL and rest):
        parser().parse_args(words)


def test_only_known_programs_are_called() -> None:
    wrong = [
        f"{code}: {words[0]}"
        for code in ALL
        if code.place == FENCE or (" --" in code.text and not code.text.startswith("--"))
        for words in code.commands
        if words[0] not in PROGRAMS
    ]
    assert not wrong


def test_flags_named_alone_are_flags_of_something() -> None:
    known = set().union(*flags().values())
    sources = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    wrong = [
        f"{code}: {flag}"
        for code in ALL
        if code.place != FENCE and code.text.startswith("--")
        for words in code.commands
        for flag in flags_in(words)
        if flag not in known and f'"{flag}"' not in sources
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("code", "words"), called("python") + called("python3"), ids=lambda value: str(value)[:80]
)
def test_python_modules_and_their_flags(code: Code, words: list[str]) -> None:
    assert words[0] == "-m", f"{code}: modules are run with -m"
    module, rest = words[1], words[2:]
    if module in {"pytest", "venv", "genptq_core"}:
        return
    path = ROOT / (module.replace(".", "/") + ".py")
    assert path.is_file(), f"{code}: there is no module {module}"
    source = path.read_text(encoding="utf-8")
    unknown = [flag for flag in flags_in(rest) if f'"{flag}"' not in source]
    assert not unknown, f"{code}: {module} has no {', '.join(unknown)}"


def test_make_knows_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for code, words in called("make"):
        for target in words:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{code}: {target}"


def test_versions_are_those_that_are_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = set(project["dependencies"]).union(*project["optional-dependencies"].values())
    for path in ROOT.glob("requirements*.txt"):
        pinned |= set(re.findall(r"^[\w-]+==\S+", path.read_text(), re.MULTILINE))
    for code in ALL:
        for pin in re.findall(r"[\w-]+==[\w.]+", code.text):
            assert pin in pinned, f"{code}: {pin}"


@pytest.mark.parametrize("document", RUN, ids=lambda path: path.name)
def test_quick_commands_run(
    document: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = set()
    for code, words in called("genptq"):
        here = ROOT / code.document == document and code.section == RUN[document]
        ready = words and words[0] in QUICK and not PLACEHOLDER.search(code.text)
        if here and ready and code.place != TEXT:
            assert command_line.main(words) == 0, f"{code}: {capsys.readouterr().err}"
            done.add(words[0])
    assert done == QUICK


@pytest.mark.parametrize(("document", "section", "command"), PRINTED)
def test_tables_are_what_their_commands_print(
    document: str,
    section: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each row's figures are those of one printed row, in its order."""
    assert any(f"python -m {command}" in code.text for code in ALL if code.document == document)
    module, *arguments = command.split()
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.chdir(ROOT)
    monkeypatch.delitem(sys.modules, module, raising=False)
    runpy.run_module(module, run_name="__main__")
    printed = [numbers(line) for line in capsys.readouterr().out.splitlines()]
    (table,) = tables(ROOT / document, section)
    wrong = [
        row for row in table[1:] if not any(within(numbers(" ".join(row)), p) for p in printed)
    ]
    assert len(table) > 3 and not wrong


def numbers(text: str) -> list[str]:
    return NUMBER.findall(text.replace("\u2212", "-"))


def within(wanted: list[str], printed: list[str]) -> bool:
    """Whether numbers are among those printed, in order, rounded to their own decimals."""
    rest = iter(printed)
    return all(any(_same(number, other) for other in rest) for number in wanted)


def _same(number: str, other: str) -> bool:
    decimals = len(number.partition(".")[2])
    return abs(float(number) - float(other)) <= 0.5000001 * 10.0**-decimals * (number != other)
