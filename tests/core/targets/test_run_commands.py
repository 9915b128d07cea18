"""Commands that run a written folder work as they are pasted."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.cli.main import main
from genptq_core.errors import PROGRAM
from genptq_core.export.export import export
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.profile import Profile
from genptq_core.targets import TARGETS
from genptq_core.targets.run_commands import RECORDING, commands
from genptq_core.targets.ways import ways_for
from tests.core import synthetic

PACKAGES = {"onnx": "onnxruntime", "gguf": "transcribe_cpp", "mlx": "mlx"}


@pytest.fixture(scope="module")
def model(random_whisper: Path) -> SpeechModel:
    return load_model(str(random_whisper))


@pytest.fixture(scope="module")
def profile(model: SpeechModel) -> Profile:
    return synthetic.profile_of(model, bits=(4, 8), group_size=(16,))


@pytest.mark.parametrize("target", TARGETS)
def test_a_folder_runs_as_the_command_says(
    target: str,
    profile: Profile,
    model: SpeechModel,
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(PACKAGES.get(target, "numpy"))
    sixteen = bit_map(profile, [16] * len(profile.units))
    out = tmp_path / "a folder"
    export(profile, sixteen, target, out, model)
    shutil.copy(tones.parent / "0.wav", tmp_path / RECORDING)
    monkeypatch.chdir(tmp_path)
    (line,) = commands(ways_for(TARGETS[target], "whisper")[0], out.name)
    program, *arguments = shlex.split(line)
    if program == PROGRAM:
        assert main(arguments) == 0
        assert capsys.readouterr().out.startswith(f"{RECORDING}: ")
    else:
        assert program == "python"
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
