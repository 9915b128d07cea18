"""Maps by others: read as the nearest map of the profile, or refused with the first thing wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.figures import figures_of
from genptq_core.bitmaps.file import write_bit_map
from genptq_core.bitmaps.foreign import ForeignMap, read_any_map
from genptq_core.errors import BitMapError
from genptq_core.options import UNQUANTIZED
from tests.core import synthetic

PROFILE = synthetic.profile(0, units=8, bits=(2, 3, 4, 8), group_size=(64, 8), rates=(2.5,))
MODULES = [unit.parameter.removesuffix(".weight") for unit in PROFILE.units]


def _read(tmp_path: Path, document: Any) -> ForeignMap:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(document))
    return read_any_map(path, PROFILE)


@pytest.mark.parametrize("under", ["", "layer_config", "extra_config"])
@pytest.mark.parametrize("suffix", ["", ".weight"])
def test_autoround_layer_config(tmp_path: Path, under: str, suffix: str) -> None:
    table = {
        f"{MODULES[0]}{suffix}": {"bits": 4, "group_size": 64, "sym": True},
        f"{MODULES[1]}{suffix}": {"bits": 3, "group_size": 8},
        f"{MODULES[2]}{suffix}": {"bits": 16, "data_type": "fp"},
        f"{MODULES[3]}{suffix}": {"bits": 5, "group_size": 128},
        "model.somewhere.else": {"bits": 2},
    }
    found = _read(tmp_path, {under: table} if under else table)
    assert found.origin == "autoround"
    assert [o.key for o in found.map.options[:4]] == ["4/64", "3/8", "16", "4/64"]
    assert found.map.options[4:] == (UNQUANTIZED,) * 4
    assert found.changed == (PROFILE.units[3].name,)
    assert figures_of(PROFILE, found.map).bytes > 0  # it stands on the same front


def test_widths_of_all_others(tmp_path: Path) -> None:
    table = {MODULES[0]: {"bits": 8, "group_size": 8}}
    found = _read(tmp_path, {"bits": 4, "group_size": 64, "extra_config": table})
    assert [o.key for o in found.map.options] == ["8/8"] + ["4/64"] * 7


def test_exl2_strategy_stands_for_its_mean(tmp_path: Path) -> None:
    block, leaf = MODULES[1].rsplit(".", 1)
    strategy = {
        MODULES[0]: {"bits": [4, 2], "bits_prop": [0.5, 0.5], "group_size": {"4": 64, "2": 8}},
        block: {leaf: {"bits": [8, 4], "bits_prop": [0.9, 0.1], "group_size": 8}},
    }
    found = _read(tmp_path, {"measurement": {}, "strategy": strategy})
    assert found.origin == "exl2"
    assert [o.key for o in found.map.options[:3]] == ["3/64", "8/8", "16"]


def test_our_own_maps_are_read_too(tmp_path: Path) -> None:
    chosen = bit_map(PROFILE, ["2.5"] * 8)
    write_bit_map(tmp_path / "map.json", PROFILE, chosen)
    assert read_any_map(tmp_path / "map.json", PROFILE) == ForeignMap(chosen, "genptq", ())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"measurement": {"model": []}}, "measurements and no strategy"),
        ({"layer_config": [1, 2]}, "no table of layers"),
        ({"model.other": {"bits": 4}}, "names no layer of synthetic"),
        ({}, "names no layer"),
        ({MODULES[0]: {"bits": "four"}}, f"gives {MODULES[0]}"),
        ({MODULES[0]: {"bits": True}}, f"gives {MODULES[0]}"),
        ({MODULES[0]: {"bits": [4], "bits_prop": [0]}}, f"gives {MODULES[0]}"),
        ({MODULES[0]: {"bits": -1}}, f"gives {MODULES[0]}"),
        ({MODULES[0]: {"bits": 4, "group_size": "x"}}, f"gives {MODULES[0]}"),
        ([], "not a genptq-bitmap file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(BitMapError, match=message):
        _read(tmp_path, document)


def test_a_profile_without_integers_is_named(tmp_path: Path) -> None:
    codes = synthetic.profile(0, units=8, bits=(), rates=(2.5,))
    path = tmp_path / "map.json"
    path.write_text(json.dumps({MODULES[0]: {"bits": 4}}))
    with pytest.raises(BitMapError, match="offers no integers"):
        read_any_map(path, codes)
