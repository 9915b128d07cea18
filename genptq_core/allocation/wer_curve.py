"""The increase of WER that a predicted loss stands for: a curve fitted on measured maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import InfeasibleError
from .front import Front
from .problem import Problem
from .solving import Allocation, solve

LEAST_POINTS = 5
"""Measured maps needed before a curve is fitted."""

COVERAGE = 0.9
"""Fraction of held-out measured points that the band is made to hold."""

WORST_INCREASE = 1.0
"""WER increases count up to here, a fraction: how long a broken model loops says nothing more."""

_NOISE = 0.002  # sampling error of a WER increase near zero; keeps tiny losses from ruling the fit
_PRIOR = 1.0  # pull towards power 1: few noisy maps may fit any power, and run wild beyond them
_BAND_START = 0.005  # increase at which the band's fixed and proportional parts are equal
_HALVINGS = 6  # steps between two points of the front, to the smallest map that is good enough


class Curve(Protocol):
    """A map from predicted loss to the increase of WER, with a band: own, or borrowed.

    Attributes:
        floor: upper end of the band where nothing is lost, a fraction.
        points: measured maps of the model's own that it rests on.
        largest: largest loss that was measured; beyond it the curve is a guess.
        borrowed_from: the models whose curves it rests on, none where it is the model's own.
    """

    @property
    def floor(self) -> float: ...
    @property
    def points(self) -> int: ...
    @property
    def largest(self) -> float: ...
    @property
    def borrowed_from(self) -> tuple[str, ...]: ...

    def increase(self, loss: np.ndarray | float) -> np.ndarray:
        """Predicted increase of WER, a fraction."""

    def interval(self, loss: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the band around `increase`, fractions."""

    def loss_for(self, increase: float) -> float:
        """Largest loss whose band stays under an increase of WER, a fraction; 0 if none does."""


@dataclass(frozen=True)
class WerCurve:
    """A monotone map from predicted loss to the increase of WER, with its band.

        increase(loss) = min(scale * loss^power, 1)

    Attributes:
        scale, power: the fitted curve.
        band, floor: half width of the band, floor + band * increase, which held `COVERAGE` of the
            measured points when they were left out of the fit; floor is a WER fraction.
        held_out: mean absolute error of points left out of the fit, a WER fraction, among those
            measured below +5 percentage points.
        points: number of measured points that were fitted.
        largest: largest loss that was fitted; beyond it the curve is a guess.
    """

    scale: float
    power: float
    band: float
    floor: float
    held_out: float
    points: int
    largest: float

    @property
    def borrowed_from(self) -> tuple[str, ...]:
        """Nobody: it is the model's own."""
        return ()

    def increase(self, loss: np.ndarray | float) -> np.ndarray:
        """Predicted increase of WER, a fraction."""
        raw = self.scale * np.asarray(loss, dtype=np.float64) ** self.power
        return np.minimum(raw, WORST_INCREASE)

    def interval(self, loss: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the band around `increase`, fractions."""
        middle = self.increase(loss)
        half = self.floor + self.band * middle
        return middle - half, middle + half

    def loss_for(self, increase: float) -> float:
        """Largest loss whose band stays under an increase of WER, a fraction; 0 if none does."""
        if increase <= self.floor:
            return 0.0
        middle = (increase - self.floor) / (1 + self.band)
        with np.errstate(over="ignore", divide="ignore"):  # on a flat curve, any loss will do
            return float((np.float64(middle) / self.scale) ** (1 / self.power))


def can_fit(loss: Sequence[float], increase: Sequence[float]) -> bool:
    """Whether measured points are enough for a curve: `LEAST_POINTS` of positive loss, whose
    increase is below `WORST_INCREASE / 2`."""
    useful = (np.asarray(loss) > 0) & (np.asarray(increase) < WORST_INCREASE / 2)
    return int(useful.sum()) >= LEAST_POINTS


def fit_wer_curve(loss: Sequence[float], increase: Sequence[float]) -> WerCurve | None:
    """A curve fitted on measured points, with the band that points left out one at a time need.

    Args:
        loss: predicted loss of each measured map, nats per token.
        increase: its measured increase of WER, a fraction.

    Returns:
        The curve, or None where `can_fit` says no.
    """
    if not can_fit(loss, increase):
        return None
    x, y = np.asarray(loss, dtype=np.float64), np.asarray(increase, dtype=np.float64)
    changed = x > 0
    x, y = x[changed], np.minimum(y[changed], WORST_INCREASE)
    scale, power = _fit_power(x, y)
    residual = np.empty(len(x))
    relative = np.empty(len(x))
    for index in range(len(x)):
        others = np.arange(len(x)) != index
        a, p = _fit_power(x[others], y[others])
        guess = min(a * x[index] ** p, WORST_INCREASE)
        residual[index] = abs(y[index] - guess)
        relative[index] = residual[index] / (_BAND_START + guess)
    band = float(np.quantile(relative, COVERAGE))
    useful = y < 0.05
    held_out = float(residual[useful].mean()) if useful.any() else float(residual.mean())
    return WerCurve(
        scale=scale,
        power=power,
        band=band,
        floor=band * _BAND_START,
        held_out=held_out,
        points=len(x),
        largest=float(x.max()),
    )


def solve_wer_increase(problem: Problem, front: Front, curve: Curve, increase: float) -> Allocation:
    """The smallest map whose predicted WER increase, with its band, stays under `increase`.

    Args:
        problem: the problem that `front` was computed from.
        front: its predicted front.
        curve: the curve, fitted or borrowed.
        increase: largest increase, a fraction (0.01 is one percentage point).

    Raises:
        InfeasibleError: no map is predicted to stay under it.
    """
    most = curve.loss_for(increase)
    enough = np.flatnonzero(front.loss <= most)
    if not len(enough):
        raise InfeasibleError(
            f"No map is predicted to keep the WER increase under {100 * increase:.2f} points.",
            f"The least that can be promised is {100 * curve.floor:.2f} points.",
            smallest=int(front.bytes[-1]),
        )
    best = solve(problem, int(front.bytes[enough[0]]))
    # Between this point of the front and the one before it, a smaller map may be good enough.
    low = int(front.bytes[enough[0] - 1]) if enough[0] else best.bytes
    for _ in range(_HALVINGS):
        middle = (low + best.bytes) // 2
        if middle <= low:
            break
        smaller = solve(problem, middle)
        if smaller.predicted_loss <= most:
            best = smaller
        else:
            low = middle
    return best


def _fit_power(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Scale and power of the curve through losses and increases."""
    from scipy.optimize import least_squares

    def error(parameters: np.ndarray) -> np.ndarray:
        guess = np.minimum(np.exp(parameters[0]) * x ** np.exp(parameters[1]), WORST_INCREASE)
        # Differences near zero and ratios far from it, so that neither end rules the fit.
        apart = np.arcsinh(guess / (5 * _NOISE)) - np.arcsinh(y / (5 * _NOISE))
        return np.append(apart, _PRIOR * parameters[1])

    start = np.array([np.log(max(float(y.max()), 1e-3) / float(x.max())), 0.0])
    # Five noisy points may fit a step or a constant best; neither says anything between them.
    bounds = ([-np.inf, np.log(0.1)], [np.inf, np.log(10.0)])
    fit = least_squares(error, start, loss="soft_l1", f_scale=0.3, bounds=bounds)
    return float(np.exp(fit.x[0])), float(np.exp(fit.x[1]))
