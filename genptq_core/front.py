"""The front: predicted points for every size, its knee and hypervolume, and loss turned to WER."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .allocation import Allocation, Problem, solve
from .errors import InfeasibleError
from .store import Measured

_HALVINGS = 6  # of the way between two points of the front, for the smallest map that will do

WORST_USABLE = 1.0
"""Loss at which a model is useless anyhow, nats a token: past it, knee and area tell nothing."""


@dataclass(frozen=True)
class Front:
    """Undominated predicted configurations, by rising size and falling loss.

    Attributes:
        choices: menu indices, shape (points, units).
        bytes: sizes, shape (points,), int64.
        loss: predicted loss, shape (points,), nats a token.
        knee: index of the knee.
        hypervolume: share of the box of sizes and usable losses that the front dominates.
    """

    choices: np.ndarray
    bytes: np.ndarray
    loss: np.ndarray
    knee: int
    hypervolume: float


def undominated(size: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Indices of the points that no other one beats in both, by rising size."""
    order = np.lexsort((loss, size))
    best = np.minimum.accumulate(loss[order])
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = loss[order][1:] < best[:-1]
    return order[keep]


def predicted_front(task: Problem) -> Front:
    """The predicted front over all sizes.

    Each point of the separable front (one dynamic programme, exact up to `knapsack.STATES`
    states) is scored with the full loss. To these come the stationary maps of many Lagrange
    multipliers under the full loss. What is undominated remains.
    """
    choices, size, loss = task.candidates
    keep = undominated(size, loss)
    choices, size, loss = choices[keep], size[keep], loss[keep]
    return Front(choices, size, loss, knee(size, loss), hypervolume(size, loss))


