"""The benchmarks start: each prints its help when run as the README says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

COMMANDS = [
    path.stem
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_has_help(name: str) -> None:
    if name in ("dashboard", "users"):
        pytest.importorskip("selenium", reason="pip install -r requirements-dev.txt")
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.startswith("usage: ")
