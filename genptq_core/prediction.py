"""From projections to predicted loss: a corrected, shrunk, low-rank quadratic form."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import StoreError
from .profile import Profile
from .store import Measured
from .units import UNQUANTIZED

SHRINKAGE = 0.85
"""Share of the cross-unit terms given up.

With a few hundred rows for hundreds of options their noise is large, and a solver finds and
exploits whatever noise cancels: `benchmarks/shrinkage.py` shows it on held-out utterances.
"""

_LARGEST_CORRECTION = 6.0


@dataclass(frozen=True)
class QuadraticLoss:
    """Predicted loss of a choice z (one width a unit), in nats a token:

        loss(z) = (1 - rho) / 2 * || A z ||^2 + rho * d . z,    d = 1/2 * sum_r A_r^2

    which is 1/2 ||A z||^2 with the terms between units scaled by 1 - rho.

    Attributes:
        projections: A, shape (rows, units, widths), float64.
        shrinkage: rho, in [0, 1]; 1 leaves the separable part alone.
    """

    projections: np.ndarray
    shrinkage: float = SHRINKAGE

    @property
    def separable(self) -> np.ndarray:
        """Loss of each option alone, d: shape (units, widths)."""
        return 0.5 * np.einsum("ruo,ruo->uo", self.projections, self.projections)

    def __call__(self, choices: np.ndarray) -> np.ndarray:
        """Loss of integer choices.

        Args:
            choices: index into the menu a unit, shape (..., units).

        Returns:
            Shape (...), nats a token.
        """
        choices = np.asarray(choices)
        flat = choices.reshape(-1, choices.shape[-1])
        units = np.arange(flat.shape[1])
        diagonal = self.separable[units, flat].sum(axis=1)
        out = np.empty(len(flat))
        for start in range(0, len(flat), 1024):
            part = flat[start : start + 1024]
            total = np.zeros((len(part), len(self.projections)))
            for unit in units:
                total += self.projections[:, unit, part[:, unit]].T
            out[start : start + 1024] = 0.5 * np.einsum("nr,nr->n", total, total)
        return ((1 - self.shrinkage) * out + self.shrinkage * diagonal).reshape(choices.shape[:-1])


def quadratic_loss(profile: Profile, shrinkage: float = SHRINKAGE) -> QuadraticLoss:
    """The predicted loss of a profile's configurations, over its whole menu.

    The raw form is second order, and too small where an error leaves the quadratic region; each
    group's coarse widths are scaled so that its anchors come out as measured.
    """
    utterances, draws, units, widths = profile.projections.shape
    rows = profile.projections.astype(np.float64).reshape(utterances * draws, units, widths)
    rows = rows / np.sqrt(draws * profile.lengths.sum())
    rows = rows * corrections(profile, shrinkage)
    left = np.zeros((len(rows), units, 1))  # leaving a unit as it is costs nothing
    return QuadraticLoss(np.concatenate([rows, left], axis=2), shrinkage)


def corrections(profile: Profile, shrinkage: float) -> np.ndarray:
    """Factors on the projections, shape (units, widths): measured over predicted, square root."""
    menu = profile.menu
    utterances, draws, units, widths = profile.projections.shape
    factors = np.ones((units, widths))
    rows = profile.projections.astype(np.float64).reshape(utterances * draws, units, widths)
    for anchor in profile.anchors:
        changed = [i for i, bits in enumerate(anchor.bits) if bits != UNQUANTIZED]
        groups = {profile.units[i].group for i in changed}
        used = {anchor.bits[i] for i in changed}
        if len(groups) != 1 or len(used) != 1:
            continue
        column = menu.index(used.pop())
        part = rows[:, changed, column]
        together, apart = np.square(part.sum(axis=1)).sum(), np.square(part).sum()
        predicted = 0.5 * float((1 - shrinkage) * together + shrinkage * apart)
        predicted /= draws * float(profile.lengths.sum())
        if predicted > 0 and anchor.loss > 0:
            factor = np.sqrt(anchor.loss / predicted)
            factors[changed, column] = np.clip(factor, 1 / _LARGEST_CORRECTION, _LARGEST_CORRECTION)
    return factors


def with_predictions(profile: Profile, records: Sequence[Measured]) -> list[Measured]:
    """Measurements with today's predicted loss, whatever predictor was there when they were made.

    Raises:
        StoreError: a record holds a map that is not one of the profile's.
    """
    if not records:
        return []
    index = {bits: i for i, bits in enumerate(profile.menu)}
    try:
        choices = [[index[b] for _, b in zip(profile.units, m.bits, strict=True)] for m in records]
        losses = quadratic_loss(profile)(np.array(choices))
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"A measurement of {profile.source.model} holds a map that does not fit the profile.",
            "Move its store away and measure again.",
        ) from error
    return [
        dataclasses.replace(m, predicted_loss=float(loss))
        for m, loss in zip(records, losses, strict=True)
    ]
