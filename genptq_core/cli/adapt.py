"""`genptq adapt`: measure what a kind of speech loses, for predictions in its own scale."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..allocation.predicted_loss import quadratic_loss
from ..measurement.speech_scale import Adapted, form_of, scale_of
from ..profile import Profile, load_profile
from ..progress import Report
from ..speech.sources import load_speech
from .arguments import (
    SOURCES,
    add_device,
    add_language,
    add_model_of_profile,
    add_profile,
    asked_from_flags,
)
from .command import Answer, Command

_WORDS = {
    "coded": "entropy-coded",
    "grid": "integers in groups",
    "block": "block types",
    "half": "16 bit",
}


@dataclass(frozen=True, kw_only=True)
class AdaptArguments:
    """What to adapt to what.

    Attributes:
        profile: folder of the profile.
        speech: recordings of the kind that matters: a path, or `hf:` and a data set's name.
        limit: take only this many utterances of it; None for all.
        model: the profile's model, where it is not at its recorded name; None where it is.
        device: where to compute.
        asked: language and task that the model is asked for; each "" for rows or its own.
    """

    profile: Path
    speech: str
    limit: int | None
    model: str | None
    device: str
    asked: tuple[str, str] = ("", "")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `from_flags` reads."""
    add_profile(parser)
    parser.add_argument(
        "--speech", required=True, help=f"a dozen recordings or more, without texts: {SOURCES}"
    )
    parser.add_argument("--limit", type=int, help="use only the first N utterances")
    add_model_of_profile(parser)
    add_device(parser)
    add_language(parser)


def from_flags(flags: argparse.Namespace) -> AdaptArguments:
    """The arguments that the flags state."""
    return AdaptArguments(
        profile=flags.profile,
        speech=flags.speech,
        limit=flags.limit,
        model=flags.model,
        device=flags.device,
        asked=asked_from_flags(flags),
    )


def run(arguments: AdaptArguments, report: Report) -> Answer:
    """What was measured, and the scale of each form of storage.

    Raises:
        GenPTQError: profile, model or speech cannot be used, or nothing can be kept.
    """
    profile = load_profile(arguments.profile)
    speech = load_speech(arguments.speech, arguments.limit)

    from ..loading import load_model_of
    from ..measurement.adapting import adapt

    model = load_model_of(profile, arguments.model, arguments.device, asked=arguments.asked)
    adapted = adapt(model, profile, arguments.profile, speech, report)
    rows = _rows(profile, adapted)
    forms = dict.fromkeys(row["form"] for row in rows)
    found = {form: scale_of(profile, adapted, form) for form in forms}
    scales = {form: math.exp(scale.level) for form, scale in found.items() if scale is not None}
    result = {
        "speech": adapted.speech,
        "speech_digest": adapted.speech_digest,
        "recordings": len(adapted.recordings),
        "tokens": adapted.tokens,
        "maps": rows,
        "scales": scales,
    }
    return Answer(result, _in_words(adapted, scales))


def _rows(profile: Profile, adapted: Adapted) -> list[dict[str, Any]]:
    """The maps, each with what it was predicted to lose and what it lost on this speech."""
    index = {option: i for i, option in enumerate(profile.menu)}
    choices = [[index[option] for option in found.options] for found in adapted.maps]
    predicted = quadratic_loss(profile)(np.array(choices, dtype=np.int64))
    return [
        {
            "form": form_of(profile, found.options),
            "predicted_loss": float(loss),
            "loss": found.loss,
        }
        for found, loss in zip(adapted.maps, predicted, strict=True)
    ]


def _in_words(adapted: Adapted, scales: dict[str, float]) -> str:
    """One line for each form."""
    head = (
        f"{len(adapted.recordings)} recordings of {adapted.speech}, {len(adapted.maps)} maps "
        "measured. Of the predicted loss, its maps lose"
    )
    lines = [f"  {_WORDS[form]}: {scale:.2f} times as much" for form, scale in scales.items()]
    return "\n".join([head, *(lines or ["  nothing that can be measured"])])


COMMAND = Command(
    name="adapt",
    about="Measure what a kind of speech loses, for predictions in its own scale.",
    add_flags=add_flags,
    from_flags=from_flags,
    run=run,
)
