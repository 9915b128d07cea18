"""Bit maps of a profile from maps that other programs wrote, so that they can be compared.

AutoRound's `layer_config` is a table from module names to `{"bits", "group_size"}`; a saved
configuration has it under `layer_config` or `extra_config`, next to the width of all other layers.
exllamav2's `strategy` is a table from module names, or from blocks with their modules, to
`{"bits": [4, 3], "bits_prop": [0.1, 0.9], "group_size": ...}`: parts of one matrix have different
widths, and their mean is taken. Modules are named with or without `.weight`. A layer that a map
does not name stays at 16 bit; each other layer gets the nearest option that the profile offers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PROGRAM, BitMapError
from ..options import UNQUANTIZED, USUAL_GROUP, Option
from ..profile import Profile
from ..storage.files import read_text
from .bitmap import BitMap, bit_map
from .file import read_bit_map

_TABLES = ("layer_config", "extra_config", "strategy")
_REMEDY = "Give a bit map, AutoRound's layer_config, or a strategy of exllamav2."


@dataclass(frozen=True)
class ForeignMap:
    """A bit map that was read from a file of any program.

    Attributes:
        map: the bit map.
        origin: the program that wrote it: "genptq", "autoround" or "exl2".
        changed: units whose wanted width or group size the profile does not offer exactly.
    """

    map: BitMap
    origin: str
    changed: tuple[str, ...]


def read_any_map(path: Path, profile: Profile) -> ForeignMap:
    """The bit map in a file of this program, AutoRound or exllamav2.

    Raises:
        BitMapError: the file cannot be read, or is of no known kind, or names no layer.
    """
    try:
        document = json.loads(read_text(path))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError):
        document = None  # `read_bit_map` says what is wrong with it
    if not isinstance(document, dict) or "schema" in document:
        return ForeignMap(map=read_bit_map(path, profile), origin="genptq", changed=())
    if "measurement" in document and "strategy" not in document:
        raise BitMapError(f"{path} holds measurements and no strategy.", _REMEDY)
    table = next((document[key] for key in _TABLES if key in document), document)
    if not isinstance(table, dict):
        raise BitMapError(f"{path} has no table of layers.", _REMEDY)
    wanted = dict(_wanted(table, path))
    origin = "exl2" if "strategy" in document or _any_lists(table) else "autoround"
    modules = {unit.parameter.removesuffix(".weight") for unit in profile.units}
    if not modules & wanted.keys():
        hint = f"This profile is of {profile.source.model}." if wanted else _REMEDY
        raise BitMapError(f"{path} names no layer of {profile.source.model}.", hint)
    usual = _widths(document, path) if "bits" in document else None
    options, changed = [], []
    for unit in profile.units:
        option, exact = _nearest(profile, wanted.get(unit.parameter.removesuffix(".weight"), usual))
        options.append(option)
        changed += [] if exact else [unit.name]
    return ForeignMap(map=bit_map(profile, options), origin=origin, changed=tuple(changed))


def _wanted(table: Mapping[str, Any], path: Path, above: str = "") -> Iterator[tuple[str, Any]]:
    """(module, (bits, group size)) of every entry, those inside blocks included."""
    for name, entry in table.items():
        full = f"{above}{name}".removesuffix(".weight")
        if isinstance(entry, dict) and "bits" in entry:
            yield full, _widths(entry, path, full)
        elif isinstance(entry, dict):
            yield from _wanted(entry, path, f"{full}.")


def _widths(entry: Mapping[str, Any], path: Path, name: str = "all layers") -> tuple[float, int]:
    """Bits and group size of one entry; of parts with different widths, their mean."""
    bits, size, parts = entry["bits"], entry.get("group_size"), entry.get("bits_prop")
    try:
        if isinstance(bits, list):
            parts = parts or [1 / len(bits)] * len(bits)
            bits = sum(b * part for b, part in zip(bits, parts, strict=True)) / sum(parts)
        if isinstance(size, dict):  # exllamav2: a group size per width
            size = max(size.values())
        if isinstance(bits, bool) or not 0 < bits <= 32:
            raise ValueError(bits)
        return float(bits), int(size or USUAL_GROUP)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise BitMapError(f"{path} gives {name} {entry!r}.", _REMEDY) from error


def _any_lists(table: Mapping[str, Any]) -> bool:
    """Whether an entry has several widths, as only exllamav2 writes."""
    return any(
        isinstance(entry, dict) and (isinstance(entry.get("bits"), list) or _any_lists(entry))
        for entry in table.values()
    )


def _nearest(profile: Profile, wanted: tuple[float, int] | None) -> tuple[Option, bool]:
    """The option nearest to a width and group size, and whether it is exactly that."""
    if wanted is None or wanted[0] >= 16:
        return UNQUANTIZED, True
    bits, size = wanted
    grids = [option for option in profile.menu if option.form == "grid"]
    if not grids:
        raise BitMapError(
            f"The profile of {profile.source.model} offers no integers.",
            f"Compute one with: {PROGRAM} profile --bits 2,3,4,8.",
        )
    size = size if size > 0 else max(option.group_size for option in grids)

    def distance(option: Option) -> tuple[float, float]:
        return abs(option.bits - bits), abs(math.log2(option.group_size / size))

    nearest = min(grids, key=distance)
    return nearest, (nearest.bits, nearest.group_size) == wanted
