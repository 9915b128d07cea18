"""Unpacking: each form loads in its runtime, in a process of its own, and says the same words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.cli.doctor import examine
from genptq_core.cli.main import main
from genptq_core.errors import ConstraintError, ExportError
from genptq_core.export.export import export
from genptq_core.export.unpack import WAYS, unpack
from genptq_core.formats import (
    export_file,
    native,
    native_file,
    plain_settings,
    settings_files,
    unpacked_file,
)
from genptq_core.formats.gguf_whisper import overhead
from genptq_core.formats.reading import load_export
from genptq_core.formats.whisper_layout import POSITIONS, WhisperLayout
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.profile import bundled_profile
from genptq_core.speech.normalizers import normalize
from genptq_core.speech.utterances import load_audio, utterance
from tests.conftest import DEMO, ROOT
from tests.core import synthetic
from tests.core.tiny_models import PARAKEET, random_ctc

HEARD = ("demo-005.flac", "demo-010.flac")
"""Recordings whose words 8 bits leave alone in every runtime."""

_READ = """
import sys, soundfile
folder, *paths = sys.argv[1:]
recordings = [soundfile.read(path, dtype="float32")[0] for path in paths]
"""
RUNNERS = {
    "gguf": """
import transcribe_cpp
session = transcribe_cpp.Model(folder + "/model.gguf").session(n_threads=1)
texts = [session.run(samples).text for samples in recordings]
""",
    "ctranslate2": """
from faster_whisper import WhisperModel
model = WhisperModel(folder, device="cpu", cpu_threads=1)
settings = {"beam_size": 1, "without_timestamps": True, "temperature": 0.0}
texts = ["".join(s.text for s in model.transcribe(r, **settings)[0]) for r in recordings]
""",
    "transformers": """
from transformers import WhisperForConditionalGeneration, WhisperProcessor
model = WhisperForConditionalGeneration.from_pretrained(folder, dtype="float32")
processor = WhisperProcessor.from_pretrained(folder)
batch = processor(recordings, sampling_rate=16000, return_tensors="pt")
texts = processor.batch_decode(model.generate(batch.input_features), skip_special_tokens=True)
""",
    "onnx": """
from genptq_core.loading import load_model
model = load_model(folder)
texts = [one.text for one in model.transcribe(model.encode(recordings))]
""",
}
"""Python that hears recordings, by what it was unpacked to."""

_WRITE = """
import json
print(json.dumps([text.strip() for text in texts]))
"""

NEEDED = {
    "gguf": "transcribe_cpp",
    "ctranslate2": "faster_whisper",
    "transformers": "transformers",
    "onnx": "onnxruntime",
}
"""The package that each needs."""


@pytest.fixture(scope="module")
def source(tiny_en: SpeechModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper tiny.en with an entropy code in every part, the rest as it is."""
    profile = bundled_profile()
    keys = ["16"] * len(profile.units)
    keys[0], keys[9], keys[20], keys[-1] = "4", "3", "3.5", "4"
    out = tmp_path_factory.mktemp("exports") / "native"
    export(profile, bit_map(profile, keys), None, out, tiny_en)
    return out


@pytest.fixture(scope="module")
def words(source: Path) -> list[str]:
    """What this program hears with the export."""
    model = load_model(str(source))
    recordings = [load_audio(utterance(DEMO.parent / "audio" / name)) for name in HEARD]
    return [one.text for one in model.transcribe(model.encode(recordings))]


