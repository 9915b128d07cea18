"""Bit maps: the width of every unit, as a file that anyone can read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BitMapError
from .files import read_json, sha256_json, write_text
from .profile import Profile

SCHEMA = "genptq-bitmap"
VERSION = 1
_REMEDY = "Write one with: python -m genptq_core solve --out bitmap.json."


@dataclass(frozen=True)
class BitMap:
    """Widths of a profile's units, in the profile's order.

    Attributes:
        bits: width of each unit.
        digest: SHA-256 over unit names, widths and group size: two maps of one digest quantize
            a model alike.
    """

    bits: tuple[int, ...]
    digest: str


def bit_map(profile: Profile, bits: tuple[int, ...]) -> BitMap:
    """A bit map of a profile.

    Raises:
        BitMapError: a width is missing, or not on the profile's menu.
    """
    if len(bits) != len(profile.units):
        raise BitMapError(
            f"The bit map has {len(bits)} widths for the profile's {len(profile.units)} layers.",
            _REMEDY,
        )
    for unit, width in zip(profile.units, bits, strict=True):
        if width not in profile.menu:
            raise BitMapError(
                f"{unit.name} is given {width!r} bits, and the profile offers "
                f"{', '.join(map(str, profile.menu))}.",
                _REMEDY,
            )
    return BitMap(bits, sha256_json([names(profile, bits), profile.settings.group_size]))


def names(profile: Profile, bits: tuple[int, ...]) -> dict[str, int]:
    """Width by unit name."""
    return {unit.name: width for unit, width in zip(profile.units, bits, strict=True)}


def from_names(profile: Profile, bits: Mapping[str, Any], where: str = "The bit map") -> BitMap:
    """A bit map from widths by unit name.

    Raises:
        BitMapError: a unit is missing or unknown, or a width is not on the menu.
    """
    expected = {unit.name for unit in profile.units}
    unknown = [name for name in bits if name not in expected]
    missing = [name for name in expected if name not in bits]
    if unknown or missing:
        fault = (
            f"names {unknown[0]!r}, which" if unknown else f"lacks {sorted(missing)[0]!r}, which"
        )
        verb = "is no layer of" if unknown else "is a layer of"
        raise BitMapError(
            f"{where} {fault} {verb} {profile.source.model}.", "Use a map made for this profile."
        )
    widths = []
    for unit in profile.units:
        width = bits[unit.name]
        if isinstance(width, bool) or not isinstance(width, int):
            raise BitMapError(f"{where} gives {unit.name} the width {width!r}.", _REMEDY)
        widths.append(width)
    return bit_map(profile, tuple(widths))


def to_document(profile: Profile, chosen: BitMap, **figures: Any) -> dict[str, Any]:
    """The content of a bit map file; `figures` are what was predicted or measured for it."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "model": profile.source.model,
        "model_digest": profile.source.model_digest,
        "profile_digest": profile.digest,
        "calibration_digest": profile.source.calibration_digest,
        "group_size": profile.settings.group_size,
        "symmetric": False,
        "digest": chosen.digest,
        **figures,
        "bits": names(profile, chosen.bits),
    }


def to_json(profile: Profile, chosen: BitMap, **figures: Any) -> str:
    """A bit map file's text."""
    return json.dumps(to_document(profile, chosen, **figures), indent=1, allow_nan=False) + "\n"


def to_csv(profile: Profile, chosen: BitMap) -> str:
    """One line a unit: name, part, kind, block, rows, columns, bits, bytes."""
    sizes = profile.option_bytes()
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", "part", "kind", "block", "rows", "columns", "bits", "bytes"])
    for index, (unit, width) in enumerate(zip(profile.units, chosen.bits, strict=True)):
        size = int(sizes[index, profile.menu.index(width)])
        table.writerow(
            [unit.name, unit.part, unit.kind, unit.block, unit.rows, unit.columns, width, size]
        )
    return text.getvalue()


def write(path: Path, profile: Profile, chosen: BitMap, **figures: Any) -> None:
    """Write a bit map file, atomically."""
    write_text(path, to_json(profile, chosen, **figures))


def read(path: Path, profile: Profile) -> BitMap:
    """Read a bit map file for a profile.

    Raises:
        BitMapError: the file is missing, damaged, of another schema, or of another model.
    """
    document = read_json(path, SCHEMA, VERSION, BitMapError, _REMEDY)
    bits = document.get("bits")
    if not isinstance(bits, dict):
        raise BitMapError(f"{path} has no table of bits.", _REMEDY)
    if document.get("model_digest") != profile.source.model_digest:
        raise BitMapError(
            f"{path} was made for another model ({document.get('model')!r}).",
            f"This profile is of {profile.source.model}.",
        )
    if document.get("group_size") != profile.settings.group_size:
        raise BitMapError(
            f"{path} has group size {document.get('group_size')!r}; the profile has "
            f"{profile.settings.group_size}.",
            "Use a map made for this profile.",
        )
    return from_names(profile, bits, str(path))
