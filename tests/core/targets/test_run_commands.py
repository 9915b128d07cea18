"""Commands that run a written folder work as they are pasted."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.cli.main import main
from genptq_core.errors import PROGRAM
from genptq_core.export.export import export
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.profile import Profile, bundled_profile
from genptq_core.speech.utterances import RATE, load_audio, load_manifest
from genptq_core.targets import TARGETS
from genptq_core.targets.run_commands import RECORDING, commands
from genptq_core.targets.ways import way_of, ways_for
from tests.conftest import DEMO
from tests.core import synthetic

PACKAGES = {"onnx": "onnxruntime", "mlx": "mlx"}


@pytest.fixture(scope="module")
def model(random_whisper: Path) -> SpeechModel:
    return load_model(str(random_whisper))


@pytest.fixture(scope="module")
def profile(model: SpeechModel) -> Profile:
    return synthetic.profile_of(model, bits=(4, 8), group_size=(16,))


# With random weights transcribe.cpp writes as long as it may; below it runs real ones. MLX's
# command is for a Mac; `formats/test_mlx.py` runs it on a very small model.
@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("gguf", "mlx")])
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
    if not _run(line):
        assert capsys.readouterr().out.startswith(f"{RECORDING}: ")


def test_a_native_folder_is_unpacked_and_run_as_the_commands_say(
    tiny_en: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of the original, in another program, which reads the unpacked folder."""
    pytest.importorskip("transcribe_cpp")
    profile = bundled_profile()
    out = tmp_path / "map"
    export(profile, bit_map(profile, [16] * len(profile.units)), None, out, tiny_en)
    samples = load_audio(load_manifest(DEMO, limit=1).utterances[0])
    soundfile.write(tmp_path / RECORDING, samples, RATE)
    monkeypatch.chdir(tmp_path)
    unpack, run = commands(way_of(profile, runs_in="transcribe.cpp:q8_0"), out.name)
    _run(unpack)
    way = way_of(profile, runs_in="transcribe.cpp:q8_0")
    size = (tmp_path / f"{out.name}-transcribe.cpp-q8_0" / "model.gguf").stat().st_size
    assert way.memory(profile, ()) == pytest.approx(size, rel=0.05)
    assert "dentist appointment" in _run(run)


def _run(line: str) -> str:
    """What a command prints; "" of the program itself, which runs in this process."""
    program, *arguments = shlex.split(line)
    if program == PROGRAM:
        assert main(arguments) == 0
        return ""
    assert program == "python"
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