@pytest.mark.parametrize("way", WAYS)
def test_it_runs_where_it_is_unpacked_for(
    way: str, source: Path, words: list[str], tmp_path: Path
) -> None:
    if find_spec(NEEDED[way]) is None:
        pytest.skip(f"{NEEDED[way]} is not installed: pip install -r requirements-dev.txt")
    done = unpack(source, way, tmp_path / way)
    assert done.bytes == sum((done.folder / n).stat().st_size for n in done.files) - (
        (done.folder / unpacked_file.NAME).stat().st_size
    )
    slow = way in ("transformers", "onnx")
    wanted = dict(list(zip(HEARD, words, strict=True))[: 1 if slow else None])
    heard = [str(DEMO.parent / "audio" / name) for name in wanted]
    code = _READ + RUNNERS[way] + _WRITE
    found = subprocess.run(
        [sys.executable, "-c", code, str(done.folder), *heard],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout.splitlines()[-1])
    # A full stop may differ: how a runtime rounds what flows depends on the processor.
    assert [normalize(text) for text in said] == [normalize(text) for text in wanted.values()]


def test_neither_torch_nor_transformers_is_needed(source: Path, tmp_path: Path) -> None:
    """And memory holds parts of the model only, whatever it is unpacked to."""
    code = r"""
import pathlib, re, sys
from genptq_core.cli.main import main
for way in ("gguf", "ctranslate2", "transformers", "onnx"):
    assert main(["unpack", sys.argv[1], "--to", way, "--out", f"{sys.argv[2]}/{way}"]) == 0
slow = {"torch", "transformers", "gguf", "ctranslate2"} & set(sys.modules)
assert not slow, slow
status = pathlib.Path("/proc/self/status")  # the peak of this program, not of who started it
print(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1] if status.exists() else 0)
"""
    found = subprocess.run(
        [sys.executable, "-c", code, str(source), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert found.returncode == 0, found.stderr
    largest = 51864 * 384 * 2
    assert int(found.stdout.splitlines()[-1]) * 1024 < 2 * largest + 200e6


def test_a_changed_byte_is_noticed(source: Path, tmp_path: Path) -> None:
    done = unpack(source, "gguf", tmp_path / "out", "5")
    assert done.width == "q5_1"
    assert examine(tmp_path) == ([str(done.folder)], [])
    data = bytearray((done.folder / "model.gguf").read_bytes())
    data[-1] ^= 1
    (done.folder / "model.gguf").write_bytes(data)
    (problem,) = examine(tmp_path)[1]
    assert "model.gguf is damaged or altered" in problem
    unpack(source, "gguf", tmp_path / "out")  # takes the place of what was there
    assert examine(tmp_path)[1] == []


@pytest.fixture(scope="module")
def small(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Whisper of integers and halves."""
    model = load_model(str(random_whisper))
    profile = synthetic.profile_of(model, bits=(4,), group_size=16)
    keys = ["4/16" if i % 3 else "16" for i in range(len(profile.units))]
    out = tmp_path_factory.mktemp("exports") / "small"
    export(profile, bit_map(profile, keys), "integer", out, model)
    return out


def test_values_are_those_of_the_export(small: Path, tmp_path: Path) -> None:
    done = unpack(small, "transformers", tmp_path / "out")
    found = dict(load_model(str(done.folder)).module.named_parameters())
    for name, wanted in load_export(small).module.named_parameters():
        if name == POSITIONS:  # computed by another library
            assert torch.allclose(found[name], wanted, atol=1e-3)
        else:
            assert torch.equal(found[name], wanted.half().float()), name


def test_other_families_go_to_transformers_alone(tmp_path: Path) -> None:
    model = load_model(str(random_ctc(tmp_path / "ctc", PARAKEET)))
    profile = synthetic.profile_of(model, bits=(8,), group_size=16)
    folder = tmp_path / "native"
    export(profile, bit_map(profile, ["8/16"] * len(profile.units)), None, folder, model)
    for way in ("ctranslate2", "onnx"):
        with pytest.raises(ExportError, match="'parakeet_ctc' model, not a Whisper"):
            unpack(folder, way, tmp_path / way)
    with pytest.raises(ExportError, match="subsampling_factor 4, which"):
        unpack(folder, "gguf", tmp_path / "gguf")
    done = unpack(folder, "transformers", tmp_path / "out")
    samples = [np.sin(np.arange(16000) / 20).astype(np.float32)]
    texts = [
        m.transcribe(m.encode(samples)) for m in map(load_model, (str(folder), str(done.folder)))
    ]
    assert texts[0] == texts[1]


def test_a_folder_of_an_earlier_version_is_unpacked(small: Path, tmp_path: Path) -> None:
    """Its settings lie loose."""
    older = Path(shutil.copytree(small, tmp_path / "older"))
    for name, content in settings_files.read(small).items():
        (older / name).write_bytes(content)
    (older / settings_files.NAME).unlink()
    note = export_file.read(older)
    changed = {**vars(note), "files": export_file.digests(older)}
    export_file.write(older, export_file.ExportFile(**changed))
    assert load_export(older).digest == load_export(small).digest
    written = [unpack(f, "gguf", tmp_path / f.name / "out") for f in (small, older)]
    first, second = (one.folder / "model.gguf" for one in written)
    assert first.read_bytes() == second.read_bytes()
    layout = WhisperLayout.of(settings_files.read(small), "small")
    assert first.stat().st_size > overhead(layout, "random-whisper")


def test_the_folders_bytes_are_known_beforehand(random_whisper: Path, tmp_path: Path) -> None:
    model = load_model(str(random_whisper))
    profile = synthetic.profile_of(model, bits=(1, 8), group_size=(8, 16))
    whole = native.overhead(model, plain_settings.saved(model))
    for number, key in enumerate(("1/8", "8/16", "16")):
        keys = [key] * len(profile.units)
        done = export(profile, bit_map(profile, keys), None, tmp_path / f"{number}", model)
        read = (native_file.NAME, settings_files.NAME)
        written = sum((done.folder / name).stat().st_size for name in read)
        assert written == done.bytes == done.weights_bytes + whole


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that is refused."""
    assert main(["unpack", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


def signed(folder: Path) -> None:
    note = export_file.read(folder)
    changed = {**vars(note), "files": export_file.digests(folder)}
    export_file.write(folder, export_file.ExportFile(**changed))


@pytest.mark.parametrize("fault", ["cut", "empty", "unsigned", "foreign", "settings", "layout"])
def test_hostile_folders_give_one_line(
    fault: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "folder"))
    weights, out = folder / native_file.NAME, tmp_path / "out"
    if fault in ("cut", "unsigned"):
        weights.write_bytes(weights.read_bytes()[:-7])
    elif fault == "empty":
        weights.write_bytes(b"")
    elif fault == "settings":
        (folder / settings_files.NAME).write_bytes(settings_files.packed({"config.json": b"[]"}))
    elif fault == "layout":
        files = settings_files.read(folder)
        config = json.loads(files["config.json"]) | {"d_model": 32}
        files["config.json"] = json.dumps(config).encode()
        (folder / settings_files.NAME).write_bytes(settings_files.packed(files))
    else:
        shutil.copy(DEMO, weights)
    if fault != "unsigned":
        signed(folder)
    for way in ("gguf", "ctranslate2", "transformers", "onnx"):
        assert str(folder) in refused(capsys, str(folder), "--to", way, "--out", str(out))
        assert not out.exists()


def test_what_cannot_be_done_is_named(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert "There are: gguf" in refused(capsys, str(small), "--to", "x", "--out", str(out))
    wrong = ("--to", "gguf", "--width", "7", "--out", str(out))
    assert "Widths: 8, 5, 16" in refused(capsys, str(small), *wrong)
    empty = (str(tmp_path), "--to", "gguf", "--out", str(out))
    assert "export.json does not exist" in refused(capsys, *empty)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("mine")
    with pytest.raises(ExportError, match="no export wrote"):
        unpack(small, "gguf", tmp_path / "own")
    with pytest.raises(ConstraintError, match="Nothing is unpacked"):
        unpack(small, "x", out)
