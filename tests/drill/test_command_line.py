"""The command line as a process: bad paths and Ctrl-C end in one line, without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import DEMO, ROOT
from tests.drill import ledger

AUDIO = str(DEMO.parent / "audio" / "demo-001.flac")

COMMANDS = {
    "profile that is a pipe": ["solve", "--size-mb", "12", "--profile", "@pipe"],
    "profile with a long name": ["measured", "--profile", "x" * 5000],
    "bit map that never ends": [
        *("measure", "--profile", "whisper-tiny.en", "--bitmap", "/dev/zero"),
        *("--speech", str(DEMO)),
    ],
    "output that is a device": [
        *("solve", "--profile", "whisper-tiny.en", "--size-mb", "12", "--out", "/dev/null"),
    ],
    "recording with a strange name": [
        "transcribe", "--model", "whisper-tiny.en", "a\n\x1b[2J\udcff",
    ],
    "folder that does not exist": ["doctor", "@none"],
}  # fmt: skip


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "genptq_core", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


QUICK = ("profile that is a pipe", "recording with a strange name")
"""The others are tried without a process of their own in `tests/core/cli/test_bad_paths.py`."""


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS],
)
def test_bad_paths(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    arguments = [word.replace("@", f"{tmp_path}/") for word in COMMANDS[name]]
    with start(arguments) as process:
        out, said = process.communicate(timeout=120)
    named = process.returncode == 2 and said.count(b"\n") == 1 and not out
    ledger.note("command line: bad paths", ledger.NAMED if named else ledger.FAILED)
    assert named, said


@pytest.mark.parametrize(
    "delay", [0.0, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.05, 0.5)), 0.2]
)
def test_ctrl_c_at_the_start(delay: float) -> None:
    with start(["front", "--profile", "whisper-tiny.en"]) as process:
        _wait_until_it_listens(process.pid)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    # The interpreter may end itself by the signal, if it came during an import: a shell says 130.
    stopped = process.returncode in (130, -signal.SIGINT) and said.count(b"\n") == 1
    ledger.note("command line: Ctrl-C", ledger.NAMED if stopped else ledger.FAILED)
    assert stopped, said


def _wait_until_it_listens(number: int) -> None:
    """Until the interpreter has started: before that, Ctrl-C is not the program's."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # The first library that the command line imports, and nothing earlier.
        if b"_multiarray_umath" in Path(f"/proc/{number}/maps").read_bytes():
            return
        time.sleep(0.002)
