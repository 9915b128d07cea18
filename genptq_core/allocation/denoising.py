"""Denoised sensitivities: what is noise in the cost of an option is taken back, before choosing.

A solver that looks for cheap options finds those that a few utterances make look cheap. But costs
have structure: in each form of storage, the logarithm of the cost of unit l at option o is

    log d[l,o] = unit[l] + option[o] + slope[l] * bits[o] + rest[l,o],

where a cost falls as 4^-bits, so that slope and rest are small. How much of these two is real is
told by halves of the utterances, which see the same truth and noise of their own: a part whose
halves correlate with r is kept by 2 r / (1 + r) on the whole (Spearman, "Correlation calculated
from faulty data", British Journal of Psychology, 1910), the rest of it is shrunk away (empirical
Bayes; Efron and Morris, "Data analysis using Stein's estimator", JASA 1975).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ..options import Option

FEWEST = 8
"""Utterances that halves need to judge each other."""

_BLOCKS = 8
_MOST = 4.0  # natural logarithm of what a cost may be changed by


def denoised(costs: np.ndarray, lengths: np.ndarray, menu: Sequence[Option]) -> np.ndarray:
    """Factors on the costs, near 1 where nothing is noise.

    Args:
        costs: of every utterance, shape (utterances, units, options); not finite where a unit
            cannot be stored so.
        lengths: tokens of each utterance, shape (utterances,).
        menu: the options, in which 16 bit is not.

    Returns:
        Shape (units, options); all 1 where the utterances are too few to tell.
    """
    factors = np.ones(costs.shape[1:])
    utterances = len(costs)
    if utterances < FEWEST:
        return factors
    weights = np.concatenate([np.ones((1, utterances)), _halves(utterances)])
    for form in dict.fromkeys(option.form for option in menu):
        columns = [i for i, option in enumerate(menu) if option.form == form]
        bits = np.array([menu[i].bits for i in columns], dtype=np.float64)
        part = costs[:, :, columns]
        # Units that can be stored as every option: only these tell what an option costs.
        whole = np.flatnonzero((np.isfinite(part) & (part >= 0)).all(axis=(0, 2)))
        flat = part[:, whole].reshape(utterances, -1)
        mean = (weights @ flat) / (weights @ lengths)[:, None]
        logs = np.log(np.maximum(mean, np.finfo(np.float64).tiny))
        whole_set, *halves = logs.reshape(len(weights), len(whole), len(columns))
        some = np.array([(h > np.log(1e-200)).all(axis=1) for h in (whole_set, *halves)])
        sound = np.flatnonzero(some.all(axis=0))
        if len(sound) < 2 or len(columns) < 2:
            continue
        change = _shrunk(whole_set[sound], [h[sound] for h in halves], bits) - whole_set[sound]
        factors[np.ix_(whole[sound], np.array(columns))] = np.exp(np.clip(change, -_MOST, _MOST))
    return factors


def _halves(utterances: int) -> np.ndarray:
    """Which utterances are in a half, and then which are in the other: (2 splits, utterances).

    Halves are of blocks of utterances, because those that follow each other often have a speaker
    in common, who makes halves agree.
    """
    block = np.arange(utterances) * _BLOCKS // utterances
    out = []
    for others in itertools.combinations(range(1, _BLOCKS), _BLOCKS // 2 - 1):
        first = np.isin(block, (0, *others))
        out += [first, ~first]
    return np.array(out, dtype=np.float64)


def _shrunk(logs: np.ndarray, halves: Sequence[np.ndarray], bits: np.ndarray) -> np.ndarray:
    """Logarithms of the costs, shape (units, options), with slopes and rests shrunk."""
    even, slope, rest = _parts(logs, bits)
    pairs = [
        (_parts(first, bits), _parts(second, bits))
        for first, second in zip(halves[::2], halves[1::2], strict=True)
    ]
    for index, part in ((1, slope), (2, rest)):
        kept = _kept([(first[index], second[index]) for first, second in pairs])
        even = even + kept * part
    return even


def _parts(logs: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit and option effects together; the part linear in bits; what is left."""
    even = logs.mean(axis=1, keepdims=True) + logs.mean(axis=0) - logs.mean()
    left = logs - even
    centred = bits - bits.mean()
    spread = float(centred @ centred)
    slope = np.outer(left @ centred / spread, centred) if spread > 0 else np.zeros_like(left)
    return even, slope, left - slope


def _kept(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The share of a part that is no noise, from how the halves agree."""
    together = sum(float((first * second).sum()) for first, second in pairs)
    alone = sum(float((first**2 + second**2).sum()) / 2 for first, second in pairs)
    agreement = max(together, 0.0) / alone if alone > 0 else 1.0
    return 2 * agreement / (1 + agreement)
