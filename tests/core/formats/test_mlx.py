"""MLX exports: mlx-audio loads them in a process without our code, and computes the same."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file

from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve
from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.errors import ExportError, ModelError
from genptq_core.export.export import ExportResult, export
from genptq_core.formats import export_file, mlx, plain_settings
from genptq_core.loading import load_model
from genptq_core.measurement.measure import transcribe_files
from genptq_core.models import SpeechModel
from genptq_core.models.weights import replaced
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import Profile, bundled_profile
from genptq_core.quantizers import Quantized
from genptq_core.rounding.rounded import quantized_weights, stored_units
from genptq_core.speech.utterances import load_audio, load_manifest
from genptq_core.storage.json_files import write_json
from genptq_core.targets import TARGETS
from genptq_core.targets.mlx import GROUPS, WIDTHS
from genptq_core.targets.run_commands import commands
from genptq_core.targets.runtimes import RUNTIMES
from genptq_core.targets.ways import Way
from tests.conftest import DEMO, ROOT
from tests.core import synthetic

OPTIONS = [Option(bits, group) for bits in WIDTHS for group in GROUPS]
OURS = ("export.json", "bitmap.json")
WAY = Way(TARGETS["mlx"], RUNTIMES["mlx"])

# What a user types, and then the logits of one second of noise.
LOGITS = """
import sys
import numpy as np
features = mx.array(np.sin(np.arange(80 * 3000.0)).reshape(1, 80, 3000).swapaxes(1, 2))
logits = model(features.astype(mx.float32), mx.array([[900, 5, 7]]))
np.save(sys.argv[1], np.array(logits))
assert not any(name.startswith("genptq") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, random_whisper: Path) -> SpeechModel:
    """A Whisper with rows for groups of 32 and, in its feed-forward layers, of 64 and 128."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    folder = tmp_path_factory.mktemp("models") / "wide"
    shutil.copytree(random_whisper, folder)
    config = WhisperConfig.from_pretrained(folder)
    config.d_model, config.encoder_ffn_dim, config.decoder_ffn_dim = 32, 128, 128
    config.encoder_attention_heads = config.decoder_attention_heads = 2
    torch.manual_seed(1)
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    shutil.copy(random_whisper / "generation_config.json", folder)
    return load_model(str(folder))


@pytest.fixture(scope="module")
def profile(model: SpeechModel) -> Profile:
    return synthetic.profile_of(model, bits=WIDTHS, group_size=GROUPS)


@pytest.fixture(scope="module")
def chosen(profile: Profile) -> BitMap:
    """Every width and group size, and some layers at 16 bit."""
    holds, options = TARGETS["mlx"].holds, []
    for index, unit in enumerate(profile.units):
        group = 32 if unit.columns < 128 else 64 if unit.part == "encoder" else 128
        held = [o for o in OPTIONS if o.group_size == group and holds(unit, o)]
        option = held[5 * index % len(held)] if held and index != 3 else UNQUANTIZED
        options.append(Option(5, 32) if unit.part == "embedding" else option)
    assert {o.bits for o in options} == {*WIDTHS, 16}
    assert {o.group_size for o in options} == {*GROUPS, 0}
    return bit_map(profile, options)


@pytest.fixture(scope="module")
def exported(
    profile: Profile, chosen: BitMap, model: SpeechModel, tmp_path_factory: pytest.TempPathFactory
) -> ExportResult:
    return export(profile, chosen, "mlx", tmp_path_factory.mktemp("exports") / "mlx", model)


@pytest.fixture(scope="module")
def weights(profile: Profile, chosen: BitMap, model: SpeechModel) -> dict[str, torch.Tensor]:
    """The measured map's weights, as scale * code + bias with its bias in float16."""
    parameters = {n: p.detach().half().float() for n, p in model.module.named_parameters()}
    for unit, _, stored in stored_units(model, profile, chosen.options):
        if isinstance(stored, Quantized):
            grid, size = stored.grid, stored.grid.group_size
            bias = (-grid.scale * grid.zero).half().float()
            # The bias is all that differs from what was measured.
            assert ((bias + grid.scale * grid.zero).abs() <= grid.zero * grid.scale / 2048).all()
            spread = [v.repeat_interleave(size, dim=1) for v in (grid.scale, bias)]
            parameters[unit.parameter][unit.start : unit.stop] = (
                stored.codes.float() * spread[0] + spread[1]
            )
    return {**parameters, **model.derived}


def test_it_weighs_what_was_promised_whatever_the_map(
    exported: ExportResult, profile: Profile, model: SpeechModel, tmp_path: Path
) -> None:
    plain = bit_map(profile, [UNQUANTIZED] * len(profile.units))
    overhead = mlx.overhead(model, plain_settings.saved(model))
    for result in (exported, export(profile, plain, "mlx", tmp_path / "out", model)):
        tensors = load_file(result.folder / "model.safetensors")
        size = sum(t.nbytes for t in tensors.values())
        assert size == result.weights_bytes == result.predicted_bytes
        read = [p for p in result.folder.iterdir() if p.name not in OURS]
        assert sum(p.stat().st_size for p in read) == result.bytes == size + overhead


