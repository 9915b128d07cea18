"""Fixtures shared by all tests: real speech where it is, the embedded model, a tiny random one."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest
import soundfile

from tests import examples

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "data" / "speech" / "demo" / "manifest.jsonl"
PROGRESS = re.compile(r"[a-z ]+ \d+/\d+(, about .+ left)?")
"""What a command writes of its progress where nobody watches: a line a step."""

assert examples.THOROUGH  # known to --hypothesis-profile from the start


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the drill's ledger counted, wherever it was noted."""
    from tests.drill import ledger

    if ledger.COUNTS:
        terminalreporter.section("drill")
        for line in ledger.table():
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache folder of its own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GENPTQ_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared_speech() -> Path:
    """The folder of human speech beside the repository, which does not ship."""
    for parent in (ROOT.parent, *map(Path, os.environ.get("GENPTQ_SPEECH", "").split(os.pathsep))):
        folder = parent / "shared" / "speech"
        if folder.is_dir():
            return folder
    pytest.skip("no human speech here: put it at ../shared/speech")


@pytest.fixture(scope="session")
def tiny_en():  # type: ignore[no-untyped-def]
    """The embedded model, loaded once."""
    from genptq_core.loading import load_model

    return load_model("whisper-tiny.en")


@pytest.fixture(scope="session")
def random_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a very small Whisper of random weights and a short vocabulary."""
    from tests.core import tiny_models

    return tiny_models.random_whisper(tmp_path_factory.mktemp("models") / "random-whisper")


@pytest.fixture(scope="session")
def six_tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of six short synthetic recordings with made-up texts."""
    folder = tmp_path_factory.mktemp("speech") / "tones"
    folder.mkdir()
    lines = []
    for index in range(6):
        rng = np.random.default_rng(index)
        time = np.arange(16_000) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * (200 + 90 * index) * time) + 0.02 * rng.normal(size=16_000)
        soundfile.write(folder / f"{index}.wav", wave, 16_000)
        lines.append(f'{{"audio": "{index}.wav", "text": "tone number {index}"}}')
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


@pytest.fixture
def tones(six_tones: Path, tmp_path: Path) -> Path:
    """The same in a test's own folder."""
    return shutil.copytree(six_tones.parent, tmp_path / "tones") / six_tones.name
