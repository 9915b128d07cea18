"""Measurements with the loss that the present predictor gives their maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..allocation.predicted_loss import quadratic_loss
from ..errors import StoreError
from ..profile import Profile
from ..targets import predicted_bytes, target_for_map
from .records import Measured


def with_predictions(
    profile: Profile, records: Sequence[Measured], target: str | None = None
) -> list[Measured]:
    """Measurements whose predicted loss and size are today's, not of the day they were made.

    Args:
        profile: the profile.
        records: measurements of its maps.
        target: name of the target whose bytes are meant, for maps that it can hold, and those of
            the native one for the others, or if None. Bytes that records were stored with are
            those of the day they were made, and may have counted less.

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
        losses = quadratic_loss(profile)(np.array(choices))
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"A measurement of {profile.source.model} holds a map that does not fit the profile.",
            "Move its store away and measure again.",
        ) from error
    return [
        _sized(profile, dataclasses.replace(m, predicted_loss=float(loss)), target)
        for m, loss in zip(records, losses, strict=True)
    ]


def _sized(profile: Profile, record: Measured, target: str | None) -> Measured:
    """A measurement with the bytes of its map in a target, or in the native one."""
    size = predicted_bytes(target_for_map(target, profile, record.options), profile, record.options)
    reduction = 1 - size / (4 * profile.source.parameters)
    return dataclasses.replace(record, bytes=size, reduction_vs_fp32=reduction)
