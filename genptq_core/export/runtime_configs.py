"""A bit map as the configuration of another quantizer, which rounds the original itself.

Its file is named `recipe.json`, as it was from its first version. It names the version of the
runtime that followed it in `benchmarks.runtime_configs`. What a runtime cannot hold (row blocks,
convolutions, widths that it lacks) stays at 16 bit, and is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bitmaps.bitmap import BitMap
from ..bitmaps.file import write_bit_map
from ..errors import ConstraintError
from ..formats import export_file
from ..options import UNQUANTIZED, Option
from ..profile import Profile
from ..storage.folders import atomic_folder
from ..storage.json_files import sealed, write_json
from ..targets.compressed_tensors import LINEAR
from ..units import Unit

SCHEMA = "genptq-recipe"
VERSION = 1
NAME = "recipe.json"


@dataclass(frozen=True)
class RuntimeConfig:
    """How one runtime is told the width of each layer.

    Attributes:
        title: the runtime's name.
        widths: widths that it has, bits.
        use: what to do with the configuration.
        configuration: makes the configuration from options by module name.
        tried: package and version that followed it.
    """

    title: str
    widths: tuple[int, ...]
    use: str
    configuration: Callable[[Mapping[str, Option]], dict[str, Any]]
    tried: str

    @property
    def status(self) -> str:
        """With what it was run, in a few words."""
        return f"tried with {self.tried}"


def _hqq(options: Mapping[str, Option]) -> dict[str, Any]:
    return {
        name: {"nbits": option.bits, "group_size": option.group_size}
        for name, option in options.items()
        if option.form == "grid"
    }


def _torchao(options: Mapping[str, Option]) -> dict[str, Any]:
    return {
        name: {
            "config": "IntxWeightOnlyConfig",
            "weight_dtype": f"int{option.bits}",
            "granularity": {"PerGroup": option.group_size},
            "mapping_type": "ASYMMETRIC",
        }
        for name, option in options.items()
        if option.form == "grid"
    }


RUNTIME_CONFIGS = {
    "hqq": RuntimeConfig(
        title="HQQ",
        widths=(1, 2, 3, 4, 8),
        use="Replace each named layer: HQQLinear(layer, BaseQuantizeConfig(**configuration[name]))",
        configuration=_hqq,
        tried="hqq 0.2.8.post1",
    ),
    "torchao": RuntimeConfig(
        title="torchao",
        widths=(1, 2, 3, 4, 5, 6, 7, 8),
        use="quantize_(model, FqnToConfig(...)), one IntxWeightOnlyConfig a name; it stores int8, "
        "so no size is won below 8 bits",
        configuration=_torchao,
        tried="torchao 0.18.0",
    ),
}
"""Configurations by the name under which they are exported."""


@dataclass(frozen=True)
class Coverage:
    """How much of a map a runtime holds, in units; the counts add up to all of them.

    Attributes:
        widths: widths that it has, bits.
        held: units that it stores as the map says.
        coded: whole Linear modules that are entropy-coded.
        width: whole Linear modules of a width that it lacks.
        place: quantized units that are not whole Linear modules: row blocks, convolutions.
        half: units that the map leaves at 16 bit.
    """

    widths: tuple[int, ...]
    held: int
    coded: int
    width: int
    place: int
    half: int


def coverage(profile: Profile, chosen: BitMap, name: str) -> Coverage:
    """How much of a map a runtime holds.

    Args:
        profile: the profile.
        chosen: the map.
        name: the runtime's configuration, of `RUNTIME_CONFIGS`.
    """
    widths = RUNTIME_CONFIGS[name].widths
    _, unheld = _by_module(profile, chosen, widths)
    counts = {"coded": 0, "width": 0, "place": 0, "half": 0}
    for unit, option in zip(profile.units, chosen.options, strict=True):
        if unit.name not in unheld:
            continue
        if option.form == "half":
            counts["half"] += 1
        elif not _is_module(unit):
            counts["place"] += 1
        else:
            counts["coded" if option.form == "coded" else "width"] += 1
    return Coverage(
        widths=widths,
        held=len(profile.units) - len(unheld),
        coded=counts["coded"],
        width=counts["width"],
        place=counts["place"],
        half=counts["half"],
    )


def to_json(profile: Profile, chosen: BitMap, name: str) -> str:
    """The text of a configuration's file; arguments as in `document`.

    Raises:
        ConstraintError: there is none of that name, or the runtime could hold nothing of the map.
    """
    content = {"schema": SCHEMA, "version": VERSION, **document(profile, chosen, name)}
    return json.dumps(sealed(content), indent=1, allow_nan=False) + "\n"


def document(profile: Profile, chosen: BitMap, name: str) -> dict[str, Any]:
    """The content of a configuration's file.

    Args:
        profile: the profile.
        chosen: the map.
        name: the runtime's configuration, of `RUNTIME_CONFIGS`.

    Raises:
        ConstraintError: there is none of that name, or the runtime could hold nothing of the map.
    """
    if name not in RUNTIME_CONFIGS:
        raise ConstraintError(
            f"There is no configuration for {name!r}.",
            f"There are some for: {', '.join(RUNTIME_CONFIGS)}.",
        )
    config = RUNTIME_CONFIGS[name]
    options, unheld = _by_module(profile, chosen, config.widths)
    if all(option.form == "half" for option in options.values()):
        raise ConstraintError(
            f"{config.title} can hold nothing of this map.", "Solve with --target integer."
        )
    return {
        "runtime": config.title,
        "status": config.status,
        "model": profile.source.model,
        "map_digest": chosen.digest,
        "use": config.use,
        "left_at_16_bit": unheld,
        "configuration": config.configuration(options),
    }


def export_runtime_config(
    profile: Profile, chosen: BitMap, name: str, out: Path
) -> tuple[str, ...]:
    """Write a configuration and its bit map to a folder, which appears whole or not at all.

    Args:
        profile: the profile.
        chosen: the map.
        name: the runtime's configuration, of `RUNTIME_CONFIGS`.
        out: the folder; an earlier export there is replaced.

    Returns:
        Names of the files.

    Raises:
        ConstraintError: there is none of that name, or the runtime could hold nothing of the map.
        ExportError: the folder cannot be written.
    """
    content = document(profile, chosen, name)
    with atomic_folder(Path(out), export_file.NAME) as folder:
        write_json(folder / NAME, SCHEMA, VERSION, content)
        write_bit_map(folder / "bitmap.json", profile, chosen)
        source = profile.source
        export_file.write(
            folder,
            export_file.ExportFile(
                target=name,
                model=source.model,
                family=source.family,
                model_digest=source.model_digest,
                profile_digest=profile.digest,
                map_digest=chosen.digest,
                bytes=0,
                files=export_file.digests(folder),
            ),
        )
    return tuple(sorted(path.name for path in Path(out).iterdir()))


def _by_module(
    profile: Profile, chosen: BitMap, widths: tuple[int, ...]
) -> tuple[dict[str, Option], list[str]]:
    """Options by name of whole Linear modules, and names of all units that stay at 16 bit."""
    options: dict[str, Option] = {}
    unheld = []
    for unit, option in zip(profile.units, chosen.options, strict=True):
        whole = _is_module(unit)
        held = whole and option.form == "grid" and option.bits in widths
        if whole:
            options[unit.parameter.removesuffix(".weight")] = option if held else UNQUANTIZED
        if not held:
            unheld.append(unit.name)
    return options, unheld


def _is_module(unit: Unit) -> bool:
    """Whether a unit is a whole Linear module."""
    return unit.kind in LINEAR and unit.name == unit.parameter
