"""Measuring: real decoding of quantized models, paired with full precision."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from genptq_core.allocation.predicted_loss import quadratic_loss
from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.errors import ModelError, SpeechError
from genptq_core.loading import load_model
from genptq_core.measurement.measure import measure, transcribe_files
from genptq_core.models import SpeechModel
from genptq_core.profile import Profile, load_profile
from genptq_core.rounding.baseline import baseline
from genptq_core.rounding.rounded import quantized_weights
from genptq_core.speech.utterances import load_manifest
from genptq_core.storage.locations import bundled_profiles
from tests.conftest import DEMO


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile(bundled_profiles() / "whisper-tiny.en")


def uniform(profile: Profile, bits: int) -> tuple[int, ...]:
    return (bits,) * len(profile.units)


def test_full_precision_differs_in_nothing(tiny_en: SpeechModel, profile: Profile) -> None:
    speech = load_manifest(DEMO, limit=1)
    record = measure(tiny_en, profile, bit_map(profile, uniform(profile, 16)), speech)
    assert record.wer == record.wer_full_precision
    assert record.ci95 == (0.0, 0.0)
    assert abs(record.loss) < 1e-6
    stored = profile.source.parameters - profile.source.derived
    assert record.bytes == 2 * stored + profile.source.overhead["native"]
    assert all(full == heard for _, full, heard in record.transcripts)


def test_fewer_bits_cost_more_as_predicted(tiny_en: SpeechModel, profile: Profile) -> None:
    """Integers that are rounded quickly: every sixth layer's, the others at 16 bit."""
    speech = load_manifest(DEMO, limit=2)
    losses = []
    for bits in (8, 3):
        keys = [f"{bits}/64" if i % 6 == 0 else "16" for i in range(len(profile.units))]
        record = measure(tiny_en, profile, bit_map(profile, keys), speech)
        losses.append(record.loss)
        # Synthetic voices are far from the calibration speech, so the right order is all there is.
        assert record.predicted_loss / 4 < record.loss < record.predicted_loss * 6
        assert record.ci95[0] <= record.wer_increase <= record.ci95[1]
        assert record.utterances == 2
        assert record.words > 20
    assert losses == sorted(losses)
    assert losses[0] < 0.002


def test_weights_follow_the_map_unit_by_unit(tiny_en: SpeechModel, profile: Profile) -> None:
    bits = list(uniform(profile, 16))
    blocks = [i for i, u in enumerate(profile.units) if u.part == "embedding"]
    bits[blocks[0]], bits[blocks[2]], bits[5] = 2, 4, 3
    keys = [f"{width}/64" if width < 16 else "16" for width in bits]
    weights = quantized_weights(tiny_en, profile, bit_map(profile, keys).options)
    assert set(weights) == set(tiny_en.derived) | {
        profile.units[blocks[0]].parameter,
        profile.units[5].parameter,
    }
    embedding = weights[profile.units[blocks[0]].parameter]
    original = tiny_en.module.get_parameter(profile.units[blocks[0]].parameter)
    for index in blocks:
        unit = profile.units[index]
        part = embedding[unit.start : unit.stop]
        equal = torch.equal(part, original[unit.start : unit.stop])
        assert equal == (bits[index] == 16)
        if not equal:  # no group of 64 columns holds more values than its codes
            group = part[:50, :64]
            assert max(len(torch.unique(row)) for row in group) <= 2 ** bits[index]


def test_a_profile_of_other_weights_is_refused(profile: Profile, random_whisper: Path) -> None:
    model = load_model(str(random_whisper))
    speech = load_manifest(DEMO, limit=1)
    with pytest.raises(ModelError, match="other weights"):
        measure(model, profile, bit_map(profile, uniform(profile, 4)), speech)


def test_speech_without_texts_is_refused(
    tiny_en: SpeechModel, profile: Profile, tones: Path
) -> None:
    speech = load_manifest(tones, limit=1)
    silent = dataclasses.replace(
        speech, utterances=(dataclasses.replace(speech.utterances[0], text=" "),)
    )
    with pytest.raises(SpeechError, match="no reference texts"):
        measure(tiny_en, profile, bit_map(profile, uniform(profile, 4)), silent)


def test_baseline_is_cached_and_made_again_when_damaged(
    random_whisper: Path, tones: Path, cache: Path
) -> None:
    model, speech = load_model(str(random_whisper)), load_manifest(tones)
    stages: list[str] = []
    first, states = baseline(model, speech.utterances, lambda p: stages.append(p.stage))
    assert stages
    stages.clear()
    again, _ = baseline(model, speech.utterances, lambda p: stages.append(p.stage))
    assert not stages and again == first
    (path,) = (cache / "baselines").iterdir()
    path.write_bytes(path.read_bytes()[:50])
    remade, restates = baseline(model, speech.utterances, lambda p: stages.append(p.stage))
    assert stages and remade == first
    assert all(torch.equal(a, b) for a, b in zip(states, restates, strict=True))


def test_size_and_prediction_are_the_solver_s(
    random_whisper: Path, tiny_en: SpeechModel, profile: Profile
) -> None:
    from genptq_core.allocation.problem import problem as make_problem
    from genptq_core.allocation.solving import solve

    problem = make_problem(profile)
    found = solve(problem, 20_000_000)
    chosen, speech = bit_map(profile, found.options), load_manifest(DEMO, limit=1)
    # Figures are of the map, whatever its weights: rounding them all would take ten seconds.
    record = measure(tiny_en, profile, chosen, speech, weights={})
    assert record.bytes == found.bytes <= 20_000_000
    assert record.avg_bits == pytest.approx(found.avg_bits)
    choice = np.array([profile.menu.index(option) for option in found.options])
    assert record.predicted_loss == pytest.approx(float(quadratic_loss(profile)(choice)))


def test_transcribe_files(tiny_en: SpeechModel) -> None:
    speech = load_manifest(DEMO, limit=1)
    texts = transcribe_files(tiny_en, speech)
    assert len(texts) == 1 and all(texts)
