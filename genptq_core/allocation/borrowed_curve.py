"""The increase of WER that a predicted loss stands for, where few maps of a model were measured.

The curve of `wer_curve` differs from model to model and from speech to speech, but not by orders of
magnitude: those that were measured say where another one may lie. Each is

    increase(loss) = exp(a) * (loss / REFERENCE)^exp(b)

and over models and speech, a and b are taken as normally distributed, with a mean and a variance
estimated from the measured ones (empirical Bayes; Gelman et al., *Bayesian Data Analysis*, 3rd
edition, chapter 5). That is the prior for a new curve; maps of its own narrow it, from the first on
(the posterior's mode, and Laplace's approximation around it; the same, chapter 4).

Deviations are counted in arcsinh(increase / UNIT): differences near zero, ratios far from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .wer_curve import WORST_INCREASE

REFERENCE = 0.01
"""Loss at which curves are compared, nats per token."""

UNIT = 0.01
"""Increase of WER at which differences pass over into ratios, a fraction."""

SPREAD = (0.8, 0.3)
"""Standard deviations over models and speech of a and b that are assumed besides the measured
ones: a factor of 2.2 in the increase, and of 1.35 in the power."""

_ASSUMED = 3  # measured curves that these count as much as
_CENTRE = (np.log(0.01), 0.0)  # where the mean is without any: a hundredth of a nat costs a point
_WIDE = (1.5, 0.5)  # how little that is known
_NOISE = 0.4  # deviation of measured maps from their curve, in units of arcsinh
_NOISE_COUNTS = 6  # maps that it counts as much as, against a model's own
_STEPS = 6  # of the estimation of mean and variance, which settle after five
_QUANTILE = 1.645  # 90 % of a normal distribution lie within it
_GRID = np.geomspace(1e-7, 10, 1600)  # losses among which those for an increase are looked up


@dataclass(frozen=True)
class Points:
    """Maps measured on one speech set.

    Attributes:
        name: whose they are.
        loss: predicted loss, nats per token, positive, shape (maps,).
        increase: measured increase of WER, a fraction, shape (maps,).
        sampling: standard deviation of each increase from the choice of utterances, a fraction,
            shape (maps,).
    """

    name: str
    loss: np.ndarray
    increase: np.ndarray
    sampling: np.ndarray


@dataclass(frozen=True)
class BorrowedCurve:
    """A guess at the curve from predicted loss to the increase of WER, with its band.

    Its band is meant to hold 90 % of measured maps, as `WerCurve`'s does; it is wider, for the
    curve itself is uncertain.

    Attributes:
        level, steepness: a and b of the module's formula.
        variances: variance of a, covariance, and variance of b.
        noise: standard deviation of measured maps around their curve, in units of arcsinh.
        points: maps of its own that narrowed it.
        largest: largest loss that was measured, of other models or its own; beyond it the curve is
            a guess in form, too.
        borrowed_from: whose curves it rests on.
    """

    level: float
    steepness: float
    variances: tuple[float, float, float]
    noise: float
    points: int
    largest: float
    borrowed_from: tuple[str, ...]

    @property
    def floor(self) -> float:
        """Upper end of the band where nothing is lost, a fraction."""
        return float(UNIT * np.sinh(_QUANTILE * self.noise))

    def increase(self, loss: np.ndarray | float) -> np.ndarray:
        """Predicted increase of WER, a fraction."""
        return _increase(self.level, self.steepness, np.asarray(loss, dtype=np.float64))

    def interval(self, loss: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the band around `increase`, fractions."""
        x = np.asarray(loss, dtype=np.float64)
        middle, (by_level, by_steepness) = self.increase(x), _slopes(self, x)
        of_level, both, of_steepness = self.variances
        variance = of_level * by_level**2 + of_steepness * by_steepness**2
        variance += 2 * both * by_level * by_steepness + self.noise**2
        half = _QUANTILE * np.sqrt(variance)
        low, high = (UNIT * np.sinh(_deviation(middle) + side * half) for side in (-1, 1))
        return np.maximum(low, -WORST_INCREASE), np.minimum(high, WORST_INCREASE)

    def loss_for(self, increase: float) -> float:
        """Largest loss whose band stays under an increase of WER, a fraction; 0 if none does."""
        upper = np.maximum.accumulate(self.interval(_GRID)[1])
        within = int(np.searchsorted(upper, increase))
        return float(_GRID[within - 1]) if within else 0.0


