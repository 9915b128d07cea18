"""Decoding with a guard against running away: what is decoded again, and that texts repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.errors import ModelError
from genptq_core.loading import load_model
from genptq_core.measurement.shards import shard_key
from genptq_core.models import SpeechModel
from genptq_core.models.decoding import (
    DECODINGS,
    FALLBACK,
    GREEDY,
    Decoding,
    compression,
    seed_of,
    with_decoding,
)
from genptq_core.models.greedy import drawn, likeliest, write
from genptq_core.speech.utterances import load_audio, load_manifest
from tests.core.tiny_models import PARAKEET, random_ctc

SURE = Decoding("sure", FALLBACK.temperatures, most_compression=100.0, least_log_prob=-1e9)
"""Trusts everything."""
NEVER = Decoding("never", (0.0, 0.5, 1.0), least_log_prob=1.0)
"""Trusts nothing."""


@pytest.fixture(scope="module")
def model(random_whisper: Path) -> SpeechModel:
    return load_model(str(random_whisper))


@pytest.fixture
def audio(tones: Path) -> list[np.ndarray]:
    return [load_audio(one) for one in load_manifest(tones).utterances[:3]]


def texts(model: SpeechModel, audio: list[np.ndarray]) -> list[tuple[str, tuple[int, ...]]]:
    with torch.no_grad():
        return [(t.text, t.tokens) for t in model.transcribe(model.encode(audio))]


def test_greedy_decoding_is_the_model_itself(model: SpeechModel, audio: list[np.ndarray]) -> None:
    assert with_decoding(model, GREEDY) is model
    trusting = with_decoding(model, SURE)
    assert trusting.digest == model.digest and trusting.module is model.module
    assert texts(trusting, audio) == texts(model, audio)


def test_caches_tell_decodings_apart(model: SpeechModel, tones: Path) -> None:
    recordings = load_manifest(tones).utterances[:2]
    models = [model, *(with_decoding(model, rule) for rule in (FALLBACK, NEVER, SURE))]
    assert len({one.text_digest for one in models}) == len(models)
    assert len({shard_key(one, "w", recordings) for one in models}) == len(models)
    assert "again at temperature 0.2 to 1" in models[1].decoding
    assert with_decoding(models[1], FALLBACK).text_digest == models[1].text_digest


def test_what_is_drawn_depends_on_the_utterance_alone(
    model: SpeechModel, audio: list[np.ndarray]
) -> None:
    guarded = with_decoding(model, NEVER)
    found = texts(guarded, audio)
    assert found != texts(model, audio)
    assert texts(guarded, audio[::-1]) == found[::-1]
    with torch.no_grad():
        encoded: Any = guarded.encode(audio)
        assert [guarded.transcribe(encoded[i : i + 1])[0].text for i in range(3)] == [
            text for text, _ in found
        ]


def test_the_last_temperature_stays(model: SpeechModel, audio: list[np.ndarray]) -> None:
    """And an utterance that is trusted at an earlier one stays as it was there."""
    rule = Decoding("first", (0.0, 1.0), least_log_prob=1.0)
    longer = Decoding("second", (0.0, 0.5, 1.0), least_log_prob=1.0)
    first, second = (texts(with_decoding(model, one), audio) for one in (rule, longer))
    seed, settings_ = seed_of(audio[0]), vars(model)["settings"]
    with torch.no_grad():
        encoded: Any = model.encode(audio[:1])
        for number, found in ((1, first), (2, second)):
            (row,) = write(
                model.module,
                encoded.states,
                settings_.prompt,
                settings_.ends,
                settings_.most,
                never=settings_.never,
                not_first=settings_.not_first,
                choose=drawn(1.0, (seed, number)),
            )
            assert tuple(row.tokens) == found[0][1]


def test_log_probabilities_are_those_of_the_tokens(
    model: SpeechModel, audio: list[np.ndarray]
) -> None:
    asked = vars(model)["settings"]
    with torch.no_grad():
        encoded: Any = model.encode(audio)
        rows = write(model.module, encoded.states, asked.prompt, asked.ends, 6, count=True)
        for index, row in enumerate(rows):
            tokens = torch.tensor([[*asked.prompt, *row.tokens]])
            states = encoded.states[index : index + 1]
            logits = model.module(encoder_outputs=(states,), decoder_input_ids=tokens).logits[0]
            places = range(len(asked.prompt) - 1, tokens.shape[1] - 1)
            known = logits.log_softmax(dim=-1)
            wanted = sum(float(known[p, tokens[0, p + 1]]) for p in places)
            assert row.log_prob == pytest.approx(wanted, rel=1e-4)


@settings(max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.integers(0, 2**32), st.data())
def test_barred_tokens_are_never_drawn(scores: list[float], seed: int, data: Any) -> None:
    barred = data.draw(st.sets(st.integers(0, len(scores) - 1), max_size=len(scores) - 1))
    row = torch.tensor([scores])
    row[0, list(barred)] = -torch.inf
    choose = drawn(0.7, (seed, 1))
    assert not {int(choose(row)) for _ in range(50)} & barred
    again, other = drawn(0.7, (seed, 1)), drawn(0.7, (seed, 1))
    assert [int(again(row)) for _ in range(9)] == [int(other(row)) for _ in range(9)]


def test_draws_follow_the_softmax() -> None:
    row = torch.tensor([[0.0, 1.0, 2.0]])
    choose = drawn(2.0, (7,))
    counts = np.bincount([int(choose(row)) for _ in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(counts, torch.softmax(row[0] / 2, dim=0), atol=0.03)
    assert int(likeliest(row)) == 2


def test_what_is_trusted() -> None:
    loop = "and then " * 40
    assert compression(loop) > 2.4 > compression("the cat sat on the mat")
    assert FALLBACK.trusts("the cat", -5.0, 6) and not FALLBACK.trusts(loop, -5.0, 90)
    assert FALLBACK.trusts("the cat", -6.0, 6) and not FALLBACK.trusts("the cat", -6.1, 6)
    assert FALLBACK.trusts("", 0.0, 0)
    assert DECODINGS == {"greedy": GREEDY, "fallback": FALLBACK} and not GREEDY.falls_back


def test_others_refuse_it_by_name(tmp_path: Path) -> None:
    ctc = load_model(str(random_ctc(tmp_path / "ctc", PARAKEET)))
    assert with_decoding(ctc, GREEDY) is ctc
    with pytest.raises(ModelError, match=r"parakeet_ctc\) cannot decode with fallback"):
        with_decoding(ctc, FALLBACK)
