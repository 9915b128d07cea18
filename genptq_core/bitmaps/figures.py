"""What is known of a bit map without measuring: its widths by name, its bytes, its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..allocation.predicted_loss import quadratic_loss
from ..options import Option
from ..profile import Profile
from ..targets import TARGETS, predicted_bytes, target_for_map, why_not_held
from .bitmap import BitMap
from .schema import Measurement


def bits_by_name(profile: Profile, options: Sequence[Option]) -> dict[str, float]:
    """Width by unit name."""
    return {unit.name: option.bits for unit, option in zip(profile.units, options, strict=True)}


def groups_by_name(profile: Profile, options: Sequence[Option]) -> dict[str, int]:
    """Group size by unit name, 0 where there are no groups."""
    chosen = zip(profile.units, options, strict=True)
    return {unit.name: option.group_size for unit, option in chosen}


def rows_by_name(profile: Profile) -> dict[str, list[int]]:
    """First row and one past the last, by unit name, of units that are rows of a parameter."""
    return {u.name: [u.start, u.stop] for u in profile.units if u.name != u.parameter}


def bytes_by_target(profile: Profile, options: Sequence[Option]) -> dict[str, int]:
    """Predicted bytes by target, of those that can hold a map."""
    return {
        name: predicted_bytes(target, profile, options)
        for name, target in TARGETS.items()
        if why_not_held(target, profile, options) is None
    }


def measured_figures(record: Any) -> dict[str, Any]:
    """What a file says of a measurement (a `store.Measured`)."""
    return Measurement.model_validate(record, from_attributes=True).model_dump()


def figures_of(
    profile: Profile, chosen: BitMap, target: str | None = None
) -> tuple[int, float, float]:
    """What is known of a map without measuring: bytes, mean code width, predicted loss.

    Args:
        profile: the profile.
        chosen: the map.
        target: whose bytes they are, if it can hold the map; the native one's if absent.
    """
    index = {option: i for i, option in enumerate(profile.menu)}
    choice = np.array([index[option] for option in chosen.options])
    form = target_for_map(target, profile, chosen.options)
    size = predicted_bytes(form, profile, chosen.options)
    weights = np.array([unit.weights for unit in profile.units])
    average = float((weights * np.array(chosen.bits)).sum() / weights.sum())
    return size, average, float(quadratic_loss(profile)(choice))
