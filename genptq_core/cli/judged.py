"""`--judged-on`: the loss of a map on a kind of speech that the profile was adapted to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..allocation.solving import Allocation
from ..measurement.speech_scale import adapted_to, form_of, scale_of
from ..profile import Profile


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
    adapted = adapted_to(folder, profile, name)
    scale = scale_of(profile, adapted, form_of(profile, allocation.options))
    if scale is None:
        return {}, ""
    loss = float(scale(allocation.predicted_loss))
    fields = {"speech": adapted.speech, "recordings": len(adapted.recordings), "loss": loss}
    words = (
        f"On {adapted.speech}, judged by {len(adapted.recordings)} recordings, it is predicted to "
        f"lose {loss:.4f} nats per token."
    )
    return {"judged_on": fields}, words
