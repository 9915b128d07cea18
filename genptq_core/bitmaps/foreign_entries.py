"""Entries of other programs' maps: what width each wants, or what is wrong with it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_KEYS = {
    *("bits", "group_size", "sym", "data_type", "super_bits", "super_group_size", "scale_dtype"),
    *("act_bits", "act_group_size", "act_sym", "act_data_type", "act_dynamic"),
    *("fixed_by_user", "in_blocks"),  # AutoRound's own notes
    *("bits_prop", "scale_bits"),  # exllamav2's
}
_DEEPEST = 8  # blocks within blocks
_LARGEST_GROUP = 2**20
_DIGITS = re.compile(r"[0-9]{1,2}")


@dataclass(frozen=True)
class Wanted:
    """What a map wants for a layer.

    Attributes:
        bits: width; of parts with different widths, their mean.
        group_size: weights that share a scale; -1 for a row, 0 for the whole matrix, None if it
            does not say.
    """

    bits: float
    group_size: int | None

    @property
    def key(self) -> str:
        """As an option's key: "4/64", or "4/-1" for rows."""
        size = "" if self.group_size is None or self.bits >= 16 else f"/{self.group_size}"
        return f"{round(self.bits, 3):g}{size}"


def entries(
    table: Mapping[str, Any], usual: Wanted | None, above: str = "", depth: int = 0
) -> Iterator[tuple[str, Wanted]]:
    """(name, what it wants) of every entry of a table, those inside blocks included.

    Args:
        table: entries by the names of modules, parameters or blocks, or by patterns.
        usual: what an entry wants where it does not say.
        above: the blocks around the table, for names.
        depth: how many there are.

    Raises:
        ValueError: an entry is not understood; says which.
    """
    for name, entry in table.items():
        full = f"{above}{name}"
        if isinstance(entry, dict) and (not entry or not _KEYS.isdisjoint(entry)):
            yield full.removesuffix(".weight"), wanted(entry, usual, full)
        elif isinstance(entry, dict) and depth < _DEEPEST:
            yield from entries(entry, usual, f"{full}.", depth + 1)
        elif depth and (isinstance(entry, int | float) or entry is None):
            continue  # exllamav2 notes figures of a block beside its modules
        else:
            raise ValueError(f"gives {full[:100]} {_short(entry)}")


def wanted(entry: Mapping[str, Any], usual: Wanted | None, name: str) -> Wanted:
    """What one entry wants.

    Args:
        entry: its fields.
        usual: what holds where it does not say; None if nothing does.
        name: what it is for, in messages.

    Raises:
        ValueError: it is not understood; says why.
    """
    unknown = sorted(entry.keys() - _KEYS)
    try:
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not known")
        bits = _bits(entry, usual)
        size = entry.get("group_size")
        if isinstance(size, dict):  # exllamav2: a group size per width
            size = max(map(_whole, size.values()))
        size = (usual.group_size if usual else None) if size is None else _whole(size)
        if size is not None and not -1 <= size <= _LARGEST_GROUP:
            raise ValueError(f"no group has {size} weights")
        kind = entry.get("data_type")
        if kind is not None and not isinstance(kind, str):
            raise ValueError("its data type is no name")
        if bits < 16 and kind is not None and not kind.lower().startswith(("int", "uint")):
            raise ValueError(f"codes of data type {kind!r} are not offered, only integers")
        activations = entry.get("act_bits")
        if activations is not None and not _number(activations) >= 16:
            raise ValueError("activations are quantized too, which is not offered")
        return Wanted(bits, size)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"gives {name[:100]} {_short(entry)}: {error}") from error


def _bits(entry: Mapping[str, Any], usual: Wanted | None) -> float:
    bits = entry.get("bits")
    if bits is None:
        named = _DIGITS.search(str(entry.get("data_type", "")))
        if named is None and usual is None:
            raise ValueError("it gives no width")
        bits = int(named[0]) if named else usual.bits if usual else 0
    if isinstance(bits, list):
        widths = [_number(width) for width in bits]
        parts = entry.get("bits_prop")
        shares = [_number(part) for part in parts] if parts else [1 / max(len(bits), 1)] * len(bits)
        if len(shares) != len(widths) or min(shares, default=-1) < 0:
            raise ValueError("its widths and shares do not match")
        if abs(sum(shares) - 1) > 0.01:
            raise ValueError(f"its shares add up to {sum(shares):g}")
        bits = sum(map(math.prod, zip(widths, shares, strict=True))) / sum(shares)
    if not 0 < _number(bits) <= 32:
        raise ValueError(f"no weight has {bits} bits")
    return float(bits)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{_short(value)} is no number")
    return value


def _whole(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError(f"{value!r} is no whole number")
    return int(number)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
