"""The bit map file: written, and read for a profile."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BitMapError
from ..profile import Profile
from ..storage.files import write_text
from ..storage.json_files import read_json, sealed
from ..targets import target_for_map, unit_bytes
from .bitmap import BitMap, from_names
from .figures import bits_by_name, bytes_by_target, groups_by_name, rows_by_name
from .schema import REMEDY, SCHEMA, VERSION, VERSIONS, parse


def bit_map_document(profile: Profile, chosen: BitMap, **figures: Any) -> dict[str, Any]:
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


def bit_map_json(profile: Profile, chosen: BitMap, **figures: Any) -> str:
    """A bit map file's text."""
    document = sealed(bit_map_document(profile, chosen, **figures))
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def bit_map_csv(profile: Profile, chosen: BitMap, target: str | None = None) -> str:
    """One line a unit: name, part, kind, block, rows, columns, bits, group size, bytes.

    Args:
        profile: the profile.
        chosen: the map.
        target: whose bytes they are, if it can hold the map; the native one's if absent.
    """
    sizes = unit_bytes(target_for_map(target, profile, chosen.options), profile, chosen.options)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["name", "part", "kind", "block", "rows", "columns", "bits", "group_size", "bytes"]
    )
    for unit, option, size in zip(profile.units, chosen.options, sizes, strict=True):
        shape = [unit.name, unit.part, unit.kind, unit.block, unit.rows, unit.columns]
        table.writerow([*shape, option.bits, option.group_size, size])
    return text.getvalue()


def write_bit_map(path: Path, profile: Profile, chosen: BitMap, **figures: Any) -> None:
    """Write a bit map file, atomically."""
    write_text(path, bit_map_json(profile, chosen, **figures))


def read_bit_map(path: Path, profile: Profile) -> BitMap:
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
