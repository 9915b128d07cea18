"""From projections to predicted loss: a corrected, shrunk, low-rank quadratic form."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..options import UNQUANTIZED
from ..profile import Profile
from .denoising import denoised

SHRINKAGE = 0.85
"""Fraction of the cross-unit terms that is dropped.

With a few hundred rows for hundreds of options their noise is large, and a solver finds and
exploits noise that cancels: `benchmarks/shrinkage.py` shows it on held-out utterances.
"""

_LARGEST_CORRECTION = 6.0
_LARGEST_ANCHOR = 1.0  # nats per token, at which a model is useless
_FEW = 16  # choices gathered at once; of more, one unit at a time takes less memory


@dataclass(frozen=True)
class Growth:
    """How much faster than its second order the loss grows: x -> x * (1 + (x / knee)^power).

    It rises with x, so it changes no choice: a smaller quadratic loss is a smaller loss.

    Attributes:
        knee: second-order loss at which the true one is twice as large, nats per token.
        power: how sharply the loss grows.
    """

    knee: float = np.inf
    power: float = 1.0

    def __call__(self, loss: np.ndarray | float) -> np.ndarray:
        """The loss that a second-order loss stands for."""
        second = np.asarray(loss, dtype=np.float64)
        return np.asarray(second * (1 + (second / self.knee) ** self.power))


@dataclass(frozen=True)
class QuadraticLoss:
    """Predicted loss of a choice z (one option per unit), in nats per token: growth(q), where

        q(z) = (1 - rho) / 2 * || A z ||^2 + rho * d . z,    d = 1/2 * sum_r A_r^2

    is 1/2 ||A z||^2 with the terms between units scaled by 1 - rho.

    Attributes:
        projections: A, shape (rows, units, options), float64.
        shrinkage: rho, in [0, 1]; with 1 only the separable part remains.
        growth: from second order to the whole loss; it rises, so solvers need only see q.
        apart: d where tied units were joined, the sum of theirs, shape (units, options); None
            where no units were joined.
    """

    projections: np.ndarray
    shrinkage: float = SHRINKAGE
    growth: Growth = Growth()
    apart: np.ndarray | None = None

    @cached_property
    def diagonal(self) -> np.ndarray:
        """d, shape (units, options)."""
        return self._alone if self.apart is None else self.apart

    @cached_property
    def separable(self) -> np.ndarray:
        """Second-order loss of each option alone: shape (units, options)."""
        return np.asarray((1 - self.shrinkage) * self._alone + self.shrinkage * self.diagonal)

    @cached_property
    def _alone(self) -> np.ndarray:
        return np.asarray(0.5 * np.einsum("ruo,ruo->uo", self.projections, self.projections))

    def tied(self, group: np.ndarray) -> QuadraticLoss:
        """The loss where units of one group share their option.

        Args:
            group: group of each unit, from 0, shape (units,).
        """
        count = int(group.max()) + 1
        rows, _, options = self.projections.shape
        projections, diagonal = np.zeros((count, rows, options)), np.zeros((count, options))
        np.add.at(projections, group, self.projections.transpose(1, 0, 2))
        np.add.at(diagonal, group, self.diagonal)
        return QuadraticLoss(
            projections=projections.transpose(1, 0, 2),
            shrinkage=self.shrinkage,
            growth=self.growth,
            apart=diagonal,
        )

    def part(self, columns: Sequence[int], usable: np.ndarray) -> QuadraticLoss:
        """The loss over some options, in which those that are not usable cost nothing.

        Args:
            columns: options to keep.
            usable: which of them a unit may take, shape (units, columns), bool.
        """
        projections = np.where(usable, self.projections[:, :, columns], 0.0)
        return QuadraticLoss(projections, self.shrinkage, self.growth)

    def __call__(self, choices: np.ndarray) -> np.ndarray:
        """Loss of integer choices.

        Args:
            choices: index into the menu per unit, shape (..., units).

        Returns:
            Shape (...), nats per token.
        """
        choices = np.asarray(choices)
        flat = choices.reshape(-1, choices.shape[-1])
        units = np.arange(flat.shape[1])
        diagonal = self.diagonal[units, flat].sum(axis=1)
        out = np.empty(len(flat))
        for start in range(0, len(flat), 1024):
            part = flat[start : start + 1024]
            if len(part) < _FEW:
                total = self.projections[:, units, part].sum(axis=2).T
            else:
                total = np.zeros((len(part), len(self.projections)))
                for unit in units:
                    total += self.projections[:, unit, part[:, unit]].T
            out[start : start + 1024] = 0.5 * np.einsum("nr,nr->n", total, total)
        second = (1 - self.shrinkage) * out + self.shrinkage * diagonal
        return self.growth(second).reshape(choices.shape[:-1])


def quadratic_loss(
    profile: Profile, shrinkage: float = SHRINKAGE, *, denoise: bool = True
) -> QuadraticLoss:
    """The predicted loss of a profile's configurations, over its whole menu.

    Sensitivities are denoised, because a solver chooses what noise makes look cheap. The raw form
    is of second order, and too small where an error leaves the quadratic region. So each group's
    coarse options are scaled until its anchors come out as measured, and the total grows as the
    uniform anchors do.

    Args:
        profile: the profile.
        shrinkage: fraction of the cross-unit terms that is dropped.
        denoise: whether noise is taken out of the sensitivities; see `denoising`.
    """
    utterances, draws, units, widths = profile.projections.shape
    rows = profile.projections.astype(np.float64)
    if denoise:
        costs = np.einsum("udlo,udlo->ulo", rows, rows)
        rows = rows * np.sqrt(denoised(costs, profile.lengths, profile.settings.options))
    rows = rows.reshape(utterances * draws, units, widths)
    rows = rows * corrections(profile, rows, shrinkage)
    rows = rows / np.sqrt(draws * profile.lengths.sum())
    unquantized = np.zeros((len(rows), units, 1))  # leaving a unit as it is costs nothing
    loss = QuadraticLoss(np.concatenate([rows, unquantized], axis=2), shrinkage)
    return dataclasses.replace(loss, growth=_growth(profile, loss))


def _growth(profile: Profile, loss: QuadraticLoss) -> Growth:
    """Growth fitted on the uniform anchors, in which every unit has the same option.

    Both sides are computed on the utterances that anchors were measured on: if those are harder or
    easier than the others, that is not growth.

    Rounding errors are about as often up as down, so odd orders of the loss cancel and the next
    order after the second is the fourth: relative to the second, a power of at least 1.
    """
    from scipy.optimize import least_squares

    uniform = [a for a in profile.anchors if len(set(a.options)) == 1 and a.loss < _LARGEST_ANCHOR]
    if len(profile.units) < 2 or len(uniform) < 3:
        return Growth()
    rows = profile.anchored * profile.projections.shape[1]
    tokens, anchored_tokens = profile.lengths.sum(), profile.lengths[: profile.anchored].sum()
    part = loss.projections[:rows] * np.sqrt(tokens / max(anchored_tokens, 1))
    columns = np.array([profile.menu.index(a.options[0]) for a in uniform])
    choices = np.repeat(columns[:, None], len(profile.units), axis=1)
    second = QuadraticLoss(part, loss.shrinkage)(choices)
    measured = np.array([a.loss for a in uniform])
    usable = (second > 0) & (measured > 0)
    if usable.sum() < 3:
        return Growth()
    x, y = second[usable], np.log(measured[usable])

    def grown(parameters: np.ndarray) -> Growth:
        knee, power = np.exp(parameters)
        return Growth(float(knee), float(power))

    def error(parameters: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(grown(parameters)(x)) - y)

    start = np.array([np.log(np.median(x)), np.log(1.5)])
    bounds = ([np.log(x.min() / 10), 0.0], [np.log(x.max() * 1e4), np.log(3.0)])
    return grown(least_squares(error, start, loss="soft_l1", f_scale=0.2, bounds=bounds).x)


def corrections(profile: Profile, rows: np.ndarray, shrinkage: float) -> np.ndarray:
    """Factors on the projections, shape (units, widths): roots of measured over predicted loss.

    An anchor measures a group of units at one width. Between two measured widths the logarithm of
    the factor is linear in bits; above the widest, it falls with the energy of the error, 4^-bits,
    because it stands for orders of the loss above the second.

    Args:
        profile: the profile.
        rows: its projections, shape (utterances * draws, units, widths).
        shrinkage: fraction of the cross-unit terms that is dropped.
    """
    menu = profile.settings.options
    logs = np.zeros(rows.shape[1:])
    for (group, form), measured in _measured_factors(profile, rows, shrinkage).items():
        members = [i for i, unit in enumerate(profile.units) if unit.group == group]
        widths = sorted(measured)
        known = [np.log(measured[width]) for width in widths]
        for column, option in enumerate(menu):
            if option.form == form:
                above = max(option.bits - widths[-1], 0.0)
                log = float(np.interp(option.bits, widths, known)) * 4.0**-above
                logs[members, column] = log
    return np.asarray(np.exp(logs))


def _measured_factors(
    profile: Profile, rows: np.ndarray, shrinkage: float
) -> dict[tuple[str, str], dict[float, float]]:
    """Roots of measured over predicted loss by width, of each group of units in each form."""
    menu = profile.menu
    draws = profile.projections.shape[1]
    found: dict[tuple[str, str], dict[float, float]] = {}
    for anchor in profile.anchors:
        changed = [i for i, option in enumerate(anchor.options) if option != UNQUANTIZED]
        groups = {profile.units[i].group for i in changed}
        used = {anchor.options[i] for i in changed}
        if len(groups) != 1 or len(used) != 1:
            continue
        option = used.pop()
        part = rows[:, changed, menu.index(option)]
        together, apart = np.square(part.sum(axis=1)).sum(), np.square(part).sum()
        predicted = 0.5 * float((1 - shrinkage) * together + shrinkage * apart)
        predicted /= draws * float(profile.lengths.sum())
        if predicted > 0 and anchor.loss > 0:
            factor = float(np.sqrt(anchor.loss / predicted))
            factor = min(max(factor, 1 / _LARGEST_CORRECTION), _LARGEST_CORRECTION)
            found.setdefault((groups.pop(), option.form), {})[option.bits] = factor
    return found
