"""`--judged-on`: the loss of a map on a kind of speech that the profile was adapted to."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..allocation.solving import Allocation
from ..measurement.speech_scale import Adapted, adapted_to, form_of, scale_of
from ..options import Option
from ..profile import Profile

LossThere = Callable[[Sequence[Option], float], float | None]
"""Gives the loss of a map on a kind of speech, by its options and predicted loss."""


def add_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--judged-on`."""
    parser.add_argument(
        "--judged-on",
        default="",
        metavar="SET",
        help="also predict the loss on this speech: the name of a set that genptq adapt was given",
    )


def judged(
    folder: Path, profile: Profile, allocation: Allocation, name: str
) -> tuple[dict[str, Any], str]:
    """What a map is expected to lose on a speech set: fields, and words; nothing without a name.

    Raises:
        ProfileError: the profile was not adapted to such a set.
    """
    if not name:
        return {}, ""
    adapted, loss_there = losses_on(folder, profile, name)
    loss = loss_there(allocation.options, allocation.predicted_loss)
    if loss is None:
        return {}, ""
    fields = {"speech": adapted.speech, "recordings": len(adapted.recordings), "loss": loss}
    words = (
        f"On {adapted.speech}, judged by {len(adapted.recordings)} recordings, it is predicted to "
        f"lose {loss:.4f} nats per token."
    )
    return {"judged_on": fields}, words


def losses_on(folder: Path, profile: Profile, name: str) -> tuple[Adapted, LossThere]:
    """What was measured of a speech set, and what maps are expected to lose on it.

    Raises:
        ProfileError: the profile was not adapted to such a set.
    """
    adapted = adapted_to(folder, profile, name)
    scale_of_form = cache(lambda form: scale_of(profile, adapted, form))

    def loss_there(options: Sequence[Option], predicted: float) -> float | None:
        scale = scale_of_form(form_of(profile, options))
        return None if scale is None else float(scale(predicted))

    return adapted, loss_there
