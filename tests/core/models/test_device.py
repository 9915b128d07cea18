"""Devices: chosen by name, refused if absent; a model's tensors are on its weights' device."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from genptq_core import ModelError, Settings, compute, load_manifest, load_model
from genptq_core.cli.main import main
from genptq_core.measurement.shards import shard_key
from genptq_core.models import Transcript
from genptq_core.models.device import device_of
from genptq_core.options import grid_options
from genptq_core.quantizers import sketch_products
from tests.core import tiny_models

GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not GPU, reason="no GPU that torch can use is here")
needs_none = pytest.mark.skipif(GPU, reason="a GPU is here")


@needs_none
def test_without_a_gpu_auto_is_the_processor_and_cuda_is_refused() -> None:
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    with pytest.raises(ModelError, match="No GPU") as caught:
        device_of("cuda")
    assert "--device cpu" in caught.value.hint


def test_an_unknown_device_is_named(random_whisper: Path) -> None:
    with pytest.raises(ModelError, match="'tpu'"):
        load_model(str(random_whisper), "tpu")


@needs_none
def test_the_command_line_refuses_before_it_loads(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["profile", "--model", str(tmp_path / "absent"), "--speech", str(tones)]
    assert main([*words, "--out", str(tmp_path / "out"), "--device", "cuda"]) == 2
    assert "No GPU can be used here" in capsys.readouterr().err


@pytest.mark.parametrize("architecture", ["whisper", *tiny_models.ARCHITECTURES])
def test_inputs_go_to_where_the_weights_are(
    architecture: str,
    random_whisper: Path,
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the meta device, as on a GPU, any tensor that stays on the CPU is an error."""
    folder = random_whisper
    if architecture != "whisper":
        try:
            folder = tiny_models.random_ctc(tmp_path / "ctc", architecture)
        except ImportError as error:  # Parakeet's features want librosa in some versions
            pytest.skip(f"a {architecture} cannot be made here: {error}")
    model = load_model(str(folder))
    speech = load_manifest(tones, 1).utterances
    key = shard_key(model, "map", speech)
    model.module.to("meta")
    assert shard_key(model, "map", speech) != key  # near is not the same
    if architecture == "whisper":  # its masks read a value, which meta tensors do not have
        monkeypatch.setattr(model.module.model.decoder, "forward", _decoded)
    audio = [np.zeros(16_000, dtype=np.float32)] * 2
    transcripts = [Transcript("", (1, 2, 3)), Transcript("", (4, 5))]
    states = model.head_inputs(model.encode(audio), transcripts)
    assert [s.device.type for s in states] == ["meta", "meta"]
    kept = torch.zeros(states[0].shape)  # head inputs in the cache are on the processor
    assert model.log_probs(kept).device.type == "meta"
    assert sketch_products(torch.zeros(3, 2000, device="meta"), 4).shape == (2000, 9)


def _decoded(input_ids: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: object) -> object:
    assert input_ids.device == encoder_hidden_states.device
    width = encoder_hidden_states.shape[-1]
    states = encoder_hidden_states.new_zeros((*input_ids.shape, width))
    return SimpleNamespace(last_hidden_state=states)


@needs_gpu
def test_a_gpu_scores_as_the_processor_does(
    random_whisper: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(grid_options((2, 4), (8,)), draws=2, rank=4)
    scores = []
    for device in ("cpu", "cuda"):
        monkeypatch.setenv("GENPTQ_CACHE", str(tmp_path / device / "cache"))
        model = load_model(str(random_whisper), device)
        speech = load_manifest(tones)
        profile = compute(model, speech, tmp_path / device, settings, float32=True).profile
        scores.append(np.square(profile.projections).mean(axis=(0, 1)))
    np.testing.assert_allclose(scores[1], scores[0], rtol=0.02)
