"""Adapting to a kind of speech: a few maps measured on a few recordings, and kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from genptq_core.errors import ModelError
from genptq_core.loading import load_model
from genptq_core.measurement.adapting import FEWEST, WIDTHS, adapt, listened, maps_to_measure
from genptq_core.measurement.speech_scale import form_of, load_adapted, scale_for
from genptq_core.progress import Progress
from genptq_core.speech.utterances import Utterance, load_manifest, speech_set
from tests.core import synthetic


def test_maps_are_measured_once_and_give_a_scale(
    random_whisper: Path, six_tones: Path, tmp_path: Path
) -> None:
    model = load_model(str(random_whisper))
    made = synthetic.profile_of(model, bits=(3, 4, 8), rates=(2, 4), group_size=8)
    speech = load_manifest(six_tones)
    steps: list[Progress] = []
    found = adapt(model, made, tmp_path, speech, steps.append)
    assert {form_of(made, m.options) for m in found.maps} == {"coded", "grid"}
    assert len(found.recordings) == 6 and all(m.loss > 0 for m in found.maps)
    assert load_adapted(tmp_path, made) == [found]
    for form in ("coded", "grid"):
        scale = scale_for(tmp_path, made, speech.digest, form)
        assert scale is not None and np.isfinite(float(scale(0.01)))
    assert steps[-1] == Progress("adapting", len(found.maps), len(found.maps))
    # A second call measures nothing: weights that cannot be had are not asked for.
    without = dataclasses.replace(made, sketches={})
    assert adapt(model, without, tmp_path, speech) == found


def test_another_model_is_refused(random_whisper: Path, six_tones: Path, tmp_path: Path) -> None:
    model = load_model(str(random_whisper))
    with pytest.raises(ModelError, match="other weights"):
        adapt(model, synthetic.profile(0), tmp_path, load_manifest(six_tones))


def test_a_few_recordings_of_a_large_set_are_listened_to(
    six_tones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    six = load_manifest(six_tones).utterances
    many = speech_set("many", [dataclasses.replace(six[i % 6], text=str(i)) for i in range(200)])
    seconds: dict[str, float] = {u.text: 1.0 for u in many.utterances}

    def lasts(recording: Utterance) -> float:
        return seconds[recording.text]

    monkeypatch.setattr("genptq_core.measurement.adapting.duration", lasts)
    assert len(listened(many)) == 180
    assert listened(many) == listened(many)
    monkeypatch.setattr("genptq_core.measurement.adapting.duration", lambda _: 20.0)
    assert len(listened(many)) == FEWEST


def test_a_profile_of_one_form_is_measured_in_that_form() -> None:
    made = synthetic.profile(0, bits=(), rates=(2, 3, 4))
    maps = maps_to_measure(made)
    assert len(maps) == len(WIDTHS["native"])
    assert {form_of(made, options) for options in maps} == {"coded"}
