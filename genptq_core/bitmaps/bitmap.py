"""Bit maps: the option of every unit of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BitMapError, ConstraintError
from ..options import Option, resolve
from ..profile import Profile
from ..storage.digests import sha256_json
from .schema import REMEDY


@dataclass(frozen=True)
class BitMap:
    """How each unit of a profile is stored.

    Attributes:
        options: option of each unit, in the profile's order.
        digest: SHA-256 over unit names and options; two maps with the same digest quantize a model
            in the same way.
    """

    options: tuple[Option, ...]
    digest: str

    @property
    def bits(self) -> tuple[float, ...]:
        """Width of each unit."""
        return tuple(option.bits for option in self.options)


def bit_map(profile: Profile, widths: Sequence[float | str | Option]) -> BitMap:
    """A bit map from a width for each unit.

    Args:
        profile: the profile.
        widths: an option, its key, or a bare width per unit; see `options.resolve`.

    Raises:
        BitMapError: a width is missing, or not on the profile's menu.
    """
    if len(widths) != len(profile.units):
        raise BitMapError(
            f"The bit map has {len(widths)} widths for the profile's {len(profile.units)} layers.",
            REMEDY,
        )
    held = frozenset(profile.menu)
    try:
        options = tuple(
            width
            if isinstance(width, Option) and width in held
            else resolve(profile.menu, width, unit.name)
            for unit, width in zip(profile.units, widths, strict=True)
        )
    except ConstraintError as error:
        raise BitMapError(str(error), REMEDY) from error
    keys = {unit.name: option.key for unit, option in zip(profile.units, options, strict=True)}
    return BitMap(options, sha256_json(keys))


def from_names(
    profile: Profile,
    bits: Mapping[str, Any],
    group_sizes: Mapping[str, Any] | None = None,
    where: str = "The bit map",
    *,
    blocks: Mapping[str, str] | None = None,
) -> BitMap:
    """A bit map from tables by unit name.

    Args:
        profile: the profile.
        bits: widths.
        group_sizes: weights that share a scale, 0 without groups; where None, bare widths are
            resolved as by `bit_map`.
        where: what holds the tables, for messages.
        blocks: block types of the units that have one.

    Raises:
        BitMapError: a unit is missing or unknown, or a width is not on the menu.
    """
    expected = {unit.name for unit in profile.units}
    for table in (bits, group_sizes or bits):
        unknown = [name for name in table if name not in expected]
        missing = [name for name in expected if name not in table]
        if unknown or missing:
            name = unknown[0] if unknown else sorted(missing)[0]
            fault = f"names {name!r}, which is no" if unknown else f"lacks {name!r}, which is a"
            raise BitMapError(
                f"{where} {fault} layer of {profile.source.model}.",
                "Use a map made for this profile.",
            )
    stray = next((name for name in blocks or () if name not in expected), None)
    if stray is not None:
        raise BitMapError(
            f"{where} names {stray!r}, which is no layer of {profile.source.model}.",
            "Use a map made for this profile.",
        )
    widths: list[float | Option] = []
    for unit in profile.units:
        width, size = bits[unit.name], (group_sizes or {}).get(unit.name)
        if isinstance(width, bool) or not isinstance(width, int | float):
            raise BitMapError(f"{where} gives {unit.name} the width {width!r}.", REMEDY)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
            raise BitMapError(f"{where} gives {unit.name} the group size {size!r}.", REMEDY)
        try:
            block = (blocks or {}).get(unit.name, "")
            plain = size is None and not block
            widths.append(width if plain else Option(width, size or 0, block))
        except (ValueError, OverflowError) as error:
            raise BitMapError(
                f"{where} gives {unit.name} {width!r} bits/{size}.", REMEDY
            ) from error
    return bit_map(profile, widths)
