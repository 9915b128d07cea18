"""Transducers: the library's own decisions along the walk, and what each matrix gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoFeatureExtractor

from genptq_core.errors import ModelError
from genptq_core.loading import load_model
from genptq_core.models import SpeechModel
from genptq_core.models.layered import LayeredWeights
from genptq_core.models.lstm import SeenLstm
from genptq_core.models.transducer import CHECKPOINTS, Rules, Transducer, Walk, assembled
from genptq_core.models.weights import replaced
from genptq_core.profiling.hooks import SecondMoments
from tests.core.tiny_models import (
    RNNT,
    TDT,
    TRANSDUCERS,
    VOCABULARY,
    random_model,
    random_transducer,
)

BLANK = len(VOCABULARY)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("transducers")
    return {name: random_model(root / name, name) for name in TRANSDUCERS}


@pytest.fixture(params=TRANSDUCERS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(int(16_000 * seconds))).astype(np.float32)


def library(folder: Path, samples: np.ndarray) -> tuple[Any, dict[str, torch.Tensor]]:
    """The model as `transformers` has it, and the features of a recording."""
    kind = CHECKPOINTS[json.loads((folder / "config.json").read_text())["model_type"]]
    module = kind.from_pretrained(folder).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    return module, extractor([samples], sampling_rate=16_000, return_tensors="pt")


def test_every_decision_is_the_library_s(folder: Path) -> None:
    """Its own forward pass, without a cache, with all tokens before a step and the step's frame."""
    model = load_model(str(folder))
    assert isinstance(model, Transducer)
    module, batch = library(folder, noise(1.3))
    with torch.no_grad():
        encoded = model.encode([noise(1.3)])
        (transcript,) = model.transcribe(encoded)
        found = model.log_probs(model.head_inputs(encoded, [transcript])[0])
        heard = module.get_audio_features(**batch).pooler_output
        each, frame, here, tokens = model.rules.questions, 0, 0, [BLANK]
        for step in range(0, len(transcript.tokens), each):
            seen = type("Seen", (), {"pooler_output": heard[:, frame : frame + 1]})
            seen.last_hidden_state = seen.hidden_states = seen.attentions = None
            logits = module(
                decoder_input_ids=torch.tensor([tokens]), encoder_outputs=seen
            ).logits.flatten(0, -2)[-1]
            parts = logits.split([BLANK + 1, len(logits) - BLANK - 1])[:each]
            start = 0
            for row, part in zip(found[step : step + each], parts, strict=True):
                wanted = part.log_softmax(dim=-1)
                torch.testing.assert_close(
                    row[start : start + len(part)], wanted, atol=1e-4, rtol=1e-4
                )
                assert row.exp().sum().item() == pytest.approx(1, abs=1e-5)
                assert row.argmax() == start + wanted.argmax()
                start += len(part)
            best = [int(part.argmax()) for part in parts]
            assert list(transcript.tokens[step : step + each]) == [
                best[0],
                *(BLANK + 1 + answer for answer in best[1:]),
            ]
            tokens += [best[0]] if best[0] != BLANK else []
            moved = best[1] if each == 2 else int(best[0] == BLANK)
            here = 0 if moved else here + 1
            if not moved and (best[0] == BLANK or here == 10):
                moved, here = 1, 0
            frame += moved
    letters = "".join(VOCABULARY[t] for t in transcript.tokens[::each] if 2 < t < BLANK)
    assert transcript.text.replace(" ", "") == letters
    assert len(letters) > 3


def test_an_rnn_t_decodes_as_generate_does(folders: dict[str, Path]) -> None:
    model = load_model(str(folders[RNNT]))
    module, batch = library(folders[RNNT], noise(1.3))
    with torch.no_grad():
        (transcript,) = model.transcribe(model.encode([noise(1.3)]))
    expected = module.generate(**batch, decoder_start_token_id=BLANK, max_new_tokens=400)
    assert list(transcript.tokens) == expected.sequences[0, 1:].tolist()


def test_a_walk_always_gets_on() -> None:
    tdt = Walk(Rules(tokens=5, blank=4, durations=(0, 1, 3), most=2))
    frames = []
    for token, answer in [(1, 0), (2, 2), (4, 0), (3, 0), (3, 0), (3, 0), (4, 1)]:
        tdt.move([token, 5 + answer])
        frames.append(tdt.frame)
    assert frames == [0, 3, 4, 4, 5, 5, 6]
    assert tdt.written == [1, 2, 3, 3, 3]
    plain = Walk(Rules(tokens=5, blank=4, durations=(), most=2))
    frames = []
    for token in [4, 1, 2, 4, 1, 4]:
        plain.move([token])
        frames.append(plain.frame)
    assert frames == [1, 1, 2, 3, 3, 4]


