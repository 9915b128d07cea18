"""Every command with bad paths of every kind: exit code 2, and one line on standard error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.file import write_bit_map
from genptq_core.cli.main import main
from genptq_core.loading import load_model
from genptq_core.profile import save
from tests.conftest import DEMO, PROGRESS
from tests.core import synthetic
from tests.drill import ledger


def _made(content: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        path = folder / "thing"
        path.write_bytes(content)
        return str(path)

    return make


def _folder(folder: Path) -> str:
    (folder / "thing").mkdir()
    return str(folder / "thing")


def _full_folder(folder: Path) -> str:
    (folder / "thing").mkdir()
    (folder / "thing" / "diary.txt").write_text("of somebody else")
    return str(folder / "thing")


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "thing")
    return str(folder / "thing")


def _loop(folder: Path) -> str:
    (folder / "thing").symlink_to(folder / "thing")
    return str(folder / "thing")


def _dangling(folder: Path) -> str:
    (folder / "thing").symlink_to(folder / "nowhere" / "else")
    return str(folder / "thing")


THINGS: dict[str, Callable[[Path], str]] = {
    "missing": lambda folder: str(folder / "thing"),
    "below a file": lambda folder: _made(b"text")(folder) + "/below/it",
    "empty file": _made(b""),
    "binary file": _made(bytes(range(256)) * 40),
    "text file": _made(b"some, text\nof a kind, which is not meant\n"),
    "empty folder": _folder,
    "folder of another": _full_folder,
    "device": lambda folder: "/dev/zero",
    "unreadable": lambda folder: "/proc/self/mem",
    "pipe": _pipe,
    "loop": _loop,
    "dangling link": _dangling,
    "newline": lambda folder: str(folder / "a\nb\n"),
    "control": lambda folder: str(folder / "\x1b[2J\udcff"),
    "null character": lambda folder: str(folder / "a\0b"),
    "long name": lambda folder: str(folder / ("x" * 300)),
    "long path": lambda folder: str(folder / "/".join(["y" * 100] * 60)),
    "no name": lambda folder: "",
    "markup": lambda folder: str(folder / "<img src=x>"),
}

READ, WRITE, DELIVER, MAKE = "read", "write a file", "write a folder", "write to a folder"

SLOTS = {
    "solve --profile": (READ, "solve --size-mb 1 --profile @"),
    "front --profile": (READ, "front --profile @"),
    "measured --profile": (READ, "measured --profile @"),
    "measure --profile": (READ, "measure --profile @ --bitmap MAP --speech SPEECH"),
    "measure --bitmap": (READ, "measure --profile PROFILE --bitmap @ --speech SPEECH"),
    "measure --speech": (READ, "measure --profile PROFILE --bitmap MAP --speech @"),
    "measure --model": (
        READ,
        "measure --profile PROFILE --bitmap MAP --speech SPEECH --limit 2 --model @",
    ),
    "measure --compile": (
        READ,
        "measure --profile PROFILE --bitmap MAP --speech SPEECH --limit 2 --model MODEL "
        "--compile @",
    ),
    "export --profile": (READ, "export --profile @ --bitmap MAP --out OUT"),
    "export --bitmap": (READ, "export --profile PROFILE --bitmap @ --out OUT"),
    "export --model": (READ, "export --profile PROFILE --bitmap MAP --out OUT --model @"),
    "export --compile": (
        READ,
        "export --profile PROFILE --bitmap MAP --out OUT --model MODEL --compile @",
    ),
    "profile --model": (READ, "profile --model @ --speech SPEECH --limit 2 --out OUT"),
    "profile --speech": (READ, "profile --model MODEL --speech @ --out OUT"),
    "profile --listen": (READ, "profile --model MODEL --speech SPEECH --limit 2 --out OUT "
     "--listen @"),
    "transcribe --model": (READ, "transcribe AUDIO --model @"),
    "transcribe": (READ, "transcribe --model MODEL @"),
    "doctor": (READ, "doctor @"),
    "doctor --repair": (READ, "doctor --repair @"),
    "solve --out": (WRITE, "solve --avg-bits 3 --profile PROFILE --out @"),
    "front --out": (WRITE, "front --profile PROFILE --out @"),
    "export --out": (DELIVER, "export --profile PROFILE --bitmap MAP --model MODEL --out @"),
    "profile --out": (MAKE, "profile --model MODEL --speech SPEECH --limit 2 --bits 2 "
     "--group-size 8 --rates 0 --draws 1 --out @"),
}  # fmt: skip

FINE = {
    WRITE: {"missing", "empty file", "binary file", "text file", "newline", "control", "loop",
            "dangling link", "markup"},
    DELIVER: {"missing", "empty folder", "newline", "control", "markup"},
    MAKE: {"missing", "empty folder", "folder of another", "newline", "control", "markup"},
}  # fmt: skip
"""Where a new file, or a new folder, may well be written."""


@pytest.fixture(scope="module")
def given(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("given")
    profile = save(
        synthetic.profile_of(load_model(str(random_whisper)), bits=(2, 3), group_size=(8,)),
        folder / "profile",
    )
    write_bit_map(folder / "map.json", profile, bit_map(profile, ["3/8"] * len(profile.units)))
    return {
        "PROFILE": str(folder / "profile"),
        "MAP": str(folder / "map.json"),
        "MODEL": str(random_whisper),
        "SPEECH": str(DEMO),
        "AUDIO": str(DEMO.parent / "audio" / "demo-001.flac"),
    }


def _tried(slot: str) -> list[str]:
    """What a usual run puts into a slot: all that is written to, and a fourth of what is read.

    Reading slots take turns, so that each thing is read by several of them.
    """
    things, turn = list(THINGS), list(SLOTS).index(slot)
    return things[turn % 4 :: 4] if SLOTS[slot][0] == READ else things


CASES = [
    *((slot, _tried(slot)) for slot in SLOTS),
    *(
        pytest.param(slot, list(THINGS), marks=pytest.mark.slow)
        for slot, (kind, _) in SLOTS.items()
        if kind == READ
    ),
]


@pytest.mark.parametrize(
    ("slot", "things"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}",
)
def test_bad_paths_are_refused_in_one_line(
    slot: str,
    things: list[str],
    given: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind, command = SLOTS[slot]
    for name in things:
        make = THINGS[name]
        if name in FINE.get(kind, ()):
            continue
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        words = {**given, "OUT": str(folder / "out"), "@": make(folder)}
        before = sorted(folder.rglob("*"))
        code = main([words.get(word, word) for word in command.split()])
        captured = capsys.readouterr()
        what = f"{slot} of {name}: {captured.err}"
        assert code == 2, what
        assert captured.out == "", what
        lines = captured.err.splitlines()
        progress = [line for line in lines if PROGRESS.fullmatch(line)]
        assert [line.startswith("genptq: ") for line in lines if line not in progress] == [True], (
            what
        )
        assert "\x1b" not in captured.err, what
        assert sorted(folder.rglob("*")) == before, what
        shutil.rmtree(folder)
        ledger.note("command line: bad paths", ledger.NAMED)
