"""The Conformer that ships has the size and the word errors that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.stats import spearmanr

from genptq_core.allocation.problem import problem
from genptq_core.allocation.solving import solve_average_bits
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.export.export import export
from genptq_core.loading import load_model
from genptq_core.measurement.measure import measure, transcribe_files
from genptq_core.measurement.speech_sets import MeasuredSet, measured_sets
from genptq_core.measurement.store import load_measured
from genptq_core.models import SpeechModel
from genptq_core.models.weights import replaced
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import Profile, load_profile
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.speech.utterances import load_manifest
from genptq_core.speech.wer import count_errors
from genptq_core.storage.locations import bundled_profiles
from tests.conftest import ROOT

NAME = "conformer-an4"
SPELLED = ROOT / "data" / "speech" / "spelled" / "manifest.jsonl"


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    return load_model(NAME)


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile(bundled_profiles() / NAME)


@pytest.fixture(scope="module")
def sets(profile: Profile) -> dict[str, MeasuredSet]:
    measured = measured_sets(load_measured(bundled_profiles() / NAME, profile.digest))
    return {speech_set.name: speech_set for speech_set in measured}


def test_it_is_small_and_of_the_profile(model: SpeechModel, profile: Profile) -> None:
    weights = ROOT / "data" / "models" / NAME / "model.safetensors"
    assert weights.stat().st_size < 12e6
    with safe_open(weights, framework="pt") as handle:
        kinds = {handle.get_tensor(name).dtype for name in handle.keys()}  # noqa: SIM118
    assert kinds == {torch.float16, torch.int64}  # norms count their batches
    assert model.digest == profile.source.model_digest
    assert model.units == profile.units
    assert profile.source.model == NAME


def test_maps_are_measured_on_several_sets(sets: dict[str, MeasuredSet]) -> None:
    assert set(sets) == {"an4/dev", "spelled/manifest"}
    assert len(sets["an4/dev"].records) >= 12
    assert {speech_set.normalizer for speech_set in sets.values()} == {"basic"}


def test_prediction_tracks_what_was_measured(sets: dict[str, MeasuredSet]) -> None:
    maps = [r for r in sets["an4/dev"].records if r.loss > 1e-5]
    measured, predicted = ([getattr(r, n) for r in maps] for n in ("loss", "predicted_loss"))
    assert spearmanr(measured, predicted).statistic > 0.95
    # It was calibrated on speech that it was trained on.
    assert np.median(np.array(measured) / np.array(predicted)) < 8


def test_it_hears_other_speakers(sets: dict[str, MeasuredSet]) -> None:
    assert sets["an4/dev"].wer_full_precision < 0.16


@pytest.mark.slow  # the speech that ships is measured below
def test_word_errors_are_as_recorded(
    model: SpeechModel, profile: Profile, sets: dict[str, MeasuredSet], shared_speech: Path
) -> None:
    speech = load_manifest(shared_speech / "an4" / "dev.jsonl")
    texts = transcribe_files(model, speech)
    errors = count_errors([u.text for u in speech.utterances], texts, "basic")
    records = {record.options: record for record in sets["an4/dev"].records}
    full = records[(UNQUANTIZED,) * len(profile.units)]
    assert errors.wer == pytest.approx(full.wer, abs=0.005)
    four = (Option.parse("4/64"),) * len(profile.units)
    measured = measure(model, profile, bit_map(profile, four), speech)
    assert measured.wer == pytest.approx(records[four].wer, abs=0.01)
    assert measured.loss == pytest.approx(records[four].loss, rel=0.05)


def test_demo_speech_is_as_recorded(
    model: SpeechModel, profile: Profile, sets: dict[str, MeasuredSet]
) -> None:
    speech = load_manifest(SPELLED)
    errors = count_errors(
        [u.text for u in speech.utterances], transcribe_files(model, speech), "basic"
    )
    assert sets["spelled/manifest"].speech_digest == speech.digest
    assert errors.wer == pytest.approx(sets["spelled/manifest"].wer_full_precision, abs=0.02)
    four = (Option.parse("4/64"),) * len(profile.units)
    (recorded,) = (r for r in sets["spelled/manifest"].records if r.options == four)
    measured = measure(model, profile, bit_map(profile, four), speech)
    assert measured.wer == pytest.approx(recorded.wer, abs=0.02)
    assert measured.loss == pytest.approx(recorded.loss, rel=0.05)


@pytest.mark.parametrize(
    "target",
    [
        "native",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("integer", "compressed-tensors")),
    ],
)
def test_its_export_says_what_the_measured_map_says(
    model: SpeechModel, profile: Profile, target: str, tmp_path: Path
) -> None:
    solved = solve_average_bits(problem(profile, target=target), 4.5)
    out = export(profile, bit_map(profile, solved.options), target, tmp_path / "out", model)
    assert out.as_promised and out.predicted_bytes == solved.bytes
    speech = load_manifest(SPELLED, limit=4)
    with replaced(model, quantized_weights(model, profile, solved.options)):
        expected = transcribe_files(model, speech)
    assert any(expected)
    assert transcribe_files(load_model(str(out.folder)), speech) == expected
