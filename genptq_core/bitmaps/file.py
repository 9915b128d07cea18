"""Bit map files: JSON that is read back for a profile, and a table for people."""

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
from .figures import bytes_by_target, rows_by_name, ways_by_name
from .schema import REMEDY, SCHEMA, VERSION, VERSIONS, parse


def bit_map_document(profile: Profile, chosen: BitMap, **figures: Any) -> dict[str, Any]:
    """The content of a bit map file.

    Args:
        profile: the profile.
        chosen: the map.
        figures: what was predicted or measured for it, by field name of `schema.BitMapFile`.
    """
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
        **ways_by_name(profile, chosen.options),
        "rows": rows_by_name(profile),
    }


def bit_map_json(profile: Profile, chosen: BitMap, **figures: Any) -> str:
    """The text of a bit map file; `figures` as in `bit_map_document`."""
    document = sealed(bit_map_document(profile, chosen, **figures))
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def bit_map_csv(profile: Profile, chosen: BitMap, target: str | None = None) -> str:
    """A table with one line per unit: name, part, kind, block, rows, columns, bits, group size and
    bytes.

    Args:
        profile: the profile.
        chosen: the map.
        target: name of the target whose bytes are meant, if it can hold the map; otherwise, or if
            None, they are those of the native one.
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
    """Write a bit map file, atomically; `figures` as in `bit_map_document`."""
    write_text(path, bit_map_json(profile, chosen, **figures))


def read_bit_map(path: Path, profile: Profile) -> BitMap:
    """The bit map that a file holds, for a profile of the same model.

    Raises:
        BitMapError: the file is missing, damaged, of another schema, or of another model.
    """
    content = parse(read_json(path, SCHEMA, VERSIONS, BitMapError, REMEDY), path)
    if content.model_digest != profile.source.model_digest:
        raise BitMapError(
            f"{path} was made for another model ({content.model!r}).",
            f"This profile is of {profile.source.model}.",
        )
    bits, sizes, size = content.bits, content.group_sizes, content.group_size
    if sizes is None and size is not None:  # version 1 had one group size for all units
        sizes = {name: size if width != 16 else 0 for name, width in bits.items()}
    if content.rows is not None:
        _check_rows(profile, content.rows, path)
    return from_names(profile, bits, sizes, str(path), blocks=content.blocks)


def _check_rows(profile: Profile, rows: Mapping[str, Sequence[int]], path: Path) -> None:
    """Raise where a file's units are other rows than the profile's units of the same names."""
    for name, expected in rows_by_name(profile).items():
        if name in rows and list(rows[name]) != expected:
            raise BitMapError(
                f"{path} says that {name} is rows {list(rows[name])}; it is rows {expected}.",
                "Use a map made for this profile.",
            )
