"""Recipes: every configuration names just what its runtime can hold, and what followed it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genptq_core.bitmaps.bitmap import bit_map
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
def test_a_recipe_says_what_followed_it_and_what_it_leaves(name: str, tmp_path: Path) -> None:
    files = export_runtime_config(PROFILE, CHOSEN, name, tmp_path / "out")
    assert files == ("bitmap.json", "export.json", "recipe.json")
    assert verify(tmp_path / "out").target == name
    content = json.loads((tmp_path / "out" / "recipe.json").read_text())
    tried = {"hqq": "tried with hqq 0.2.8.post1", "torchao": "tried with torchao 0.18.0"}
    assert content["status"] == tried[name]
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
