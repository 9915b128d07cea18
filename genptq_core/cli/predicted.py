"""Predicted word errors, as commands say them: a guess with its band, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..allocation.predicted_loss import QuadraticLoss
from ..allocation.wer_curve import Curve
from ..errors import PROGRAM
from ..measurement.borrowing import borrowed_curve, curves_of
from ..measurement.predictions import own_of, with_predictions
from ..measurement.records import Measured
from ..measurement.speech_sets import MeasuredSet, curve_of, measured_sets, usual_set
from ..measurement.store import load_measured
from ..profile import Profile


@dataclass(frozen=True)
class Prediction:
    """How predicted loss becomes word errors for one target's maps.

    Attributes:
        curve: the curve, own or borrowed.
        speech: the speech set that it is of; None where nothing was measured.
        records: everything measured, with what is predicted now.
    """

    curve: Curve
    speech: MeasuredSet | None
    records: tuple[Measured, ...]


def prediction_of(
    profile: Profile, folder: Path, target: str, loss: QuadraticLoss | None = None
) -> Prediction:
    """What is predicted of a target's maps, on the speech set with the most measured words.

    Args:
        profile: the profile.
        folder: its folder.
        target: name of the target.
        loss: predicted loss over the profile's whole menu, where it is at hand.

    Raises:
        StoreError: what was measured cannot be read.
    """
    records = with_predictions(profile, load_measured(folder, profile.digest), target, loss)
    sets = measured_sets(own_of(profile, records, target))
    speech = usual_set(sets)
    if speech is None:
        return Prediction(borrowed_curve(profile, target), None, ())
    curve = curve_of(speech) or curves_of(profile, sets, target)[speech.key]
    return Prediction(curve, speech, tuple(records))


def in_words(prediction: Prediction, loss: float) -> str:
    """The predicted word errors of a map, as sentences."""
    curve, speech = prediction.curve, prediction.speech
    low, high = (100 * float(end) for end in curve.interval(loss))
    said = (
        f"Predicted word errors{f' on {speech.name}' if speech else ''}: "
        f"{100 * float(curve.increase(loss)):+.1f} points, from {low:+.1f} to {high:+.1f}"
    )
    if curve.borrowed_from:
        own = f"{curve.points} of its own measured" if curve.points else "none of its own measured"
        said += f" (borrowed from {', '.join(curve.borrowed_from)}; {own}"
        said += f"; narrower with: {PROGRAM} measure)."
    else:
        said += f" (from {curve.points} measured maps)."
    if loss > curve.largest:
        said += " That is beyond what was measured: a guess."
    return said


def as_fields(curve: Curve, speech: MeasuredSet | None, loss: float) -> dict[str, Any]:
    """The same as `--json` prints it: fractions."""
    low, high = (float(end) for end in curve.interval(loss))
    return {
        "increase": float(curve.increase(loss)),
        "band": [low, high],
        "speech": speech.name if speech else None,
        "wer_full_precision": speech.wer_full_precision if speech else None,
        "own_maps": curve.points,
        "borrowed_from": list(curve.borrowed_from),
        "extrapolated": bool(loss > curve.largest),
    }
