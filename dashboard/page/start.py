"""The size that the page recommends to start from, without constraints. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genptq_core.allocation.front import Front
from genptq_core.allocation.problem import Problem
from genptq_core.allocation.wer_curve import WerCurve, solve_wer_increase
from genptq_core.errors import InfeasibleError

from .knobs import SizeRange
from .marks import Mark


@dataclass(frozen=True)
class Start:
    """A recommended size.

    Attributes:
        size_mb: the size, MB of 10^6 bytes, on the slider.
        reason: why, one sentence.
    """

    size_mb: float
    reason: str


def recommended(free: Problem, front: Front, curve: WerCurve | None, sizes: SizeRange) -> Start:
    """The size to start from.

    Args:
        free: the problem without the user's constraints.
        front: its predicted front.
        curve: map from predicted loss to the increase of WER, or None.
        sizes: the sizes on the slider.
    """
    if curve is not None:
        try:
            best = solve_wer_increase(free, front, curve, 0.01)
        except InfeasibleError:
            best = None
        # A band still wide from few measurements keeps within a point nowhere, or only where
        # nearly nothing is quantized. The knee needs no band.
        if best is not None and best.bytes <= sizes.usual:
            size = sizes.clip(best.bytes / 1e6)
            return Start(
                size,
                f"{size:g} MB is the smallest size predicted, band included, to stay within "
                "1 point of WER of full precision.",
            )
    size = sizes.clip(int(front.bytes[front.knee]) / 1e6)
    return Start(
        size,
        f"{size:g} MB is the knee of the predicted front: below it errors grow fast, "
        "above it each megabyte buys little.",
    )


def start_mark(start: Start, front: Front) -> Mark:
    """A recommended size as a mark on the front."""
    size = round(start.size_mb * 1e6)
    place = max(int(np.searchsorted(front.bytes, size, side="right")) - 1, 0)
    return Mark(size, float(front.loss[place]), text=(start.reason,))
