"""Measurements with the loss that is predicted for their maps today."""

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
    """Measurements with today's predicted loss, whatever predictor was there when they were made.

    Args:
        profile: the profile.
        records: measurements of its maps.
        target: gives the maps that it can hold their sizes in it; the others keep theirs.

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
    """A measurement whose bytes are those of its map in a target, if that can hold it."""
    if target is None:
        return record
    size = predicted_bytes(target_for_map(target, profile, record.options), profile, record.options)
    reduction = 1 - size / (4 * profile.source.parameters)
    return dataclasses.replace(record, bytes=size, reduction_vs_fp32=reduction)
