"""Recipes: every configuration names just what its runtime can hold, and whether it was tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.foreign import read_any_map
from genptq_core.errors import ConstraintError
from genptq_core.export.runtime_configs import (
    RUNTIME_CONFIGS,
    coverage,
    document,
    export_runtime_config,
    to_json,
)
from genptq_core.formats.export_file import verify
from genptq_core.targets.compressed_tensors import LINEAR
from tests.core import synthetic

PROFILE = synthetic.profile(0, units=9, bits=(2, 3, 4, 6, 8), group_size=(64, 8), rates=(2.5,))
KEYS = ("2/64", "3/8", "4/64", "6/8", "8/8", "16", "2.5", "4/8", "3/64")
CHOSEN = bit_map(PROFILE, KEYS)
MODULES = [unit.parameter.removesuffix(".weight") for unit in PROFILE.units]


@pytest.mark.parametrize("name", RUNTIME_CONFIGS)
def test_a_recipe_says_whether_it_was_tried_and_what_it_leaves(name: str, tmp_path: Path) -> None:
    files = export_runtime_config(PROFILE, CHOSEN, name, tmp_path / "out")
    assert files == ("bitmap.json", "export.json", "recipe.json")
    assert verify(tmp_path / "out").target == name
    content = json.loads((tmp_path / "out" / "recipe.json").read_text())
    tried = {"hqq": "tried with hqq 0.2.8.post1", "torchao": "tried with torchao 0.18.0"}
    assert content["status"] == tried.get(name, "untested")
    widths = RUNTIME_CONFIGS[name].widths
    for unit, option in zip(PROFILE.units, CHOSEN.options, strict=True):
        held = unit.part != "embedding" and option.form == "grid" and option.bits in widths
        assert (unit.name in content["left_at_16_bit"]) == (not held)
    # Written again, it is the same.
    first = (tmp_path / "out" / "export.json").read_bytes()
    export_runtime_config(PROFILE, CHOSEN, name, tmp_path / "out")
    assert (tmp_path / "out" / "export.json").read_bytes() == first


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("autoround", {"bits": 3, "group_size": 8, "sym": False, "data_type": "int"}),
        ("hqq", {"nbits": 3, "group_size": 8}),
        (
            "torchao",
            {
                "config": "IntxWeightOnlyConfig",
                "weight_dtype": "int3",
                "granularity": {"PerGroup": 8},
                "mapping_type": "ASYMMETRIC",
            },
        ),
    ],
)
def test_configurations_by_module(name: str, expected: dict[str, Any]) -> None:
    assert document(PROFILE, CHOSEN, name)["configuration"][MODULES[1]] == expected


def test_configurations_of_their_own_shape() -> None:
    mlx = document(PROFILE, CHOSEN, "mlx")["configuration"]["quantization"]
    assert mlx[MODULES[1]] == {"bits": 3, "group_size": 8} and mlx[MODULES[5]] is False
    dynamic = document(PROFILE, CHOSEN, "gptqmodel")["configuration"]["dynamic"]
    pattern = MODULES[1].replace(".", "[.]")
    assert dynamic[f"+:^{pattern}$"] == {"bits": 3, "group_size": 8, "sym": False}
    assert dynamic[f"-:^{MODULES[3].replace('.', '[.]')}$"] == {}  # it has no 6 bits


def test_autoround_s_recipe_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "layer_config.json"
    path.write_text(json.dumps(document(PROFILE, CHOSEN, "autoround")["configuration"]))
    found = read_any_map(path, PROFILE)
    for unit, before, after in zip(PROFILE.units, CHOSEN.options, found.map.options, strict=True):
        held = unit.part != "embedding" and before.form == "grid" and before.bits in (2, 3, 4, 8)
        assert after == before if held else after.form == "half"


def test_what_is_impossible_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match="HQQ can hold nothing"):
        export_runtime_config(PROFILE, bit_map(PROFILE, ["16"] * 9), "hqq", tmp_path / "out")
    with pytest.raises(ConstraintError, match="no configuration for 'gguf'"):
        export_runtime_config(PROFILE, CHOSEN, "gguf", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", RUNTIME_CONFIGS)
def test_the_share_that_a_runtime_holds_adds_up(name: str, tmp_path: Path) -> None:
    found, widths = coverage(PROFILE, CHOSEN, name), RUNTIME_CONFIGS[name].widths
    assert found.held + found.coded + found.width + found.place + found.half == len(KEYS)
    modules = [o for o, u in zip(CHOSEN.options, PROFILE.units, strict=True) if u.kind in LINEAR]
    grids = [o for o in modules if o.form == "grid"]
    assert found.held == sum(o.bits in widths for o in grids) > 0
    assert found.width == sum(o.bits not in widths for o in grids)
    assert found.coded == sum(o.form == "coded" for o in modules) == 1
    assert found.half == 1
    path = tmp_path / "recipe.json"
    path.write_text(to_json(PROFILE, CHOSEN, name))
    export_runtime_config(PROFILE, CHOSEN, name, tmp_path / "out")
    assert path.read_bytes() == (tmp_path / "out" / "recipe.json").read_bytes()