def borrow(lent: Sequence[Points], own: Points | None = None) -> BorrowedCurve:
    """The curve of a model and speech of which too little was measured.

    Args:
        lent: maps of other models, or of the model on other speech, set by set; the more alike, the
            better. Without any, the curve is as wide as what is assumed.
        own: the maps that were measured, if any.
    """
    mean, variance = _prior([p for p in lent if len(p.loss)])
    noise = _noise(lent)
    mode, covariance = _posterior(own, mean, variance, noise)
    if own is not None and len(own.loss):
        noise = _noise_with(own, mode, noise)
        mode, covariance = _posterior(own, mean, variance, noise)
    every = [*lent, *([] if own is None else [own])]
    return BorrowedCurve(
        level=float(mode[0]),
        steepness=float(mode[1]),
        variances=(float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])),
        noise=noise,
        points=0 if own is None else len(own.loss),
        largest=max((float(p.loss.max()) for p in every if len(p.loss)), default=REFERENCE),
        borrowed_from=tuple(dict.fromkeys(p.name for p in lent)),
    )


def _increase(level: float, steepness: float, loss: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        raw = np.exp(level) * (loss / REFERENCE) ** np.exp(steepness)
    return np.minimum(raw, WORST_INCREASE)


def _deviation(increase: np.ndarray) -> np.ndarray:
    return np.arcsinh(np.minimum(increase, WORST_INCREASE) / UNIT)


def _slopes(curve: BorrowedCurve, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the curve, in units of arcsinh, moves with a and with b."""
    middle = curve.increase(loss)
    by_level = middle / np.hypot(UNIT, middle)
    logarithm = np.log(np.maximum(loss, _GRID[0]) / REFERENCE)
    return by_level, by_level * np.exp(curve.steepness) * logarithm


def _posterior(
    points: Points | None, mean: np.ndarray, variance: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Most likely a and b, shape (2,), and their covariance, shape (2, 2), given measured maps."""
    if points is None or not len(points.loss):
        return mean, np.diag(variance)
    from scipy.optimize import least_squares

    measured = _deviation(points.increase)
    apart = np.minimum(np.asarray(points.sampling), WORST_INCREASE)
    error = np.hypot(noise, apart / np.hypot(UNIT, points.increase))

    def weighted(parameters: np.ndarray) -> np.ndarray:
        guess = _deviation(_increase(parameters[0], parameters[1], points.loss))
        # A map that ran away lies far from any curve, and is to move none.
        return np.append(
            _bounded((guess - measured) / error), (parameters - mean) / np.sqrt(variance)
        )

    fit = least_squares(weighted, mean)
    return fit.x, np.linalg.inv(fit.jac.T @ fit.jac)


def _bounded(residual: np.ndarray) -> np.ndarray:
    """Residuals whose squares grow as Huber's loss does beyond two standard deviations."""
    size = np.abs(residual)
    beyond = np.sqrt(np.maximum(4 * size - 4, 0.0))
    return np.where(size <= 2, residual, np.sign(residual) * beyond)


def _prior(lent: Sequence[Points]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a and b over models and speech, each shape (2,)."""
    assumed = np.square(SPREAD)
    mean, variance = np.array(_CENTRE), assumed.copy()
    if not lent:
        return mean, variance + np.square(_WIDE)
    for _ in range(_STEPS):
        fits = [_posterior(points, mean, variance, _NOISE) for points in lent]
        modes = np.array([mode for mode, _ in fits])
        spreads = np.array([np.diag(covariance) for _, covariance in fits])
        prior = 1 / np.square(_WIDE)
        mean = (modes.sum(axis=0) / variance + np.array(_CENTRE) * prior) / (
            len(lent) / variance + prior
        )
        around = (np.square(modes - mean) + spreads).sum(axis=0)
        variance = (_ASSUMED * assumed + around) / (_ASSUMED + len(lent))
    # The mean is not known any better than so many curves tell it.
    return mean, variance * (1 + 1 / len(lent))


def _noise(lent: Sequence[Points]) -> float:
    """Standard deviation of measured maps around the curve of their set, in units of arcsinh."""
    squares, count = _NOISE_COUNTS * _NOISE**2, float(_NOISE_COUNTS)
    for points in lent:
        if len(points.loss) > 2:
            mode, _ = _posterior(points, np.array(_CENTRE), np.square(_WIDE), _NOISE)
            squares += float(_residuals(points, mode, _NOISE).sum())
            count += len(points.loss) - 2
    return float(np.sqrt(squares / count))


def _noise_with(own: Points, mode: np.ndarray, noise: float) -> float:
    """The same for a set that has some maps of its own, against what others say.

    How few words it has is known by then: that alone may move a map as far.
    """
    squares = _NOISE_COUNTS * noise**2 + float(_residuals(own, mode, noise).sum())
    sampling = float(np.median(own.sampling / np.hypot(UNIT, own.increase)))
    return max(float(np.sqrt(squares / (_NOISE_COUNTS + len(own.loss)))), min(sampling, 1.0))


def _residuals(points: Points, mode: np.ndarray, noise: float) -> np.ndarray:
    """Squared deviations of measured maps; one that ran away counts as three times the noise."""
    apart = _deviation(_increase(mode[0], mode[1], points.loss)) - _deviation(points.increase)
    return np.minimum(np.square(apart), 9 * noise**2)