def test_company_in_a_batch_changes_nothing(folder: Path) -> None:
    model = load_model(str(folder))
    clips = [noise(0.4, 1), noise(1.5, 2), noise(0.01, 3), np.zeros(4000, dtype=np.float32)]
    with torch.no_grad():
        together = model.transcribe(model.encode(clips))
        assert together == [model.transcribe(model.encode([clip]))[0] for clip in clips]


def test_the_lstm_is_torch_s() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(32, 32, num_layers=2, batch_first=True)
    seen, x = SeenLstm(lstm), torch.randn(1, 7, 32)
    assert dict(seen.named_parameters()).keys() == dict(lstm.named_parameters()).keys()
    outputs, state = seen(x)
    expected, whole = lstm(x)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(state, whole)
    torch.testing.assert_close(seen(x[:, 4:], seen(x[:, :4])[1])[0], expected[:, 4:])


def test_moments_are_of_what_multiplies_the_weight(folder: Path) -> None:
    """Of LSTMs too: gates less biases are the inputs' part and the states' part."""
    model = load_model(str(folder))
    inputs: dict[str, tuple[torch.Tensor, ...]] = {}
    for name, module in model.module.named_modules():
        module.register_forward_pre_hook(lambda m, i, n=name: inputs.__setitem__(n, i[:1]))
    sums: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        encoded = model.encode([noise(1)])
        transcripts = model.transcribe(encoded)
        with SecondMoments(model, sums):
            model.log_probs(model.head_inputs(model.encode([noise(1)]), transcripts)[0])
    assert sums.keys() == {unit.inputs for unit in model.units}
    lstm: Any = model.module.get_submodule("decoder.lstm")
    for layer in range(2):
        x, h = (inputs[f"decoder.lstm.{kind}.{layer}"][0][0] for kind in ("inputs", "states"))
        weight, back = (getattr(lstm, f"weight_{of}_l{layer}") for of in ("ih", "hh"))
        bias = sum(getattr(lstm, f"bias_{of}_l{layer}") for of in ("ih", "hh"))
        gates = (x @ weight.T + h @ back.T + bias).chunk(4, dim=1)
        cell, outputs = torch.zeros(32), []
        for i, f, g, o in zip(*gates, strict=True):
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            outputs.append(o.sigmoid() * cell.tanh())
        if layer == 0:
            torch.testing.assert_close(torch.stack(outputs), inputs["decoder.lstm.inputs.1"][0][0])
        torch.testing.assert_close(torch.stack(outputs)[:-1], h[1:])
        torch.testing.assert_close(sums[f"decoder.lstm.states.{layer}"], h.T @ h)


def test_weights_made_layer_by_layer_are_the_same(folder: Path) -> None:
    """Forward and backward, an LSTM's among them."""
    model = load_model(str(folder))
    torch.manual_seed(1)
    changed = {
        unit.parameter: weight + 0.05 * torch.randn_like(weight)
        for unit in model.units
        for weight in [model.module.get_parameter(unit.parameter).detach()]
    }
    makers = {name: weight.clone for name, weight in changed.items()}
    with torch.no_grad():
        (transcript,) = model.transcribe(model.encode([noise(1)]))
    found = []
    for weights in (changed, LayeredWeights(makers)):
        with replaced(model, weights):
            found.append(scores(model, transcript))
    torch.testing.assert_close(*found)


def scores(model: SpeechModel, transcript: Any) -> torch.Tensor:
    return model.log_probs(model.head_inputs(model.encode([noise(1)]), [transcript])[0]).detach()


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


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"durations": []}, r"durations \(\)"),
        ({"blank_token_id": 99}, "blank_token_id 99 of 30 tokens"),
        ({"max_symbols_per_step": 0}, "max_symbols_per_step 0"),
    ],
)
def test_impossible_walks_are_refused(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = random_transducer(tmp_path, TDT, num_hidden_layers=1)
    path = folder / "config.json"
    module = load_model(str(folder)).module
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    if "durations" in fields:  # as many weights as are said
        head: Any = module.get_submodule("joint.head")
        head.weight, head.bias = (nn.Parameter(p[: BLANK + 1]) for p in (head.weight, head.bias))
        text = path.read_text()
        module.save_pretrained(folder)  # type: ignore[operator]
        path.write_text(text)
    with pytest.raises(ModelError, match=said):
        load_model(str(folder))
