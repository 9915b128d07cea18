"""Bit maps: the width of every unit, as a file that anyone can read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bitmap_file import REMEDY, SCHEMA, VERSION, VERSIONS, Measurement, parse
from .errors import BitMapError, ConstraintError
from .files import read_json, sealed, sha256_json, write_text
from .options import Option, resolve
from .profile import Profile
from .targets import TARGETS, fault, predicted_bytes, spent, target_of


@dataclass(frozen=True)
class BitMap:
    """Widths of a profile's units, in the profile's order.

    Attributes:
        options: option of each unit.
        digest: SHA-256 over unit names and options: two maps of one digest quantize a model
            alike.
    """

    options: tuple[Option, ...]
    digest: str

    @property
    def bits(self) -> tuple[float, ...]:
        """Width of each unit."""
        return tuple(option.bits for option in self.options)


def bit_map(profile: Profile, widths: Sequence[float | str | Option]) -> BitMap:
    """A bit map of a profile.

    Args:
        profile: the profile.
        widths: an option, its key, or a bare width for each unit; see `options.resolve`.

    Raises:
        BitMapError: a width is missing, or not on the profile's menu.
    """
    if len(widths) != len(profile.units):
        raise BitMapError(
            f"The bit map has {len(widths)} widths for the profile's {len(profile.units)} layers.",
            REMEDY,
        )
    try:
        options = tuple(
            resolve(profile.menu, width, unit.name)
            for unit, width in zip(profile.units, widths, strict=True)
        )
    except ConstraintError as error:
        raise BitMapError(str(error), REMEDY) from error
    keys = {unit.name: option.key for unit, option in zip(profile.units, options, strict=True)}
    return BitMap(options, sha256_json(keys))


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
        if fault(target, profile, options) is None
    }


def measured_figures(record: Any) -> dict[str, Any]:
    """What a file says of a measurement (a `store.Measured`)."""
    return Measurement.model_validate(record, from_attributes=True).model_dump()


def from_names(
    profile: Profile,
    bits: Mapping[str, Any],
    group_sizes: Mapping[str, Any] | None = None,
    where: str = "The bit map",
) -> BitMap:
    """A bit map from widths, and group sizes if there are, by unit name.

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
    widths: list[float | Option] = []
    for unit in profile.units:
        width, size = bits[unit.name], (group_sizes or {}).get(unit.name)
        if isinstance(width, bool) or not isinstance(width, int | float):
            raise BitMapError(f"{where} gives {unit.name} the width {width!r}.", REMEDY)
        if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
            raise BitMapError(f"{where} gives {unit.name} the group size {size!r}.", REMEDY)
        try:
            widths.append(width if size is None else Option(width, size))
        except (ValueError, OverflowError) as error:
            raise BitMapError(
                f"{where} gives {unit.name} {width!r} bits/{size}.", REMEDY
            ) from error
    return bit_map(profile, widths)


def to_document(profile: Profile, chosen: BitMap, **figures: Any) -> dict[str, Any]:
    """The content of a bit map file; `figures` are what was predicted or measured for it."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "model": profile.source.model,
        "model_digest": profile.source.model_digest,
        "profile_digest": profile.digest,
        "calibration_digest": profile.source.calibration_digest,
        "symmetric": False,
        "digest": chosen.digest,
        **figures,
        "bytes_by_target": bytes_by_target(profile, chosen.options),
        "bits": bits_by_name(profile, chosen.options),
        "group_sizes": groups_by_name(profile, chosen.options),
        "rows": rows_by_name(profile),
    }


def to_json(profile: Profile, chosen: BitMap, **figures: Any) -> str:
    """A bit map file's text."""
    document = sealed(to_document(profile, chosen, **figures))
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def to_csv(profile: Profile, chosen: BitMap, target: str | None = None) -> str:
    """One line a unit: name, part, kind, block, rows, columns, bits, group size, bytes in a target.

    Raises:
        ConstraintError: there is no such target.
    """
    sizes = spent(target_of(target), profile, chosen.options)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["name", "part", "kind", "block", "rows", "columns", "bits", "group_size", "bytes"]
    )
    for unit, option, size in zip(profile.units, chosen.options, sizes, strict=True):
        shape = [unit.name, unit.part, unit.kind, unit.block, unit.rows, unit.columns]
        table.writerow([*shape, option.bits, option.group_size, size])
    return text.getvalue()


def write(path: Path, profile: Profile, chosen: BitMap, **figures: Any) -> None:
    """Write a bit map file, atomically."""
    write_text(path, to_json(profile, chosen, **figures))


def read(path: Path, profile: Profile) -> BitMap:
    """Read a bit map file for a profile.

    Raises:
        BitMapError: the file is missing, damaged, of another schema, or of another model.
    """
    document = read_json(path, SCHEMA, VERSIONS, BitMapError, REMEDY)
    found = parse(document, path)
    if found.model_digest != profile.source.model_digest:
        raise BitMapError(
            f"{path} was made for another model ({found.model!r}).",
            f"This profile is of {profile.source.model}.",
        )
    sizes = found.group_sizes
    if sizes is None and found.group_size is not None:  # version 1 had one for all
        sizes = {name: found.group_size if bits != 16 else 0 for name, bits in found.bits.items()}
    if found.rows is not None:
        _check_rows(profile, found.rows, path)
    return from_names(profile, found.bits, sizes, str(path))


def _check_rows(profile: Profile, rows: Mapping[str, Sequence[int]], path: Path) -> None:
    for name, expected in rows_by_name(profile).items():
        if name in rows and list(rows[name]) != expected:
            raise BitMapError(
                f"{path} says that {name} is rows {list(rows[name])}; it is rows {expected}.",
                "Use a map made for this profile.",
            )
