"""The embedded model and other Whispers: bit for bit, same text as CTranslate2, clear errors."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.errors import GenPTQError, ModelError
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel, bundled
from genptq_core.models.weights import replaced
from genptq_core.speech.utterances import SpeechSet, load_audio, load_manifest
from genptq_core.speech.wer import count_errors
from tests.conftest import DEMO


@pytest.fixture(scope="module")
def model_file() -> bytes:
    return (bundled.folder() / "model.bin").read_bytes()


def transcribe(model: SpeechModel, speech: SpeechSet) -> list[str]:
    texts = []
    with torch.no_grad():
        for start in range(0, len(speech), 8):
            audio = [load_audio(u) for u in speech.utterances[start : start + 8]]
            texts += [t.text for t in model.transcribe(model.encode(audio))]
    return texts


def ctranslate2_transcribe(model: SpeechModel, speech: SpeechSet) -> list[str]:
    """The same recordings through CTranslate2 itself, float32, greedy."""
    import ctranslate2
    from tokenizers import Tokenizer
    from transformers import WhisperFeatureExtractor

    threads = torch.get_num_threads()
    runtime = ctranslate2.models.Whisper(
        str(bundled.folder()), device="cpu", compute_type="float32", intra_threads=2
    )
    tokenizer = Tokenizer.from_file(str(bundled.folder() / "tokenizer.json"))
    extract = WhisperFeatureExtractor()
    texts = []
    for recording in speech.utterances:
        features = extract(load_audio(recording), sampling_rate=16_000, return_tensors="np")
        view = ctranslate2.StorageView.from_array(features.input_features.astype(np.float32))
        found = runtime.generate(
            view,
            [["<|startoftranscript|>", "<|notimestamps|>"]],
            beam_size=1,
            max_length=224,
        )
        texts.append(tokenizer.decode(found[0].sequences_ids[0]).strip())
    torch.set_num_threads(threads)  # they are the process's, and sums depend on them
    return texts


def test_weights_arrive_bit_for_bit(tiny_en: SpeechModel, model_file: bytes) -> None:
    stored = bundled.parse(model_file, "model.bin")
    arrived = {k: v.detach().numpy() for k, v in tiny_en.module.named_parameters()}
    assert {a.dtype for k, a in stored.items() if a.ndim >= 1} == {np.dtype(np.float16)}
    total = 0
    for name, source in {
        "model.decoder.embed_tokens.weight": "decoder/embeddings/weight",
        "model.encoder.conv1.weight": "encoder/conv1/weight",
        "model.encoder.embed_positions.weight": "encoder/position_encodings/encodings",
        "model.decoder.layers.3.fc2.bias": "decoder/layer_3/ffn/linear_1/bias",
    }.items():
        np.testing.assert_array_equal(arrived[name], stored[source].astype(np.float32))
    fused = np.concatenate(
        [arrived[f"model.encoder.layers.2.self_attn.{p}_proj.weight"] for p in "qkv"]
    )
    np.testing.assert_array_equal(
        fused, stored["encoder/layer_2/self_attention/linear_0/weight"].astype(np.float32)
    )
    # Every stored number arrives somewhere, and nothing else does (key biases are stored as zeros).
    total = sum(a.size for a in arrived.values())
    silent = 384 * (4 + 4 + 4)
    assert total + silent == sum(a.size for a in stored.values() if a.dtype == np.float16)
    for name, array in arrived.items():
        np.testing.assert_array_equal(array, array.astype(np.float16).astype(np.float32), name)


def test_same_text_as_ctranslate2_on_demo_speech(tiny_en: SpeechModel) -> None:
    speech = load_manifest(DEMO, limit=2)
    texts = transcribe(tiny_en, speech)
    assert texts == ctranslate2_transcribe(tiny_en, speech)
    assert count_errors([u.text for u in speech.utterances], texts).wer < 0.20


@pytest.mark.slow
def test_same_text_as_ctranslate2_on_human_speech(
    tiny_en: SpeechModel, shared_speech: Path
) -> None:
    speech = load_manifest(shared_speech / "librispeech-mini" / "dev.jsonl", limit=2)
    assert transcribe(tiny_en, speech) == ctranslate2_transcribe(tiny_en, speech)


@pytest.mark.slow
def test_word_error_rates(tiny_en: SpeechModel, shared_speech: Path) -> None:
    dev = shared_speech / "librispeech-mini" / "dev.jsonl"
    for manifest, most in ((DEMO, 0.20), (dev, 0.07)):
        speech = load_manifest(manifest)
        errors = count_errors([u.text for u in speech.utterances], transcribe(tiny_en, speech))
        assert 0.03 < errors.wer < most


def test_altered_and_truncated_files_are_named(tmp_path: Path, model_file: bytes) -> None:
    altered = bytearray(model_file)
    altered[1_000_000] ^= 1
    for name, data in {"altered.bin": bytes(altered), "short.bin": model_file[:-10]}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelError, match=f"{name} is damaged or altered.*pip install"):
            bundled.read([tmp_path / name])
    with pytest.raises(ModelError, match="cannot be read"):
        bundled.read([tmp_path / "none.bin"])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 4_000), st.binary(max_size=40))
def test_parser_names_whatever_is_wrong(model_file: bytes, cut: int, tail: bytes) -> None:
    with pytest.raises(ModelError):
        bundled.parse(model_file[:cut] + tail, "model.bin")


def test_units_cover_convolutions_linear_weights_and_the_embedding_once(
    tiny_en: SpeechModel,
) -> None:
    modules = dict(tiny_en.module.named_modules())
    layers = torch.nn.Linear | torch.nn.Conv1d
    covered = {f"{n}.weight" for n, m in modules.items() if isinstance(m, layers)}
    covered -= {"proj_out.weight"}
    assert {u.parameter for u in tiny_en.units} == covered | {tiny_en.head}
    for unit in tiny_en.units:
        assert tiny_en.module.get_parameter(unit.parameter)[0].numel() == unit.columns
        assert unit.inputs in modules
    blocks = [u for u in tiny_en.units if u.part == "embedding"]
    assert blocks[0].start == 0 and blocks[-1].stop == 51_864
    assert all(a.stop == b.start for a, b in itertools.pairwise(blocks))
    assert len({u.name for u in tiny_en.units}) == len(tiny_en.units)


def test_what_the_architecture_computes_is_derived(
    tiny_en: SpeechModel, random_whisper: Path
) -> None:
    (name,) = tiny_en.derived
    stored = tiny_en.module.get_parameter(name)
    assert torch.allclose(tiny_en.derived[name], stored, atol=1e-3)
    # The stored ones went through float16.
    assert not torch.equal(tiny_en.derived[name], stored)
    changed = load_model(str(random_whisper))
    with torch.no_grad():
        changed.module.get_parameter(name)[3, 4] += 0.01
    again = type(changed)("changed", changed.module, changed._features, changed._tokenizer)
    assert again.derived == {}


def test_replaced_puts_the_originals_back(tiny_en: SpeechModel) -> None:
    name = "model.decoder.embed_tokens.weight"
    parameter = dict(tiny_en.module.named_parameters())[name]
    before = parameter.detach().clone()
    with pytest.raises(RuntimeError), replaced(tiny_en, {name: torch.zeros_like(parameter)}):
        assert not parameter.detach().any()
        raise RuntimeError
    assert torch.equal(parameter, before)


def test_local_folder_loads(random_whisper: Path) -> None:
    model = load_model(str(random_whisper))
    assert {unit.columns for unit in model.units if unit.kind == "attention"} == {16}
    assert model.units[0].columns == 80 * 3  # channels of the first convolution, times its width
    assert model.digest == load_model(str(random_whisper)).digest


def test_damaged_local_folder_is_named(random_whisper: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(random_whisper, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(GenPTQError, match=re.escape(str(broken))):
        load_model(str(broken))
    (broken / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model(str(broken))


@pytest.mark.parametrize("name", ["nonsense", "./none", "a/b/c", ""])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ModelError, match="neither"):
        load_model(name)


def test_hub_name_offline_says_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="cannot be fetched from the model hub") as caught:
        load_model("openai/whisper-small-that-is-not-here")
    assert "\n" not in str(caught.value)


def test_a_model_that_would_write_times_writes_text(random_whisper: Path) -> None:
    model = load_model(str(random_whisper))
    whisper: Any = model.module
    time = int(whisper.generation_config.no_timestamps_token_id) + 100
    with torch.no_grad():
        # The final states and the row of a timestamp point the same way: its logit is the largest.
        whisper.model.decoder.layer_norm.bias.fill_(3.0)
        whisper.model.decoder.embed_tokens.weight[time].fill_(3.0)
        audio = [np.zeros(16_000, np.float32), np.ones(16_000, np.float32) * 0.1]
        transcripts = model.transcribe(model.encode(audio))
    assert len(transcripts) == 2
    assert all(token <= time - 100 for transcript in transcripts for token in transcript.tokens)
