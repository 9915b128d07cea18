"""Curves from predicted loss to word errors for every speech set: fitted, or else borrowed.

Five maps of a model, measured on a speech set, give it a curve of its own there. With fewer, its
curve rests on others': the model's own on other speech; else those of models that ship, of its
family if there are any, since what a token is differs between families.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..allocation.borrowed_curve import BorrowedCurve, Points, borrow
from ..allocation.wer_curve import Curve
from ..errors import GenPTQError
from ..profile import JSON_NAME as PROFILE_NAME
from ..profile import Profile, Source, load_profile
from ..storage.locations import bundled_profiles
from .predictions import own_of, with_predictions
from .records import Measured
from .speech_sets import MeasuredSet, curve_of, measured_sets
from .store import JSON_NAME, read_shipped

_WORDS = 2**0.5  # deviation of the difference of two counts of one


def curves_of(
    profile: Profile, sets: Sequence[MeasuredSet], target: str | None = None
) -> dict[str, Curve]:
    """The curve of each set, by its key: its own where enough was measured, else a borrowed one.

    Args:
        profile: the profile.
        sets: what was measured of it; see `own_of`.
        target: name of the target whose maps are meant; the native one if None.
    """
    own = {s.key: curve_of(s) for s in sets}
    lenders = [s for s in sets if own[s.key] is not None]
    return {
        s.key: own[s.key] or borrowed_curve(profile, target, s, [o for o in lenders if o != s])
        for s in sets
    }


def borrowed_curve(
    profile: Profile,
    target: str | None = None,
    measured: MeasuredSet | None = None,
    others: Sequence[MeasuredSet] = (),
) -> BorrowedCurve:
    """The curve of a model on speech on which too little, or nothing, was measured.

    Args:
        profile: the profile.
        target: name of the target whose maps are meant; the native one if None.
        measured: what was measured on that speech.
        others: sets on which the model has curves of its own.
    """
    lent = [_points(f"{profile.source.model} on {s.name}", s.records) for s in others]
    if not lent:
        family = profile.source.family
        shipped = [
            (source.family, points)
            for source, points in _shipped(target)
            if source.model_digest != profile.source.model_digest
        ]
        alike = [points for of, points in shipped if of == family]
        lent = alike or [points for _, points in shipped]
    own = None
    if measured is not None:
        own = _points(f"{profile.source.model} on {measured.name}", measured.records)
    return borrow(lent, own)


def _points(name: str, records: Sequence[Measured]) -> Points:
    """The maps of a set that lose anything.

    Where no utterance tells two models apart, a word or two would have: no increase is known
    better.
    """
    changed = [m for m in records if m.predicted_loss > 0]
    sampling = [max((m.ci95[1] - m.ci95[0]) / 3.92, _WORDS / max(m.words, 1)) for m in changed]
    return Points(
        name=name,
        loss=np.array([m.predicted_loss for m in changed], dtype=np.float64),
        increase=np.array([m.wer_increase for m in changed], dtype=np.float64),
        sampling=np.array(sampling, dtype=np.float64),
    )


def _shipped(target: str | None) -> Iterator[tuple[Source, Points]]:
    """What the models that ship lend: what they are, with the maps of each speech set."""
    for folder in sorted(bundled_profiles().glob("*")):
        measured = folder / JSON_NAME
        with contextlib.suppress(GenPTQError, OSError):  # what is damaged here lends nothing
            changed = measured.stat().st_mtime_ns, (folder / PROFILE_NAME).stat().st_mtime_ns
            yield from _of_folder(folder, target, changed)


@lru_cache(maxsize=64)
def _of_folder(
    folder: Path, target: str | None, changed: tuple[int, int]
) -> tuple[tuple[Source, Points], ...]:
    """What one of them lends; `changed` stands for its files in the cache."""
    profile = load_profile(folder)
    shipped = [m for m in read_shipped(folder / JSON_NAME) if m.profile_digest == profile.digest]
    records = own_of(profile, with_predictions(profile, shipped, target), target)
    return tuple(
        (profile.source, _points(profile.source.model, s.records))
        for s in measured_sets(records)
        if s.rate == "WER"
    )
