"""The point of a front whose measurement would teach most about how loss becomes word errors.

The true WER of a map deviates from the fitted curve by an unknown amount, modelled as a Gaussian
process over the logarithm of the loss, as large as the curve's band. Measuring a point lowers the
variance there and nearby, and the point is chosen that lowers its sum over the front most
(V-optimal design by active learning; Cohn, "Neural Network Exploration Using Optimal Experiment
Design", NIPS 1993; Seo et al., "Gaussian Process Regression: Active Data Selection and Test Point
Rejection", 2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..allocation.front import WORST_USABLE, Front
from ..allocation.wer_curve import Curve
from .records import Measured

USEFUL = 0.05
"""Increase of WER up to which the front is of interest, a fraction."""

_LENGTH_SCALE = 1.0  # in the logarithm of the loss: within a factor of e, deviations are similar
_POINTS = 160  # of the front that are considered
_NOISE = 0.3  # sampling error of a measurement before there are any, as a part of the band


@dataclass(frozen=True)
class Suggestion:
    """A point of the front to measure.

    Attributes:
        point: its index in the front.
        bytes: its size.
        loss: its predicted loss, nats per token.
        share: fraction of the remaining variance over the useful front that measuring it should
            remove.
    """

    point: int
    bytes: int
    loss: float
    share: float


def suggest_next_map(
    front: Front,
    curve: Curve | None,
    records: Sequence[Measured],
    without: Sequence[int] | np.ndarray = (),
) -> Suggestion | None:
    """The point of a front whose measurement would teach most.

    Args:
        front: the predicted front.
        curve: the curve fitted to these measurements, or borrowed where there are too few.
        records: the measurements on one speech set.
        without: indices of points that are not to be suggested.

    Returns:
        The point, or None where no other point of the front is useful.
    """
    return next(iter(suggest_maps(front, curve, records, 1, without)), None)


def suggest_maps(
    front: Front,
    curve: Curve | None,
    records: Sequence[Measured],
    count: int,
    without: Sequence[int] | np.ndarray = (),
) -> tuple[Suggestion, ...]:
    """The points of a front to measure one after another, before any of them is measured.

    Args:
        front: the predicted front.
        curve: the curve fitted to these measurements, or borrowed where there are too few.
        records: the measurements on one speech set.
        count: how many points; fewer where fewer are useful.
        without: indices of points that are not to be suggested.
    """
    points = _useful(front, curve)
    points = points[~np.isin(points, without)]
    if not len(points):
        return ()
    known = [m for m in records if m.predicted_loss > 0]
    losses = np.array([m.predicted_loss for m in known])
    x, measured = np.log(front.loss[points]), np.log(losses)
    # In units of the curve's band, so that the process has variance 1 everywhere.
    sampling = np.array([(m.ci95[1] - m.ci95[0]) / 3.92 for m in known]) / _band(curve, losses)
    noise = np.square(sampling) if curve is not None else np.full(len(known), _NOISE**2)
    covariance = _kernel(x, x)
    if len(known):
        across = _kernel(x, measured)
        gram = _kernel(measured, measured) + np.diag(noise + 1e-6)
        covariance = covariance - across @ np.linalg.solve(gram, across.T)
    weight = np.square(_band(curve, front.loss[points]))
    next_noise = float(np.median(noise)) if len(known) else _NOISE**2
    suggested: list[Suggestion] = []
    for _ in range(min(count, len(points))):
        variance = np.maximum(np.diag(covariance), 0.0)
        removed = weight @ np.square(covariance) / (variance + next_noise + 1e-6)
        best = int(removed.argmax())
        total = float(weight @ variance)
        point = int(points[best])
        if any(point == known_point.point for known_point in suggested):
            break
        share = float(removed[best]) / total if total > 0 else 0.0
        suggested.append(
            Suggestion(point, int(front.bytes[point]), float(front.loss[point]), share)
        )
        # What is left open once it is measured.
        column = covariance[:, best]
        covariance = covariance - np.outer(column, column) / (variance[best] + next_noise + 1e-6)
    return tuple(suggested)


def _useful(front: Front, curve: Curve | None) -> np.ndarray:
    """Indices of the useful points of a front, at most `_POINTS`, evenly over log sizes."""
    most = WORST_USABLE if curve is None else curve.loss_for(USEFUL) or WORST_USABLE
    useful = np.flatnonzero((front.loss > 0) & (front.loss <= most))
    if len(useful) <= _POINTS:
        return useful
    sizes = np.log(front.bytes[useful])
    wanted = np.linspace(sizes[0], sizes[-1], _POINTS)
    return useful[np.unique(np.searchsorted(sizes, wanted).clip(0, len(useful) - 1))]


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of the deviations at two lists of log losses, shape (a, b)."""
    return np.exp(-0.5 * np.square((a[:, None] - b) / _LENGTH_SCALE))


def _band(curve: Curve | None, loss: np.ndarray) -> np.ndarray:
    """Standard deviation of the increase of WER around the curve; 1 where there is no curve."""
    if curve is None:
        return np.ones(len(loss))
    low, high = curve.interval(loss)
    return np.maximum((high - low) / 3.29, 1e-6)  # 90 % of a normal distribution
