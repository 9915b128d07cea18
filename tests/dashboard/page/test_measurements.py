"""Speech sets on the page: their names, their words in links, and what a map costs on each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dashboard.page.costs import MEASURED, PREDICTED, UNKNOWN, cost_on
from dashboard.page.measurements import Measurements, measurements_of
from genptq_core.measurement.records import Measured
from genptq_core.profile import Profile
from tests.core import synthetic


@pytest.fixture
def profile() -> Profile:
    return synthetic.profile(0, units=4)


@pytest.fixture
def records(profile: Profile) -> list[Measured]:
    """Maps whose words were counted in two ways: the basic one finds more of them wrong."""
    usual = [
        synthetic.measured(profile, bits, wer_increase=0.3 / bits**2) for bits in synthetic.BITS
    ]
    basic = [
        replace(
            m,
            normalizer="basic",
            words=150,
            wer=m.wer + 3 * m.wer_increase + 0.1,
            wer_full_precision=m.wer_full_precision + 0.1,
            wer_increase=4 * m.wer_increase,
        )
        for m in usual
    ]
    return [*usual, *basic]


def test_the_same_speech_counted_in_two_ways_is_two_sets(records: list[Measured]) -> None:
    measured = measurements_of(records)
    usual, basic = measured.sets
    assert (usual.normalizer, basic.normalizer) == ("whisper-english", "basic")
    assert measured.usual == usual
    short = usual.speech_digest[:10]
    words = [measured.word(s) for s in measured.sets]
    assert words == [f"{short}:whisper-english", f"{short}:basic"]
    assert [measured.named(word) for word in words] == [usual, basic]
    assert measured.named(short) == usual, "a link from before has the digest alone"
    assert measured.named(f"{short}:other") is None and measured.named("") is None
    assert measured.name(basic) == "synthetic, basic"
    assert measured.label(basic) == "synthetic, basic (10 utterances, 5 maps)"


def test_a_set_with_speech_of_its_own_needs_no_normalizer(records: list[Measured]) -> None:
    measured = measurements_of(records[:1])
    (only,) = measured.sets
    assert measured.word(only) == only.speech_digest[:10]
    assert measured.named(f"{measured.word(only)}:whisper-english") == only
    assert measured.label(only) == "synthetic (10 utterances, 1 map)"


def test_nothing_measured_is_no_set() -> None:
    measured = Measurements()
    assert measured.usual is None and measured.named("0123456789") is None
    assert measured.curve(None) is None


def test_a_map_costs_what_its_own_set_says(records: list[Measured]) -> None:
    measured = measurements_of(records)
    usual, basic = measured.sets
    costs = [cost_on(s, measured.curve(s), "another", 0.05) for s in (usual, basic)]
    increases = [cost.increase for cost in costs]
    assert increases[0] is not None and increases[1] is not None
    assert increases[1] > 2 * increases[0]
    for cost in costs:
        assert cost.how == PREDICTED and cost.wer is not None and cost.increase is not None
        assert cost.wer == pytest.approx(cost.speech.wer_full_precision + cost.increase)
        alone = measurements_of(cost.speech.records)
        curve = alone.curve(alone.usual)
        assert curve is not None and float(curve.increase(0.05)) == cost.increase


def test_a_cost_is_measured_else_predicted_else_unknown(records: list[Measured]) -> None:
    measured = measurements_of(records)
    (usual, _) = measured.sets
    curve, record = measured.curve(usual), records[2]
    assert curve is not None
    cost = cost_on(usual, curve, record.map_digest, 1e-9)
    assert (cost.how, cost.record, cost.wer) == (MEASURED, record, record.wer)
    assert (cost.increase, cost.interval) == (record.wer_increase, record.ci95)
    assert not cost.extrapolated
    low, high = record.ci95
    full = record.wer_full_precision
    assert cost.wer_interval == (pytest.approx(full + low), pytest.approx(full + high))
    assert not cost_on(usual, curve, "another", curve.largest).extrapolated
    far = cost_on(usual, curve, "another", 1.01 * curve.largest)
    assert far.extrapolated and far.wer_interval is not None and far.wer_interval[0] >= 0
    unknown = cost_on(usual, None, "another", 0.05)
    assert (unknown.how, unknown.wer, unknown.increase) == (UNKNOWN, None, None)
    assert unknown.interval is None and unknown.wer_interval is None