def test_it_computes_the_same_in_a_fresh_process(
    exported: ExportResult, model: SpeechModel, weights: dict[str, torch.Tensor], tones: Path
) -> None:
    pytest.importorskip("mlx_audio")
    shutil.copy(tones.parent / "0.wav", tones.parent / "talk.wav")
    process = subprocess.run(
        [sys.executable, "-c", mlx.run_snippet(str(exported.folder)) + LOGITS, "logits.npy"],
        cwd=tones.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip()
    features = torch.sin(torch.arange(80 * 3000.0, dtype=torch.float64)).view(1, 80, 3000).float()
    with replaced(model, weights), torch.no_grad():
        expected = model.module(features, decoder_input_ids=torch.tensor([[900, 5, 7]])).logits
    np.testing.assert_allclose(
        np.load(tones.parent / "logits.npy"), expected.numpy(), atol=1e-3 * float(expected.std())
    )


@pytest.mark.slow
def test_its_own_program_transcribes(exported: ExportResult, tones: Path) -> None:
    """As typed on a Mac; here at 16 bit on the processor, which only so small a model bears."""
    pytest.importorskip("mlx_audio")
    (command,) = commands(WAY, str(exported.folder))
    shutil.copy(tones.parent / "0.wav", tones.parent / "talk.wav")
    program, *flags = command.split()
    process = subprocess.run(
        [sys.executable, "-m", program, *flags],
        cwd=tones.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert (tones.parent / "talk.txt").exists()


def test_it_says_what_was_measured(
    exported: ExportResult, model: SpeechModel, weights: dict[str, torch.Tensor], tones: Path
) -> None:
    pytest.importorskip("mlx_audio")
    speech = load_manifest(tones, limit=3)
    loaded: Any = load_model(str(exported.folder))
    with replaced(model, weights):
        assert transcribe_files(loaded, speech) == transcribe_files(model, speech)
    with pytest.raises(ModelError, match="an MLX export, which can only transcribe"):
        _ = loaded.units
    # Step by step it is the same, and so for one utterance alone.
    tokens = np.array([[900, 5, 7, 90], [900, 5, 420, 510]])
    encoded = loaded.encode([load_audio(u) for u in speech.utterances[:2]])
    whole, _ = loaded.step(tokens, encoded)
    _, past = loaded.step(tokens[:, :3], encoded)
    last, _ = loaded.step(tokens[:, 3:], encoded, past)
    np.testing.assert_allclose(last[:, 0], whole[:, 3], atol=1e-4)
    alone, _ = loaded.step(tokens[1:], encoded[1:])
    np.testing.assert_allclose(alone, whole[1:], atol=1e-4)


@pytest.mark.slow
def test_tiny_en_says_what_was_measured_in_a_fresh_process(
    tiny_en: SpeechModel, tmp_path: Path
) -> None:
    """Real weights; on a processor the encoder alone takes MLX a quarter of a minute."""
    pytest.importorskip("mlx_audio")
    profile = bundled_profile()
    task = problem(profile, target="mlx")
    chosen = bit_map(profile, solve(task, 24_000_000).options)
    folder = export(profile, chosen, "mlx", tmp_path / "out", tiny_en).folder
    utterance = load_manifest(DEMO, limit=1).utterances[0]
    soundfile.write(tmp_path / "talk.wav", load_audio(utterance), 16_000)
    speech = dataclasses.replace(load_manifest(DEMO), utterances=(utterance,))
    with replaced(tiny_en, quantized_weights(tiny_en, profile, chosen.options)):
        (text,) = transcribe_files(tiny_en, speech)
    for command in (
        ["-c", mlx.run_snippet(str(folder))],
        ["-m", "genptq_core", "transcribe", "--model", str(folder), "talk.wav"],
    ):
        process = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        assert text in process.stdout


def test_the_documents_have_its_commands() -> None:
    said = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert commands(WAY, "DIR")[0] in said and mlx.run_snippet("DIR") in said


def test_times_have_names_in_its_tokenizer(exported: ExportResult, model: SpeechModel) -> None:
    tokenizer = json.loads((exported.folder / "tokenizer.json").read_text(encoding="utf-8"))
    named = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    first, size = named["<|notimestamps|>"] + 1, model.module.config.vocab_size
    times = [named[f"<|{0.02 * step:.2f}|>"] for step in range(size - first)]
    assert times == list(range(first, size)) and len(times) > 100


@pytest.mark.parametrize(
    ("file", "change", "match"),
    [
        ("config.json", {"max_target_positions": 2**24}, "positional_embedding of 16777216 x 32"),
        ("config.json", {"d_model": 2**20}, "no decoder.positional_embedding"),
        ("config.json", {"max_source_positions": 2**23}, "its features have 80 and 3000"),
        ("config.json", {"decoder_layers": 2}, "cannot be loaded"),
        ("config.json", {"quantization": {"group_size": 32, "bits": 4}}, "cannot be loaded"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    exported: ExportResult, tmp_path: Path, file: str, change: dict[str, Any], match: str
) -> None:
    pytest.importorskip("mlx_audio")
    folder = Path(shutil.copytree(exported.folder, tmp_path / "out"))
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **change}))
    said = dataclasses.asdict(export_file.read(folder))
    said["files"] = export_file.digests(folder)
    write_json(folder / export_file.NAME, export_file.SCHEMA, export_file.VERSION, said)
    with pytest.raises(ExportError, match=match) as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)


def test_models_that_mlx_audio_does_not_compute_are_refused(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.module.config, "activation_function", "relu")
    with pytest.raises(ExportError, match="no activation 'relu'"):
        mlx.overhead(model, plain_settings.saved(model))
    monkeypatch.setattr(model.module.config, "decoder_ffn_dim", 96)
    with pytest.raises(ExportError, match="feed-forward layers are four times as wide"):
        mlx.overhead(model, plain_settings.saved(model))
    monkeypatch.setattr(model, "derived", {})
    with pytest.raises(ExportError, match="the model has learned its own"):
        mlx.overhead(model, plain_settings.saved(model))