def _unit_square(size: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both axes scaled to [0, 1]: size between the front's ends, loss against the worst usable."""
    across = np.ptp(size)
    x = (size - size.min()) / across if across else np.zeros(len(size))
    worst = min(float(loss.max()), WORST_USABLE)
    y = np.minimum(loss / worst, 1.0) if worst > 0 else np.zeros(len(loss))
    return x, y


def knee(size: np.ndarray, loss: np.ndarray) -> int:
    """The point farthest below the line between the front's ends.

    Satopaa et al., "Finding a 'Kneedle' in a Haystack" (ICDCS Workshops 2011), section III.
    """
    x, y = _unit_square(size, loss)
    return int((x + y).argmin())


def hypervolume(size: np.ndarray, loss: np.ndarray) -> float:
    """Share of the box of sizes and usable losses that a front's points dominate."""
    x, y = _unit_square(size, loss)
    right = np.append(x[1:], 1.0)
    return float(((right - x) * (1 - y)).sum())


@dataclass(frozen=True)
class WerCurve:
    """A monotone map from predicted loss to the increase of WER, with its band.

        increase(loss) = min(scale * loss^power, 1)

    Attributes:
        scale, power: the fitted curve.
        band, floor: half width of the band, floor + band * increase, which held the stated share
            of measured points left out of the fit; floor is a WER fraction.
        held_out: mean absolute error of points left out of the fit, a WER fraction, among those
            measured below +5 percentage points.
        points: measured points fitted.
        largest: largest loss fitted; the curve is a guess beyond it.
    """

    scale: float
    power: float
    band: float
    floor: float
    held_out: float
    points: int
    largest: float

    def increase(self, loss: np.ndarray | float) -> np.ndarray:
        """Predicted increase of WER, a fraction."""
        raw = self.scale * np.asarray(loss, dtype=np.float64) ** self.power
        return np.minimum(raw, WORST_INCREASE)

    def interval(self, loss: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the band around `increase`."""
        middle = self.increase(loss)
        half = self.floor + self.band * middle
        return middle - half, middle + half

    def loss_for(self, increase: float) -> float:
        """Largest loss whose band stays under an increase of WER; 0 if none does."""
        if increase <= self.floor:
            return 0.0
        middle = (increase - self.floor) / (1 + self.band)
        with np.errstate(over="ignore", divide="ignore"):  # on a flat curve, any loss will do
            return float((np.float64(middle) / self.scale) ** (1 / self.power))


WORST_INCREASE = 1.0
"""WER increases count up to here, a fraction: how long a broken model loops tells nothing."""

LEAST_POINTS = 5
"""Measured maps needed before a curve is fitted."""

COVERAGE = 0.9
"""Share of held-out measured points that the band is made to hold."""

_NOISE = 0.002
"""Sampling error of a WER increase near zero, a fraction; keeps tiny losses from ruling the fit."""

_PRIOR = 1.0
"""Pull towards words in proportion to nats: few noisy maps may ask for any power at all, and their
curve is wild a little beyond them."""

_BAND_START = 0.005
"""Increase at which the band's fixed and proportional parts are equal, a fraction."""


def fit_wer_curve(loss: Sequence[float], increase: Sequence[float]) -> WerCurve | None:
    """Fit the curve on measured points, and judge it on points left out one at a time.

    Args:
        loss: predicted loss of each measured map, nats a token.
        increase: its measured increase of WER, a fraction.

    Returns:
        The curve, or None with fewer than `LEAST_POINTS` points of positive loss that a broken
        model did not make.
    """
    x, y = np.asarray(loss, dtype=np.float64), np.asarray(increase, dtype=np.float64)
    changed = x > 0
    x, y = x[changed], np.minimum(y[changed], WORST_INCREASE)
    if (y < WORST_INCREASE / 2).sum() < LEAST_POINTS:
        return None
    scale, power = _fit_power(x, y)
    residual = np.empty(len(x))
    relative = np.empty(len(x))
    for index in range(len(x)):
        rest = np.arange(len(x)) != index
        a, p = _fit_power(x[rest], y[rest])
        guess = min(a * x[index] ** p, WORST_INCREASE)
        residual[index] = abs(y[index] - guess)
        relative[index] = residual[index] / (_BAND_START + guess)
    band = float(np.quantile(relative, COVERAGE))
    useful = y < 0.05
    held_out = float(residual[useful].mean()) if useful.any() else float(residual.mean())
    return WerCurve(scale, power, band, band * _BAND_START, held_out, len(x), float(x.max()))


def _fit_power(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    from scipy.optimize import least_squares

    def error(parameters: np.ndarray) -> np.ndarray:
        guess = np.minimum(np.exp(parameters[0]) * x ** np.exp(parameters[1]), WORST_INCREASE)
        # Differences near zero, ratios far from it: so neither end rules the fit.
        apart = np.arcsinh(guess / (5 * _NOISE)) - np.arcsinh(y / (5 * _NOISE))
        return np.append(apart, _PRIOR * parameters[1])

    start = np.array([np.log(max(float(y.max()), 1e-3) / float(x.max())), 0.0])
    # Five noisy points may ask for a step or a constant; neither tells anything between them.
    bounds = ([-np.inf, np.log(0.1)], [np.inf, np.log(10.0)])
    found = least_squares(error, start, loss="soft_l1", f_scale=0.3, bounds=bounds)
    return float(np.exp(found.x[0])), float(np.exp(found.x[1]))


def wer_curve(measured: Sequence[Measured], speech_digest: str) -> WerCurve | None:
    """The curve fitted on a profile's measurements (`with_predictions`) on one speech set."""
    points = [m for m in measured if m.speech_digest == speech_digest]
    return fit_wer_curve([m.predicted_loss for m in points], [m.wer_increase for m in points])


def solve_wer_increase(task: Problem, front: Front, curve: WerCurve, increase: float) -> Allocation:
    """The smallest map whose predicted WER increase, with its band, stays under `increase`.

    Args:
        task: the problem that `front` was computed from.
        front: its predicted front.
        curve: map from loss to WER.
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
    found = solve(task, int(front.bytes[enough[0]]))
    # Between this point and the one before it, a map that is smaller still may do.
    low = int(front.bytes[enough[0] - 1]) if enough[0] else found.bytes
    for _ in range(_HALVINGS):
        middle = (low + found.bytes) // 2
        if middle <= low:
            break
        smaller = solve(task, middle)
        if smaller.predicted_loss <= most:
            found = smaller
        else:
            low = middle
    return found
