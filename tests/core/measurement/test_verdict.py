"""The worst that is known of a map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genptq_core.measurement.runaways import RanAway
from genptq_core.measurement.speech_sets import curve_of, measured_sets
from genptq_core.measurement.verdict import LIMITS, levels, predicted_worst, verdict_of
from tests.core import synthetic


def test_a_verdict_is_of_the_worst_set() -> None:
    profile = synthetic.profile(0, units=4)
    calm = [
        synthetic.measured(profile, bits, speech="calm", wer_increase=0.001 * (10 - bits))
        for bits in synthetic.BITS
    ]
    # On another set, where that map ran away, and nothing else was measured.
    runaway = replace(calm[0], speech="other", speech_digest="9" * 64, ci95=(0.1, 0.9))
    digest, loss = runaway.map_digest, runaway.predicted_loss
    alone, both = measured_sets(calm), measured_sets([*calm, runaway])
    before = verdict_of(alone, {s.key: curve_of(s) for s in alone}, digest, loss)
    after = verdict_of(both, {s.key: curve_of(s) for s in both}, digest, loss)
    assert after.level == 2 and after.speech is not None and after.speech.name == "other"
    assert after.worst == pytest.approx(0.9) and before.worst < 0.9


def test_limits_are_the_levels_and_a_guess_is_never_safe() -> None:
    worst = np.array([-0.01, 0.0, LIMITS[0], LIMITS[0] + 1e-6, LIMITS[1], 0.5])
    assert levels(worst, np.zeros(6, dtype=bool)).tolist() == [0, 0, 0, 1, 1, 2]
    assert levels(np.array([0.0, 0.5]), np.array([True, True])).tolist() == [1, 2]


def test_nothing_is_said_where_nothing_was_measured() -> None:
    assert verdict_of((), {}, "map", 0.1).level is None
    assert predicted_worst((), {}, np.array([0.1, 0.2])).sets == ()


def test_beyond_what_was_measured_it_is_a_guess() -> None:
    profile = synthetic.profile(0, units=4)
    sets = measured_sets(
        [synthetic.measured(profile, bits, wer_increase=0.002) for bits in synthetic.BITS]
    )
    curves = {s.key: curve_of(s) for s in sets}
    curve = curves[sets[0].key]
    assert curve is not None
    verdict = verdict_of(sets, curves, "unmeasured", 2 * curve.largest)
    assert verdict.extrapolated and verdict.level
    assert not verdict_of(sets, curves, "unmeasured", curve.largest).extrapolated


def test_who_runs_away_is_not_safe() -> None:
    profile = synthetic.profile(0, units=4)
    calm = RanAway((), (), ("a",), (), None)

    def level(runaways: RanAway | None, utterances: int) -> tuple[int | None, int]:
        record = replace(
            synthetic.measured(profile, 8, wer_increase=0.002),
            utterances=utterances,
            runaways=runaways,
        )
        found = verdict_of(measured_sets([record]), {record.set_key: None}, record.map_digest, 0.1)
        return found.level, found.runaways

    assert level(None, 50) == level(calm, 50) == (0, 0)
    assert level(replace(calm, loops=("a",)), 50) == (0, 0)  # so does full precision
    assert level(replace(calm, loops=("b",)), 100) == (1, 1)
    assert level(replace(calm, loops=("b",), stops=("c",)), 100) == (2, 2)
