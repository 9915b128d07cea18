"""Maps chosen and measured one after another, until a front is known well enough."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..allocation.constraints import Constraints
from ..allocation.front import Front, predicted_front
from ..allocation.problem import Problem, problem
from ..allocation.wer_curve import Curve
from ..bitmaps.bitmap import BitMap, bit_map
from ..models import SpeechModel
from ..models.asking import asked_in_words
from ..profile import Profile, load_profile
from ..progress import Report, silent
from ..speech.utterances import SpeechSet
from ..targets import NATIVE
from ..workers.pool import Workers
from .borrowing import borrowed_curve, curves_of
from .exploring import half_width, next_point, recommended
from .measure import normalizer_of
from .predictions import own_of, with_predictions
from .records import Measured
from .speech_sets import measured_sets
from .store import load_measured, save_measured
from .sweep import measure_maps


@dataclass(frozen=True)
class Explored:
    """What is known of a front on one speech set.

    Attributes:
        profile: the profile.
        problem: the problem whose front it is.
        front: the predicted front.
        target: name of the target that holds its maps.
        curve: from predicted loss to word errors on the set, own or borrowed.
        records: what was measured on the set, with what is predicted now.
    """

    profile: Profile
    problem: Problem
    front: Front
    target: str
    curve: Curve
    records: tuple[Measured, ...]

    @property
    def half_width(self) -> float:
        """Half width of the band over maps worth picking, a fraction."""
        return half_width(self.front, self.curve)

    @property
    def next(self) -> int | None:
        """The point of the front to measure next, or None if enough is known."""
        return next_point(self.front, self.curve, self.records)

    @property
    def pick(self) -> int | None:
        """The point of the front to recommend, or None."""
        return recommended(self.front, self.curve, self.records)

    @property
    def speech_digest(self) -> str:
        """Digest of the set, or "" before anything was measured on it."""
        return self.records[0].speech_digest if self.records else ""

    def map_at(self, point: int) -> BitMap:
        """The map of a point of the front."""
        options = [self.problem.menu[column] for column in self.front.choices[point]]
        return bit_map(self.profile, options)

    def record_of(self, chosen: BitMap) -> Measured | None:
        """The measurement of a map on the set, if there is one."""
        return next((m for m in self.records if m.map_digest == chosen.digest), None)


def explored(
    folder: Path, set_key: str, target: str = NATIVE, constraints: Constraints | None = None
) -> Explored:
    """What is known of a target's front on a speech set.

    Args:
        folder: the profile's folder, with what was measured.
        set_key: the speech set; see `Measured.set_key`.
        target: name of the target that must hold the maps.
        constraints: what else is demanded of them.

    Raises:
        GenPTQError: the folder cannot be read, or no map meets the constraints.
    """
    profile = load_profile(folder)
    task = problem(profile, constraints or Constraints(), target=target)
    front, curve = predicted_front(task), borrowed_curve(profile, target)
    return _known(Explored(profile, task, front, target, curve, records=()), folder, set_key)


def _known(before: Explored, folder: Path, set_key: str) -> Explored:
    """The same with what has been measured since."""
    profile, target = before.profile, before.target
    records = with_predictions(profile, load_measured(folder, profile.digest), target)
    sets = measured_sets(own_of(profile, records, target))
    curves = curves_of(profile, sets, target)
    own = next((s for s in sets if s.key == set_key), None)
    if own is None:
        others = [s for s in sets if not curves[s.key].borrowed_from]
        curve: Curve = borrowed_curve(profile, target, None, others)
        return dataclasses.replace(before, curve=curve, records=())
    return dataclasses.replace(before, curve=curves[own.key], records=own.records)


def explore(
    model: SpeechModel,
    folder: Path,
    speech: SpeechSet,
    *,
    seconds: float,
    target: str = NATIVE,
    constraints: Constraints | None = None,
    workers: Workers | None = None,
    normalizer: str = "",
    report: Report = silent,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Explored]:
    """Measure the maps that teach most until enough is known, or time is up.

    Everything measured is stored at once, so that another call continues.

    Args:
        model: the profile's model.
        folder: the profile's folder.
        speech: the set, with reference texts.
        seconds: the time there is; no map is begun that would not be done by then, but one is.
        target, constraints: see `explored`.
        workers: the processes that decode; this one if None.
        normalizer: text normalizer of both sides; "" for what fits.
        report: called with the progress; each map is a part of its own.
        clock: the time in seconds.

    Yields:
        What is known before the first map, and after each.

    Raises:
        GenPTQError: model, folder or speech cannot be used, or no map meets the constraints.
    """
    normalizer = normalizer_of(model, speech, normalizer)
    asked = asked_in_words(model, speech.utterances)
    key = "/".join(filter(None, (speech.digest, normalizer, asked)))
    known = explored(folder, key, target, constraints)
    yield known
    began, longest, number = clock(), 0.0, 0
    while (point := known.next) is not None:
        if number and clock() - began + longest > seconds:
            return
        started, number = clock(), number + 1
        chosen = known.map_at(point)
        label = f"explored {known.front.bytes[point] / 1e6:.2f} MB"
        for record in measure_maps(
            model,
            folder,
            [(label, chosen)],
            speech,
            workers=workers,
            report=_numbered(report, number),
            normalizer=normalizer,
        ):
            save_measured(folder, known.profile.digest, record)
        longest = max(longest, clock() - started)
        known = _known(known, folder, key)
        yield known


def _numbered(report: Report, number: int) -> Report:
    return lambda at: report(dataclasses.replace(at, stage=f"map {number}, {at.stage}"))
