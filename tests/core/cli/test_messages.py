"""Messages: what is wrong, what to do, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DEMO, ROOT
from tests.core.cli.test_cli import PROFILE, refuse


def test_a_full_standard_output_is_one_line() -> None:
    command = [sys.executable, "-m", "genptq_core", "front", "--profile", PROFILE, "--json"]
    with open("/dev/full", "w") as full:
        said = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1 and "No space left" in said.stderr


def test_what_nobody_put_in_words_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(5, "Input/output error", "disk/file")

    monkeypatch.setattr("genptq_core.cli.front.load_profile", fail)
    assert "disk/file cannot be used: Input/output error." in refuse(
        capsys, "front", "--profile", PROFILE
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ggml-tiny.en.bin", b"lmgg\0\0", "a ggml file, as whisper.cpp reads it"),
        ("model.gguf", b"GGUF\3", "a GGUF file"),
        ("model.bin", b"GGUF\3", "a GGUF file"),
        ("model.onnx", b"\x08\x08", "a model of ONNX Runtime"),
        ("model.pt", b"PK\3\4", "a checkpoint of PyTorch"),
        ("model.nemo", b"PK\3\4", "an archive of NVIDIA NeMo"),
        ("model.mlmodel", b"\x08", "a model of Core ML"),
        ("model.safetensors", b"", "a file of a model's folder, not a model's folder"),
        ("config.json", b"{}", "a file of a model's folder"),
        ("notes.txt", b"words", "is a file, not a model's folder"),
    ],
)
def test_models_of_other_programs_are_called_what_they_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    audio = str(DEMO.parent / "audio" / "demo-001.flac")
    refused = refuse(capsys, "transcribe", "--model", str(tmp_path / name), audio)
    assert message in refused and str(tmp_path / name) in refused
    assert "config.json" in refused or f"Give the folder: {tmp_path}." in refused


def test_a_file_of_a_profile_is_called_that(capsys: pytest.CaptureFixture[str]) -> None:
    file = f"{PROFILE}/profile.json"
    refused = refuse(capsys, "solve", "--size-mb", "12", "--profile", file)
    assert refused.endswith(f"is a file, and a profile is a folder. Give its folder: {PROFILE}.")
