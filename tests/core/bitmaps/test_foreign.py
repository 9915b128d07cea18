"""Maps by others: read as the nearest map of the profile, or refused with the first thing wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genptq_core.bitmaps.bitmap import bit_map
from genptq_core.bitmaps.figures import figures_of
from genptq_core.bitmaps.file import write_bit_map
from genptq_core.bitmaps.foreign import Changed, ForeignMap, read_any_map
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
    }
    found = _read(tmp_path, {under: table} if under else table)
    assert found.origin == "autoround"
    assert [o.key for o in found.map.options[:4]] == ["4/64", "3/8", "16", "4/64"]
    assert found.map.options[4:] == (UNQUANTIZED,) * 4
    assert found.changed == (Changed(PROFILE.units[3].name, "5/128", "4/64"),)
    assert figures_of(PROFILE, found.map).bytes > 0  # it stands on the same front


def test_widths_of_all_others(tmp_path: Path) -> None:
    table = {MODULES[0]: {"bits": 8, "group_size": 8}}
    found = _read(tmp_path, {"bits": 4, "group_size": 64, "extra_config": table})
    assert [o.key for o in found.map.options] == ["8/8"] + ["4/64"] * 5 + ["16"] * 2


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
        ({"model.other": {"bits": 4}}, "names 'model.other', which matches no layer of synthetic"),
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


LINEAR = [unit.name for unit in PROFILE.units if unit.part != "embedding"]
FIRST, SECOND = {"bits": 8, "group_size": 8}, {"bits": 2, "group_size": 64}
EMBEDDING = MODULES[-1]


def _given(found: ForeignMap) -> dict[str, str]:
    pairs = zip(PROFILE.units, found.map.options, strict=True)
    return {unit.name: option.key for unit, option in pairs}


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        (".*k_proj.*", "k_proj"),
        ("k_proj$", "k_proj"),
        ("k_proj", "k_proj"),  # a part of a name, as AutoRound takes it
        (r"^model\.decoder\.layers\.[0-9]+\.", "decoder.layers"),
        ("model.encoder", "encoder"),
        ("(k|v)_proj", ("k_proj", "v_proj")),
        (".*", ""),
    ],
)
def test_patterns_stand_for_linear_layers(
    tmp_path: Path, pattern: str, part: str | tuple[str, ...]
) -> None:
    found = _read(tmp_path, {pattern: FIRST})
    parts = (part,) if isinstance(part, str) else part
    expected = {name for name in LINEAR if any(p in name for p in parts)}
    assert {name for name, key in _given(found).items() if key == "8/8"} == expected != set()
    assert not found.changed


def test_a_configuration_with_patterns(tmp_path: Path) -> None:
    """What a pattern does not say is that of all layers, and a layer's own entry comes first."""
    table = {".*k_proj.*": {"bits": 8}, MODULES[0]: {"bits": 2, "group_size": 64}}
    found = _read(tmp_path, {"bits": 4, "group_size": 8, "extra_config": table})
    given = _given(found)
    assert given[LINEAR[0]] == "2/64"
    assert {given[name] for name in LINEAR[1:] if "k_proj" in name} == {"8/8"}
    assert {given[name] for name in LINEAR[1:] if "k_proj" not in name} == {"4/8"}
    assert {key for name, key in given.items() if name not in LINEAR} == {"16"}


@pytest.mark.parametrize("name", [EMBEDDING, ".*embed_tokens", "embed_tokens", "proj_out"])
def test_the_embedding_changes_if_it_is_named(tmp_path: Path, name: str) -> None:
    given = _given(_read(tmp_path, {name: FIRST}))
    assert {name for name, key in given.items() if key == "8/8"} == set(given) - set(LINEAR)


