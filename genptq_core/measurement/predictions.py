"""Measurements with the loss that the present predictor gives their maps; those of one target."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..allocation.predicted_loss import QuadraticLoss, quadratic_loss
from ..allocation.wer_curve import LEAST_POINTS
from ..errors import ConstraintError, StoreError
from ..profile import Profile
from ..targets import (
    Target,
    held_columns,
    predicted_bytes,
    target_for_map,
    target_of,
    why_not_held,
)
from .records import Measured


def with_predictions(
    profile: Profile,
    records: Sequence[Measured],
    target: str | None = None,
    loss: QuadraticLoss | None = None,
) -> list[Measured]:
    """Measurements whose predicted loss and size are today's, not of the day they were made.

    Args:
        profile: the profile.
        records: measurements of its maps.
        target: name of the target whose bytes are meant, for maps that it can hold, and those of
            the native one for the others, or if None. Bytes that records were stored with are
            those of the day they were made, and may have counted less.
        loss: predicted loss over the profile's whole menu; `quadratic_loss(profile)` if absent.

    Raises:
        StoreError: a record holds a map that is not one of the profile's.
    """
    if not records:
        return []
    index = {option: i for i, option in enumerate(profile.menu)}
    try:
        choices = [
            [index[o] for _, o in zip(profile.units, m.options, strict=True)] for m in records
        ]
        losses = (loss or quadratic_loss(profile))(np.array(choices))
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"A measurement of {profile.source.model} holds a map that does not fit the profile.",
            "Move its store away and measure again.",
        ) from error
    return [
        _sized(profile, dataclasses.replace(m, predicted_loss=float(loss)), target)
        for m, loss in zip(records, losses, strict=True)
    ]


def own_of(
    profile: Profile, records: Sequence[Measured], target: str | None = None
) -> list[Measured]:
    """The measurements that tell what maps of a target cost.

    Of each speech set these are the maps that the target holds, since another way to store weights
    may lose more or fewer words at the same predicted loss; or all of them, where too few of its
    own were measured.

    Args:
        profile: the profile.
        records: measurements of its maps, with predictions.
        target: name of the target; the native one if None.
    """
    form = target_of(target)
    try:
        menu = {profile.menu[column] for column in held_columns(profile.menu, form.name)}
    except ConstraintError:  # the profile has nothing for it
        return list(records)
    by_set: dict[str, list[Measured]] = {}
    for record in records:
        by_set.setdefault(record.set_key, []).append(record)
    chosen: list[Measured] = []
    for members in by_set.values():
        own = [m for m in members if set(m.options) <= menu and _fits(form, profile, m)]
        chosen += own if sum(m.predicted_loss > 0 for m in own) >= LEAST_POINTS else members
    return chosen


def _fits(form: Target, profile: Profile, record: Measured) -> bool:
    return why_not_held(form, profile, record.options) is None


def _sized(profile: Profile, record: Measured, target: str | None) -> Measured:
    """A measurement with the bytes of its map in a target, or in the native one."""
    size = predicted_bytes(target_for_map(target, profile, record.options), profile, record.options)
    reduction = 1 - size / (4 * profile.source.parameters)
    return dataclasses.replace(record, bytes=size, reduction_vs_fp32=reduction)
