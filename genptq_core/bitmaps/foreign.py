"""Bit maps of a profile from maps that other programs wrote, so that they can be compared.

AutoRound's `layer_config` is a table from module names to `{"bits", "group_size"}`; a saved
configuration has it under `layer_config` or `extra_config`, next to the width of all other layers.
As in AutoRound, a name that is no module's is searched for in the names of linear layers: it may
be a pattern, or a part such as `fc1`; a module's own entry comes before any pattern. The width of
all others is that of the linear layers in blocks: embedding, convolutions and output stay as they
are unless the map names them.
exllamav2's `strategy` is a table from module names, or from blocks with their modules, to
`{"bits": [4, 3], "bits_prop": [0.1, 0.9], "group_size": ...}`: parts of one matrix have different
widths, and their mean is taken.

Modules are named with or without `.weight`. A layer that a map does not name stays at 16 bit; each
other layer gets the nearest option that the profile offers, and the map says where that is another
one than it wants. An entry that names no layer is refused.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PROGRAM, BitMapError
from ..options import UNQUANTIZED, USUAL_GROUP, Option
from ..profile import Profile
from ..storage.files import read_text
from ..targets.compressed_tensors import LINEAR
from ..units import Unit
from .bitmap import BitMap, bit_map
from .file import read_bit_map
from .foreign_entries import Wanted, entries, wanted
from .patterns import Pattern, is_pattern

_TABLES = ("layer_config", "extra_config", "strategy")
_BLOCKS = ("block_name_to_quantize", "to_quant_block_names")
_USUAL = ("bits", "group_size", "data_type", "act_bits")
_UNREAD = ("dynamic", "modules_to_not_convert", "modules_in_block_to_quantize")
_REMEDY = "Give a bit map, AutoRound's layer_config, or a strategy of exllamav2."
_MOST_PATTERNS = 256  # a configuration of real size has a few,
_MOST_CHARACTERS = 8192  # and short ones


@dataclass(frozen=True)
class Changed:
    """A unit that does not get what a map wants.

    Attributes:
        unit: its name.
        wanted: what the map wants, as an option's key: "1/64"; a group of -1 is a row, of 0 all.
        given: key of the option that it gets.
    """

    unit: str
    wanted: str
    given: str


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
    changed: tuple[Changed, ...]

    @property
    def in_words(self) -> str:
        """What was changed, as a sentence; "" if nothing was."""
        if not self.changed:
            return ""
        counts = Counter((change.wanted, change.given) for change in self.changed)
        steps = ", ".join(
            f"{count} from {before} to {after}" for (before, after), count in counts.items()
        )
        return (
            f"{len(self.changed)} of {len(self.map.options)} layers changed to what the profile "
            f"offers (bits/group): {steps}."
        )


def read_any_map(path: Path, profile: Profile) -> ForeignMap:
    """The bit map in a file of this program, AutoRound or exllamav2.

    Raises:
        BitMapError: the file cannot be read, is of no known kind, has an entry that is not
            understood or that names no layer, or names a layer twice.
    """
    try:
        document = json.loads(read_text(Path(path)), object_pairs_hook=_each_once)
    except _TwiceError as error:
        raise BitMapError(
            f"{path} names {str(error)[:100]!r} twice.", "Keep one of them."
        ) from None
    except (OSError, UnicodeDecodeError, ValueError, RecursionError):
        document = None  # `read_bit_map` says what is wrong with it
    if not isinstance(document, dict) or "schema" in document:
        return ForeignMap(map=read_bit_map(path, profile), origin="genptq", changed=())
    try:
        return _read(document, profile)
    except ValueError as error:
        raise BitMapError(f"{path} {error}.", _REMEDY) from error


class _TwiceError(Exception):
    """A name that occurs twice in one table."""


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise _TwiceError(next(n for n, c in Counter(name for name, _ in pairs).items() if c > 1))
    return table


def _read(document: Mapping[str, Any], profile: Profile) -> ForeignMap:
    """The map of a document; raises ValueError with the rest of a sentence about its file."""
    inner = document.get("quantization_config")
    document = inner if isinstance(inner, dict) else document  # a model's own configuration
    if "measurement" in document and "strategy" not in document:
        raise ValueError("holds measurements and no strategy")
    for key in _UNREAD:
        if document.get(key):
            raise ValueError(f"has {key!r}, which is not read")
    usual = None
    if "bits" in document and not isinstance(document["bits"], dict):
        settings = {key: document[key] for key in _USUAL if key in document}
        usual = wanted(settings, None, "all layers")
    table = _table(document, is_configuration=usual is not None)
    origin = "exl2" if "strategy" in document or _any_lists(table) else "autoround"
    if not table and usual is None:
        raise ValueError(f"names no layer of {profile.source.model}")
    wants = _by_module(_each_entry(table, usual), profile.units, origin, profile.source.model)
    options, changed = [], []
    for unit in profile.units:
        module = _module(unit)
        by_default = unit.kind in LINEAR and _in_blocks(module, document)
        want = wants.get(module, usual if by_default else None)
        option, exact = _nearest(profile, want)
        options.append(option)
        if want is not None and not exact:
            changed.append(Changed(unit.name, want.key, option.key))
    return ForeignMap(map=bit_map(profile, options), origin=origin, changed=tuple(changed))


def _each_entry(table: Mapping[str, Any], usual: Wanted | None) -> dict[str, Wanted]:
    """What each entry wants, by its name."""
    found: dict[str, Wanted] = {}
    for name, want in entries(table, usual):
        if name in found:
            raise ValueError(f"names {name[:100]!r} twice")
        found[name] = want
    return found


def _table(document: Mapping[str, Any], *, is_configuration: bool) -> Mapping[str, Any]:
    """The entries of a document."""
    held = [key for key in _TABLES if document.get(key) is not None]
    full = [key for key in held if document[key]]
    if len(full) > 1:
        raise ValueError(f"has both {full[0]!r} and {full[1]!r}")
    if held:
        table = document[(full or held)[0]]
        if not isinstance(table, dict):
            raise ValueError("has no table of layers")
        return table
    if is_configuration:  # beside its settings, which are no tables, may be entries
        return {name: entry for name, entry in document.items() if isinstance(entry, dict)}
    return {name: entry for name, entry in document.items() if name not in _TABLES}


def _by_module(
    found: Mapping[str, Wanted], units: Sequence[Unit], origin: str, model: str
) -> dict[str, Wanted]:
    """What is wanted for modules that are named, by their own names or by patterns."""
    modules = {_module(unit): unit for unit in units}
    # A tied output is the embedding under another name.
    tied = {unit.inputs: _module(unit) for unit in units if unit.kind == "embedding"}
    own = {name: tied.get(name, name) for name in found}
    wants: dict[str, Wanted] = {}
    for name, want in found.items():
        if own[name] in modules and wants.setdefault(own[name], want) != want:
            raise ValueError(f"names {own[name]!r} twice")
    others = [name for name in found if own[name] not in modules]
    patterns = list(filter(is_pattern, others))
    if len(patterns) > _MOST_PATTERNS:
        raise ValueError(f"has more than {_MOST_PATTERNS} patterns")
    if sum(map(len, patterns)) > _MOST_CHARACTERS:
        raise ValueError(f"has patterns of more than {_MOST_CHARACTERS} characters in all")
    by_pattern: dict[str, str] = {}
    for name in others:
        matched = [] if origin == "exl2" else _matched(name, modules)
        if not matched:
            raise ValueError(f"names {name[:100]!r}, which matches no layer of {model}")
        for module in matched:
            earlier = by_pattern.setdefault(module, name)
            if found[earlier] != found[name] and module not in wants:
                raise ValueError(
                    f"gives {module} two widths, by {earlier[:100]!r} and by {name[:100]!r}"
                )
    return {module: found[name] for module, name in by_pattern.items()} | wants


def _matched(name: str, modules: Mapping[str, Unit]) -> list[str]:
    """Modules in whose names a pattern or a part of a name is found.

    Linear layers come first, as patterns of AutoRound stand for them alone; only one that matches
    none of them may mean others.
    """
    if is_pattern(name):
        try:
            pattern = Pattern(name)
        except ValueError as error:
            raise ValueError(f"has the pattern {name[:100]!r}, of which {error}") from error
        matched = [module for module in modules if pattern.matches(module)]
    else:
        matched = [module for module in modules if f".{name}." in f".{module}."]
        if len(matched) < sum(name in module for module in modules):
            raise ValueError(
                f"names {name[:100]!r}, which is a part of a layer's name but not of it whole"
            )
    linear = [module for module in matched if modules[module].kind in (*LINEAR, "output")]
    return linear or matched


def _in_blocks(module: str, document: Mapping[str, Any]) -> bool:
    """Whether a module is in the blocks that a configuration quantizes: all, if it names none."""
    for key in _BLOCKS:
        blocks = document.get(key)
        if blocks is None:
            continue
        listed = blocks.split(",") if isinstance(blocks, str) else _flat(blocks)
        if not all(isinstance(block, str) for block in listed):
            raise ValueError(f"has {key!r} that is no list of names")
        return any(module == block or module.startswith(f"{block}.") for block in listed)
    return True


def _flat(blocks: object) -> list[Any]:
    """A list of names, or of lists of names, as one list."""
    rows = blocks if isinstance(blocks, list) else [blocks]
    return [name for row in rows for name in (row if isinstance(row, list) else [row])]


def _module(unit: Unit) -> str:
    return unit.parameter.removesuffix(".weight")


def _any_lists(table: Mapping[str, Any]) -> bool:
    """Whether an entry has several widths, as only exllamav2 writes."""
    return any(
        isinstance(entry, dict)
        and (
            isinstance(entry.get("bits"), list)
            or any(isinstance(e, dict) and isinstance(e.get("bits"), list) for e in entry.values())
        )
        for entry in table.values()
    )


def _nearest(profile: Profile, want: Wanted | None) -> tuple[Option, bool]:
    """The option nearest to what is wanted, and whether it is exactly that."""
    if want is None or want.bits >= 16:
        return UNQUANTIZED, True
    grids = [option for option in profile.menu if option.form == "grid"]
    if not grids:
        raise BitMapError(
            f"The profile of {profile.source.model} offers no integers.",
            f"Compute one with: {PROGRAM} profile --bits 2,3,4,8.",
        )
    size = USUAL_GROUP if want.group_size is None else want.group_size
    if size <= 0:
        size = max(option.group_size for option in grids)

    def distance(option: Option) -> tuple[float, float]:
        return abs(option.bits - want.bits), abs(math.log2(option.group_size / size))

    nearest = min(grids, key=distance)
    same_group = want.group_size in (None, nearest.group_size)
    return nearest, nearest.bits == want.bits and same_group
