"""Encoder-decoders besides Whisper: they write what the library's own `generate` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModelForSpeechSeq2Seq

from genptq_core.errors import ModelError
from genptq_core.loading import load_model
from genptq_core.models.encoder_decoder import EncoderDecoder, Prompt, assembled
from genptq_core.profiling.hooks import SecondMoments
from tests.core.tiny_models import CANARY, COHERE, ENCODER_DECODERS, MOONSHINE, random_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoder-decoders")
    return {name: random_model(root / name, name) for name in ENCODER_DECODERS}


@pytest.fixture(params=ENCODER_DECODERS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(16_000 * seconds))).astype(np.float32)


def test_it_writes_what_generate_writes(folder: Path) -> None:
    model = load_model(str(folder))
    assert isinstance(model, EncoderDecoder)
    library = AutoModelForSpeechSeq2Seq.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    clips = [noise(1.3), noise(2.1, 1)]
    with torch.no_grad():
        encoded = model.encode(clips)
        transcripts = model.transcribe(encoded)
        states = model.head_inputs(encoded, transcripts)
    opening = torch.tensor([model.prompt.tokens])
    for clip, transcript, state in zip(clips, transcripts, states, strict=True):
        batch = extractor([clip], sampling_rate=16_000, return_tensors="pt")
        heard = {
            k: batch[k] for k in ("input_values", "input_features", "attention_mask") if k in batch
        }
        written = library.generate(
            **heard, decoder_input_ids=opening, max_new_tokens=len(transcript.tokens)
        )[0, opening.shape[1] :]
        assert written.tolist() == list(transcript.tokens)
        with torch.no_grad():
            logits = library(
                **heard, decoder_input_ids=torch.cat([opening, written[None, :-1]], dim=1)
            ).logits[0, opening.shape[1] - 1 :]
            found = model.log_probs(state)
        torch.testing.assert_close(found, logits.log_softmax(-1), atol=1e-4, rtol=1e-4)
        assert found.argmax(dim=-1).tolist() == list(transcript.tokens)
    assert transcripts[0].tokens != transcripts[1].tokens


def test_it_stops_where_its_makers_do() -> None:
    prompt = Prompt((1,), (2,), most=30, per_second=6.5, language="")
    assert [prompt.within(seconds) for seconds in (0.01, 2, 60)] == [1, 13, 30]
    assert Prompt((1,), (2,), most=30, per_second=0, language="en").within(1) == 30


def test_company_in_a_batch_changes_nothing(folder: Path) -> None:
    model = load_model(str(folder))
    clips = [noise(0.4, 1), noise(1.5, 2), noise(0.01, 3)]
    with torch.no_grad():
        together = model.transcribe(model.encode(clips))
        assert together == [model.transcribe(model.encode([clip]))[0] for clip in clips]
        assert model.transcribe(model.encode(clips)[1:]) == together[1:]


def test_a_tied_output_is_in_blocks_of_rows(folder: Path) -> None:
    model = load_model(str(folder))
    rows = [(u.start, u.stop) for u in model.units if u.part == "embedding"]
    size = len(model.module.get_parameter(model.head))
    assert rows == ([] if model.family == COHERE else [(0, 512), (512, size)])
    assert model.units[-1].parameter == model.head
    shared = {
        u.inputs for u in model.units if ".encoder_attn." in u.name and ".o_proj" not in u.name
    }
    assert len(shared) == 2  # queries, and keys with values
    sums: dict[str, torch.Tensor] = {}
    with torch.no_grad(), SecondMoments(model, sums):
        encoded = model.encode([noise(1)])
        model.log_probs(model.head_inputs(encoded, model.transcribe(encoded))[0])
    assert sums.keys() == {unit.inputs for unit in model.units}


def test_assembled_from_settings_and_parameters(folder: Path, tmp_path: Path) -> None:
    model = load_model(str(folder))
    model.save_settings(tmp_path)
    parameters = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    again = assembled(tmp_path, "again", parameters)
    assert (again.digest, again.units) == (model.digest, model.units)
    assert again.text_digest == model.text_digest
    with torch.no_grad():
        texts = [m.transcribe(m.encode([noise(1)])) for m in (model, again)]
    assert texts[0] == texts[1]


def edited(folder: Path, name: str, **fields: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_its_language_is_that_of_its_settings(tmp_path: Path) -> None:
    folder = random_model(tmp_path / "canary", CANARY)
    english = load_model(str(folder))
    edited(folder, "generation_config.json", language="de", _from_model_config=False)
    german = load_model(str(folder))
    assert german.digest == english.digest and german.text_digest != english.text_digest
    assert (english.normalizer, german.normalizer) == ("whisper-english", "multilingual")
    assert "de transcribe" in german.decoding
    edited(folder, "generation_config.json", language="xx")
    with pytest.raises(ModelError, match=r"has no <\|xx\|>"):
        load_model(str(folder))


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    cohere = load_model(str(random_model(tmp_path / "cohere", COHERE)))
    with pytest.raises(ModelError, match="80 s is longer than the model hears"):
        cohere.encode([noise(80)])
    folder = random_model(tmp_path / "moonshine", MOONSHINE)
    edited(folder, "generation_config.json", eos_token_id=10_000, _from_model_config=False)
    with pytest.raises(ModelError, match="eos_token_id"):
        load_model(str(folder))
