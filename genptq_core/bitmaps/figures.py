"""What is known of a bit map without measuring it, and the tables that its file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..allocation.predicted_loss import quadratic_loss
from ..options import Option
from ..profile import Profile
from ..targets import TARGETS, predicted_bytes, target_for_map, why_not_held
from .bitmap import BitMap
from .schema import Measurement


@dataclass(frozen=True)
class MapFigures:
    """What is known of a map without measuring it.

    Attributes:
        bytes: size of the whole model in a target, everything counted.
        avg_bits: mean code width over quantizable weights, scales not counted.
        predicted_loss: nats per token.
    """

    bytes: int
    avg_bits: float
    predicted_loss: float


def figures_of(profile: Profile, chosen: BitMap, target: str | None = None) -> MapFigures:
    """Size, mean width and predicted loss of a map.

    Args:
        profile: the profile.
        chosen: the map.
        target: name of the target whose bytes are meant, if it can hold the map; otherwise, or if
            None, they are those of the native one.
    """
    index = {option: i for i, option in enumerate(profile.menu)}
    choice = np.array([index[option] for option in chosen.options])
    form = target_for_map(target, profile, chosen.options)
    weights = np.array([unit.weights for unit in profile.units])
    return MapFigures(
        bytes=predicted_bytes(form, profile, chosen.options),
        avg_bits=float((weights * np.array(chosen.bits)).sum() / weights.sum()),
        predicted_loss=float(quadratic_loss(profile)(choice)),
    )


def bits_by_name(profile: Profile, options: Sequence[Option]) -> dict[str, float]:
    """Width of each unit, by name."""
    return {unit.name: option.bits for unit, option in zip(profile.units, options, strict=True)}


def groups_by_name(profile: Profile, options: Sequence[Option]) -> dict[str, int]:
    """Group size of each unit, by name; 0 where there are no groups."""
    chosen = zip(profile.units, options, strict=True)
    return {unit.name: option.group_size for unit, option in chosen}


def blocks_by_name(profile: Profile, options: Sequence[Option]) -> dict[str, str]:
    """Block type by name, of units that are stored as one."""
    chosen = zip(profile.units, options, strict=True)
    return {unit.name: option.block for unit, option in chosen if option.block}


def ways_by_name(profile: Profile, options: Sequence[Option]) -> dict[str, dict[str, Any]]:
    """Tables by unit name that say how each is stored: bits, group sizes, block types if any."""
    blocks = blocks_by_name(profile, options)
    return {
        "bits": bits_by_name(profile, options),
        "group_sizes": groups_by_name(profile, options),
        **({"blocks": blocks} if blocks else {}),
    }


def rows_by_name(profile: Profile) -> dict[str, list[int]]:
    """First row and the row after the last, by name, of units that are rows of a parameter."""
    return {u.name: [u.start, u.stop] for u in profile.units if u.name != u.parameter}


def bytes_by_target(profile: Profile, options: Sequence[Option]) -> dict[str, int]:
    """Predicted bytes in each target that can hold a map, by the target's name."""
    return {
        name: predicted_bytes(target, profile, options)
        for name, target in TARGETS.items()
        if why_not_held(target, profile, options) is None
    }


def measured_figures(record: Any) -> dict[str, Any]:
    """The fields of a measurement (a `records.Measured`) that a bit map file holds."""
    return Measurement.model_validate(record, from_attributes=True).model_dump()
