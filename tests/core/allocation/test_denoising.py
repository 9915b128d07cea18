"""Denoised sensitivities: noise is shrunk, what is real stays."""

from __future__ import annotations

import numpy as np
import pytest

from genptq_core.allocation.denoising import FEWEST, denoised
from genptq_core.options import coded_options, grid_options

_MENU = coded_options((2, 2.5, 3, 4)) + grid_options((2, 3, 4), (64,))
_BITS = np.array([option.bits for option in _MENU])


def _costs(utterances: int, noise: float, real: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Costs of utterances, and those that infinitely many would have: shape (units, options)."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(30, 1))
    truth = np.exp(level - np.log(4) * _BITS + real * rng.normal(size=(30, len(_MENU))))
    drawn = truth * np.exp(noise * rng.normal(size=(utterances, *truth.shape)) - noise**2 / 2)
    return drawn, truth


def test_noise_is_taken_out() -> None:
    """Costs of one structure and much noise come nearer to the truth, in every form."""
    drawn, truth = _costs(16, noise=1.0, real=0.0)
    raw = drawn.mean(axis=0)
    better = raw * denoised(drawn, np.ones(16), _MENU)
    for columns in (slice(0, 4), slice(4, 7)):
        before = np.log(raw / truth)[:, columns].std()
        after = np.log(better / truth)[:, columns].std()
        assert after < 0.75 * before


def test_what_is_real_stays() -> None:
    drawn, _ = _costs(64, noise=0.1, real=1.0)
    np.testing.assert_allclose(denoised(drawn, np.ones(64), _MENU), 1.0, rtol=0.05)


def test_it_does_not_depend_on_the_unit_of_costs_nor_on_other_forms() -> None:
    drawn, _ = _costs(16, noise=0.7, real=0.3)
    lengths = np.arange(1.0, 17.0)
    factors = denoised(drawn, lengths, _MENU)
    np.testing.assert_allclose(denoised(7 * drawn, 3 * lengths, _MENU), factors)
    np.testing.assert_allclose(denoised(drawn[:, :, :4], lengths, _MENU[:4]), factors[:, :4])


def test_few_utterances_change_nothing() -> None:
    drawn, _ = _costs(FEWEST - 1, noise=1.0, real=0.0)
    assert (denoised(drawn, np.ones(FEWEST - 1), _MENU) == 1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_unit_with_an_option_that_tells_nothing_is_left_alone(value: float) -> None:
    drawn, _ = _costs(16, noise=1.0, real=0.0)
    drawn[:, 3, 1] = value
    factors = denoised(drawn, np.ones(16), _MENU)
    assert (factors[3, :4] == 1).all() and (factors[3, 4:] != 1).any()
    assert np.isfinite(factors).all()


def test_one_unit_and_one_option_are_nothing_to_compare() -> None:
    drawn, _ = _costs(16, noise=1.0, real=0.0)
    assert (denoised(drawn[:, :1], np.ones(16), _MENU) == 1).all()
    assert (denoised(drawn[:, :, :1], np.ones(16), _MENU[:1]) == 1).all()
