"""The sets that a profile was measured on, and a map's cost on each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from genptq_core.allocation.wer_curve import LEAST_POINTS, fit_wer_curve
from genptq_core.measurement.speech_sets import across_sets, curve_of, measured_sets, usual_set
from genptq_core.measurement.store import load_measured, save_measured
from tests.core import synthetic


def test_records_are_gathered_by_speech_and_normalizer(tmp_path: Path) -> None:
    profile = synthetic.profile(0)
    narrow = synthetic.measured(profile, 3, speech="a")
    records = [
        synthetic.measured(profile, 4, speech="a"),
        dataclasses.replace(narrow, wer=0.5),  # measured again: the later one counts
        dataclasses.replace(synthetic.measured(profile, 3, speech="b"), words=900),
        dataclasses.replace(narrow, normalizer="basic"),
    ]
    for record in (narrow, *records):
        save_measured(tmp_path, profile.digest, record)
    known = load_measured(tmp_path, profile.digest)
    assert len(known) == 4
    sets = measured_sets(known)
    assert [(s.name, s.normalizer, len(s.records)) for s in sets] == [
        ("b", "whisper-english", 1),
        ("a", "basic", 1),
        ("a", "whisper-english", 2),
    ]
    assert sets[0].words == 900 and sets[0].utterances == 10
    sizes = [record.bytes for record in sets[2].records]
    assert sizes == sorted(sizes)
    assert sum(len(s.records) for s in sets) == len(known)
    same_map = across_sets(known, narrow.map_digest)
    assert set(same_map) == {s.key for s in sets}
    assert same_map[narrow.set_key].wer == 0.5
    assert across_sets(known, "another") == {}


def test_without_records_there_are_no_sets() -> None:
    assert measured_sets([]) == ()
    assert usual_set([]) is None


def test_each_normalizer_has_a_curve_of_its_own() -> None:
    """The same speech with words counted in two ways is two sets: one curve would fit neither."""
    profile = synthetic.profile(0, units=4)
    strict = [
        synthetic.measured(profile, bits, wer_increase=0.3 / bits**2) for bits in synthetic.BITS
    ]
    lenient = [
        dataclasses.replace(record, normalizer="basic", wer_increase=4 * record.wer_increase)
        for record in strict
    ]
    sets = measured_sets([*strict, *lenient])
    assert len({s.speech_digest for s in sets}) == 1
    curves = {s.normalizer: curve_of(s) for s in sets}
    for name, records in (("whisper-english", strict), ("basic", lenient)):
        alone = fit_wer_curve(
            [m.predicted_loss for m in records], [m.wer_increase for m in records]
        )
        curve = curves[name]
        assert curve is not None and alone is not None
        assert curve.points == LEAST_POINTS
        assert curve.increase(0.05) == pytest.approx(float(alone.increase(0.05)), rel=1e-3)
    assert curves["basic"].increase(0.05) > 2 * curves["whisper-english"].increase(0.05)


def test_the_usual_set_has_most_words_of_those_with_a_curve() -> None:
    profile = synthetic.profile(0, units=4)
    many = [synthetic.measured(profile, bits, speech="many") for bits in synthetic.BITS]
    few = [dataclasses.replace(m, speech_digest="f" * 64, words=9000) for m in many[:3]]
    more = [dataclasses.replace(m, speech_digest="e" * 64, words=300) for m in many]
    sets = measured_sets([*many, *few, *more])
    chosen = usual_set(sets)
    assert chosen is not None and chosen.words == 300
    assert usual_set(sets, {s.key: curve_of(s) for s in sets}) == chosen
    assert curve_of(sets[0]) is None and sets[0].words == 9000
    without = usual_set(measured_sets([*few, *many[:4]]))
    assert without is not None and len(without.records) == 4