@pytest.mark.parametrize(
    "document",
    [
        {"bits": 4, "group_size": 64},
        {"bits": 4, "group_size": 64, "extra_config": None, "quant_method": "auto-round"},
        {"bits": 4, "group_size": 64, "extra_config": {}, "layer_config": None},
        {"model_type": "whisper", "quantization_config": {"bits": 4, "group_size": 64}},
        {"bits": 4, "group_size": 64, "block_name_to_quantize": "model.encoder,model.decoder"},
        {"bits": 4.0, "group_size": 64.0, "to_quant_block_names": [["model.encoder"], ["model"]]},
    ],
)
def test_one_width_for_all(tmp_path: Path, document: dict[str, Any]) -> None:
    given = _given(_read(tmp_path, document))
    assert {name for name, key in given.items() if key == "4/64"} == set(LINEAR)


def test_only_the_blocks_that_are_quantized(tmp_path: Path) -> None:
    document = {"bits": 4, "group_size": 64, "block_name_to_quantize": "model.decoder.layers"}
    given = _given(_read(tmp_path, document))
    assert {n for n, key in given.items() if key == "4/64"} == {n for n in LINEAR if "decoder" in n}


@pytest.mark.parametrize(
    ("entry", "given", "wanted"),
    [
        ({"bits": 1, "group_size": 64}, "2/64", "1/64"),
        ({"bits": 4, "group_size": -1}, "4/64", "4/-1"),
        ({"bits": 4, "group_size": 0}, "4/64", "4/0"),
        ({"bits": 6, "group_size": 8}, "4/8", "6/8"),
        ({"bits": 12}, "8/64", "12"),
        ({"bits": 4.5, "group_size": 64}, "4/64", "4.5/64"),
        ({"bits": 4}, "4/64", None),
        ({"bits": 4, "group_size": None}, "4/64", None),
        ({"bits": None, "data_type": "int4", "group_size": 8}, "4/8", None),
        ({"bits": 16, "data_type": "bf16"}, "16", None),
        ({"data_type": "fp16"}, "16", None),
        ({"bits": 32, "group_size": -1}, "16", None),
        ({"bits": 4, "group_size": 8, "act_bits": 16, "act_data_type": "float"}, "4/8", None),
    ],
)
def test_what_is_not_offered_is_said(
    tmp_path: Path, entry: dict[str, Any], given: str, wanted: str | None
) -> None:
    found = _read(tmp_path, {MODULES[0]: entry})
    assert _given(found)[LINEAR[0]] == given
    assert found.changed == (() if wanted is None else (Changed(LINEAR[0], wanted, given),))
    if wanted is not None:
        assert "1 of 8 layers changed" in found.in_words
        assert f"1 from {wanted} to {given}" in found.in_words


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({MODULES[0]: FIRST, "model.encoder.layers.0.fc11": SECOND}, "layers.0.fc11'.* no layer"),
        ({MODULES[0]: FIRST, ".*fc7": {"bits": 16}}, "'.*fc7', which matches no layer"),
        ({"bits": 4, "extra_config": {"lm_head": {"bits": 16}}}, "'lm_head', which matches no"),
        ({"k_pro": FIRST}, "'k_pro', which is a part"),
        ({".*k_proj": FIRST, "model.encoder.*": SECOND}, "two widths, by '.*k_proj' and by"),
        ({MODULES[0]: FIRST, f"{MODULES[0]}.weight": FIRST}, "twice"),
        ({EMBEDDING: FIRST, "proj_out": SECOND}, "twice"),
        ({"(a+": FIRST}, "pattern '\\(a\\+', of which a \\( is not closed"),
        ({"a{2}": FIRST}, "repeats with {}"),
        ({"(?=a)": FIRST}, "group with"),
        ({"x" * 300 + "*": FIRST}, "it has 301 characters"),
        ({f".*{n}$": FIRST for n in range(300)}, "more than 256 patterns"),
        ({".*" * 100 + f"{n}$": FIRST for n in range(50)}, "more than 8192 characters in all"),
        ({MODULES[0]: "W4A16"}, f"gives {MODULES[0]} 'W4A16'"),
        ({MODULES[0]: 4}, f"gives {MODULES[0]} 4"),
        ({MODULES[0]: None}, f"gives {MODULES[0]} None"),
        ({MODULES[0]: {}}, "gives no width"),
        ({MODULES[0]: {"bits": "4"}}, "'4' is no number"),
        ({MODULES[0]: {"bits": None}}, "gives no width"),
        ({MODULES[0]: {"bits": float("nan")}}, "nan is no number"),
        ({MODULES[0]: {"bits": 10**400}}, f"gives {MODULES[0]}"),
        ({MODULES[0]: {"bits": 4, "group_size": 64.5}}, "no whole number"),
        ({MODULES[0]: {"bits": 4, "group_size": "64"}}, "'64' is no number"),
        ({MODULES[0]: {"bits": 4, "group_size": True}}, "True is no number"),
        ({MODULES[0]: {"bits": 4, "group_size": -2}}, "no group has -2"),
        ({MODULES[0]: {"bits": 4, "data_type": "mx_fp"}}, "codes of data type 'mx_fp'"),
        ({MODULES[0]: {"bits": 8, "data_type": "fp8_e4m3"}}, "only integers"),
        ({MODULES[0]: {"bits": 4, "act_bits": 8}}, "activations are quantized"),
        ({MODULES[0]: {"bits": 4, "grup_size": 8}}, "'grup_size' is not known"),
        ({"strategy": {MODULES[0]: {"bits": [4, 2], "bits_prop": [0.2, 0.3]}}}, "add up to 0.5"),
        ({"strategy": {MODULES[0]: {"bits": [4, 2], "bits_prop": [1]}}}, "do not match"),
        ({"strategy": {MODULES[0]: {"bits": []}}}, "do not match"),
        ({"strategy": {MODULES[0]: {"bits": [4], "bits_prop": 1}}}, f"gives {MODULES[0]}"),
        ({"strategy": {MODULES[0]: {"bits": [4], "group_size": {}}}}, f"gives {MODULES[0]}"),
        ({"strategy": {MODULES[0]: {"bits": [[4]]}}}, f"gives {MODULES[0]}"),
        ({"strategy": {"model.layers.0": {"fc9": {"bits": [4]}}}}, "layers.0.fc9', which matches"),
        ({"strategy": {".*": {"bits": [4]}}}, "'.*', which matches no layer"),
        ({"bits": 4, "dynamic": {"-:.*": {}}}, "has 'dynamic', which is not read"),
        ({"bits": 4, "block_name_to_quantize": 3}, "no list of names"),
        ({"layer_config": {"a": FIRST}, "extra_config": {"b": FIRST}}, "both"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(BitMapError, match=message) as caught:
        _read(tmp_path, document)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_block_of_exllamav2_may_have_figures_beside_its_modules(tmp_path: Path) -> None:
    block, leaf = MODULES[0].rsplit(".", 1)
    strategy = {block: {"accuracy": 0.99, leaf: {"bits": [4], "bits_prop": [1], "group_size": 64}}}
    assert _given(_read(tmp_path, {"strategy": strategy}))[LINEAR[0]] == "4/64"


def test_a_byte_order_mark_and_names_twice(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps({MODULES[0]: FIRST}), encoding="utf-8-sig")
    assert _given(read_any_map(path, PROFILE))[LINEAR[0]] == "8/8"
    path.write_text(f'{{"{MODULES[0]}": {{"bits": 4}}, "{MODULES[0]}": {{"bits": 2}}}}')
    with pytest.raises(BitMapError, match="twice"):
        read_any_map(path, PROFILE)


names = st.sampled_from(
    [*MODULES, "bits", "group_size", "bits_prop", "strategy", "extra_config", ".*", "fc1", "(", "x"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 40) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(json_values)
def test_any_document_is_read_or_refused(tmp_path: Path, document: Any) -> None:
    try:
        found = _read(tmp_path, document)
    except BitMapError as error:
        assert error.message
    else:
        assert len(found.map.options) == len(PROFILE.units)
