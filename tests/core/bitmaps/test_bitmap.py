"""Bit maps: round trips, and refusals that name the layer."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genptq_core.allocation.problem import problem as make_problem
from genptq_core.bitmaps.bitmap import bit_map, from_names
from genptq_core.bitmaps.figures import bits_by_name, bytes_by_target, figures_of, groups_by_name
from genptq_core.bitmaps.file import (
    bit_map_csv,
    bit_map_document,
    bit_map_json,
    read_bit_map,
    write_bit_map,
)
from genptq_core.bitmaps.schema import schema_text
from genptq_core.errors import BitMapError, GenPTQError
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import bundled_profile
from genptq_core.targets import TARGETS, fixed_bytes, predicted_bytes, why_not_held
from tests.conftest import ROOT
from tests.core import synthetic

PROFILE = synthetic.profile(0, units=8)
BITS = (2, 3, 4, 6, 8, 16, 2, 3)
NAMES = [unit.name for unit in PROFILE.units]
NAME = NAMES[4]
TABLES = (bits_by_name, groups_by_name)
MIXED = synthetic.profile(0, units=8, group_size=(64, 8), rates=(2.25, 3))
HELD = ("16", "4/64") * 4
KEYS = ("2.25", "3", "3/64", "3/8", "8/8", "16", "2/64", "2/8")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(MIXED.menu), min_size=8, max_size=8))
def test_json_round_trip(options: list[Option]) -> None:
    chosen = bit_map(MIXED, options)
    text = bit_map_json(MIXED, chosen, predicted_loss=0.125)
    document = json.loads(text)
    assert document["predicted_loss"] == 0.125
    assert document["digest"] == chosen.digest
    assert from_names(MIXED, document["bits"], document["group_sizes"]) == chosen
    assert ".0," not in text  # whole widths are written as whole numbers
    assert chosen.bits == tuple(document["bits"].values())


def test_file_round_trip(tmp_path: Path) -> None:
    chosen = bit_map(PROFILE, BITS)
    path = tmp_path / "deep" / "bitmap.json"
    write_bit_map(path, PROFILE, chosen, avg_bits=3.5)
    assert read_bit_map(path, PROFILE) == chosen
    # Another profile of the same model may use the map.
    other = dataclasses.replace(synthetic.profile(1, units=8), digest="0" * 64)
    assert read_bit_map(path, other).bits == BITS


def test_order_in_the_file_does_not_matter() -> None:
    chosen = bit_map(MIXED, KEYS)
    tables = [names(MIXED, chosen.options) for names in TABLES]
    bits, groups = (dict(sorted(t.items(), key=lambda item: item[0][::-1])) for t in tables)
    assert from_names(MIXED, bits, groups) == chosen


def test_digest_tells_maps_and_group_sizes_apart() -> None:
    chosen = bit_map(PROFILE, BITS)
    assert bit_map(synthetic.profile(9, units=8), BITS).digest == chosen.digest
    assert bit_map(PROFILE, BITS[::-1]).digest != chosen.digest
    regrouped = synthetic.profile(0, units=8, group_size=4)
    assert bit_map(regrouped, BITS).digest != chosen.digest
    assert len({bit_map(MIXED, (key,) * 8).digest for key in ("3", "3/64", "3/8")}) == 3


@pytest.mark.parametrize("count", [0, 7, 9])
def test_a_wrong_number_of_widths_is_refused(count: int) -> None:
    with pytest.raises(BitMapError, match=f"{count} widths for the profile's 8 layers"):
        bit_map(PROFILE, (4,) * count)


@pytest.mark.parametrize(
    "width", [0, -4, 5, 7, 2.5, 32, 10**30, 10**400, "4/64", "4/9", "x", Option(4), Option(4, 64)]
)
def test_a_width_off_the_menu_is_refused_by_name(width: Any) -> None:
    with pytest.raises(BitMapError, match=rf"{NAME} is given width .*2/8, 3/8, .*16") as caught:
        bit_map(PROFILE, (*BITS[:4], width, *BITS[5:]))
    assert getattr(width, "key", str(width)) in caught.value.message


def test_a_bare_width_means_codes_then_groups_of_64() -> None:
    chosen = bit_map(MIXED, (2, 3, 4, 6, 8, 16, 2.25, 3.0))
    keys = [option.key for option in chosen.options]
    assert keys == ["2/64", "3", "4/64", "6/64", "8/64", "16", "2.25", "3"]


@pytest.mark.parametrize(
    "width", [True, False, 4.5, float("nan"), float("inf"), 10**400, "4", None, [4], {"bits": 4}]
)
def test_what_is_no_width_is_refused_by_name(width: Any) -> None:
    chosen = bit_map(PROFILE, BITS)
    bits, groups = (names(PROFILE, chosen.options) for names in TABLES)
    for group_sizes in (None, groups):
        with pytest.raises(BitMapError, match=NAME):
            from_names(PROFILE, {**bits, NAME: width}, group_sizes)


@pytest.mark.parametrize("size", [True, 64, -8, 4, 8.0, float("nan"), "8", [8], 10**400])
def test_what_is_no_group_size_is_refused_by_name(size: Any) -> None:
    chosen = bit_map(PROFILE, BITS)
    bits, groups = (names(PROFILE, chosen.options) for names in TABLES)
    with pytest.raises(BitMapError, match=NAME):
        from_names(PROFILE, bits, {**groups, NAME: size})
    assert from_names(PROFILE, {**bits, NAME: 8.0}, groups) == chosen


def test_missing_and_unknown_layers_are_named() -> None:
    chosen = bit_map(PROFILE, BITS)
    table, groups = (names(PROFILE, chosen.options) for names in TABLES)
    missing = {name: b for name, b in table.items() if name != NAME}
    with pytest.raises(BitMapError, match=f"lacks '{NAME}'"):
        from_names(PROFILE, missing)
    with pytest.raises(BitMapError, match=r"names 'lm_head\.weight', which is no layer"):
        from_names(PROFILE, {**table, "lm_head.weight": 4})
    with pytest.raises(BitMapError, match="lacks"):
        from_names(PROFILE, {})
    with pytest.raises(BitMapError, match=f"lacks '{NAME}'"):
        from_names(PROFILE, table, {n: g for n, g in groups.items() if n != NAME})


def _changed(tmp_path: Path, **changes: Any) -> Path:
    """A bit map file with some fields changed, or left out where None."""
    document = bit_map_document(PROFILE, bit_map(PROFILE, BITS)) | changes
    document = {key: value for key, value in document.items() if value is not None}
    path = tmp_path / "bitmap.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_digest": "0" * 64, "model": "whisper-large"}, "another model.*whisper-large"),
        ({"model_digest": None}, "'model_digest': Field required"),
        (
            {"version": 1, "group_sizes": None, "group_size": 128},
            f"{NAMES[0]} is given width 2/128",
        ),
        ({"group_sizes": [8] * 8}, "wrong in 'group_sizes': .*dictionary"),
        ({"group_sizes": {}, "bits": {NAME: 4}}, "lacks"),
        ({"group_sizes": {NAME: 8}}, "lacks"),
        ({"bits": None}, "wrong in 'bits': Field required"),
        ({"bits": [4] * 8}, "wrong in 'bits': .*dictionary"),
        ({"bits": "4"}, "wrong in 'bits': .*dictionary"),
        ({"symmetric": True}, "wrong in 'symmetric'"),
        ({"bytes": -1}, "wrong in 'bytes'"),
        ({"predicted_loss": "low"}, "wrong in 'predicted_loss': .*number"),
        ({"measured": {"speech": 3}}, "wrong in 'measured', 'speech': .*string"),
        ({"rows": {NAMES[-1]: [0, 1]}}, rf"{NAMES[-1]} is rows \[0, 1\]; it is rows \[16, 64\]"),
        ({"rows": {NAMES[-1]: [0]}}, f"wrong in 'rows', '{NAMES[-1]}'"),
        ({"schema": "genptq-profile"}, "not a genptq-bitmap file"),
        ({"version": 4}, "version 4; this program reads version 3"),
        ({"version": None}, "version None"),
        ({"bits": {**dict.fromkeys(NAMES, 4), NAME: float("nan")}}, NAME),
        ({"bits": {**dict.fromkeys(NAMES, 4), NAME: True}}, NAME),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = _changed(tmp_path, **changes)
    with pytest.raises(BitMapError, match=message) as caught:
        read_bit_map(path, PROFILE)
    assert str(path) in caught.value.message or NAMES[0] in caught.value.message
    assert caught.value.hint


def test_version_3_says_all_that_is_known() -> None:
    chosen = bit_map(MIXED, ["3/8"] * 8)
    document = bit_map_document(MIXED, chosen, predicted_loss=0.5)
    assert document["version"] == 3
    assert document["bytes_by_target"]["integer"] == figures_of(MIXED, chosen).bytes
    assert document["rows"] == {u.name: [u.start, u.stop] for u in MIXED.units if "@" in u.name}
    coded = bit_map(MIXED, ["3"] * 8)
    assert set(bytes_by_target(MIXED, coded.options)) == {"native"}


def test_the_schema_in_the_documentation_is_current() -> None:
    path = ROOT / "docs" / "bitmap.schema.json"
    assert path.read_text(encoding="utf-8") == schema_text(), (
        "Write it again with: python -c 'from genptq_core.bitmaps.schema import schema_text; "
        'print(schema_text(), end="")\' > docs/bitmap.schema.json'
    )


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_earlier_versions_are_read(version: int) -> None:
    """As those versions wrote them for the bundled model, untouched."""
    profile = bundled_profile()
    path = Path(__file__).parent / f"version-{version}.json"
    found = read_bit_map(path, profile)
    document = json.loads(path.read_text())
    assert list(found.bits) == [document["bits"][unit.name] for unit in profile.units]
    if version == 2:
        assert found.digest == document["digest"]
    else:
        assert {o.group_size for o in found.options if o != UNQUANTIZED} == {64}


def test_version_1_files_are_read(tmp_path: Path) -> None:
    """They have one group size for all, and whole widths."""
    chosen = bit_map(PROFILE, BITS)
    path = _changed(tmp_path, version=1, group_sizes=None, group_size=8)
    assert read_bit_map(path, PROFILE) == chosen
    # Where codes are on offer too, such a file still means what it says.
    keys = ["2/8", "3/8", "4/8", "6/8", "8/8", "16", "2/8", "3/8"]
    assert [option.key for option in read_bit_map(path, MIXED).options] == keys


def test_files_without_group_sizes_are_read(tmp_path: Path) -> None:
    path = _changed(tmp_path, group_sizes=None)
    assert read_bit_map(path, PROFILE).options[5] == UNQUANTIZED
    assert read_bit_map(path, PROFILE) == bit_map(PROFILE, BITS)
    assert read_bit_map(path, MIXED) == bit_map(MIXED, BITS)
    lacking = synthetic.profile(0, units=8, bits=(2, 3, 6, 8))
    with pytest.raises(BitMapError, match=f"{NAMES[2]} is given width 4"):
        read_bit_map(path, lacking)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", '{"schema": 1}', "[" * 100_000])
def test_damaged_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bitmap.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BitMapError, match=r"bitmap\.json"):
        read_bit_map(path, PROFILE)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BitMapError, match="does not exist"):
        read_bit_map(tmp_path / "none.json", PROFILE)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["schema", "version", "bits", "group_sizes", "model_digest", "group_size", NAME]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=8,
    )
)
def test_any_json_is_refused_or_read_but_never_breaks(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "bitmap.json"
    base = bit_map_document(PROFILE, bit_map(PROFILE, BITS))
    for document in (value, base | value if isinstance(value, dict) else {**base, "bits": value}):
        path.write_text(json.dumps(document))
        try:
            found = read_bit_map(path, PROFILE)
        except GenPTQError:
            continue
        assert len(found.bits) == 8


def test_figures_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "bitmap.json"
    chosen = bit_map(PROFILE, BITS)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_bit_map(path, PROFILE, chosen, predicted_loss=float("nan"))
    assert not path.exists()


@pytest.mark.parametrize("widths", [(2,) * 8, (16,) * 8, BITS, KEYS, HELD])
def test_csv_bytes_add_up_to_the_problems(widths: tuple[int | str, ...]) -> None:
    chosen = bit_map(MIXED, widths)
    rows = list(csv.DictReader(io.StringIO(bit_map_csv(MIXED, chosen))))
    assert [row["name"] for row in rows] == [unit.name for unit in MIXED.units]
    found = [Option(float(row["bits"]), int(row["group_size"])) for row in rows]
    assert found == list(chosen.options)
    figures = figures_of(MIXED, chosen)
    assert sum(int(row["bytes"]) for row in rows) + synthetic.native_kept(MIXED) == figures.bytes
    for target in TARGETS.values():  # each with its own bytes, if it can hold the map
        form = target if why_not_held(target, MIXED, chosen.options) is None else TARGETS["native"]
        rows = list(csv.DictReader(io.StringIO(bit_map_csv(MIXED, chosen, target.name))))
        whole = sum(int(row["bytes"]) for row in rows) + fixed_bytes(form, MIXED)
        assert whole == predicted_bytes(form, MIXED, chosen.options)
        assert whole == figures_of(MIXED, chosen, target.name).bytes
    problem = make_problem(MIXED)
    assert figures.avg_bits == pytest.approx(
        float((np.array(chosen.bits) * problem.weights).sum() / problem.weights.sum())
    )
    weights = sum(int(row["rows"]) * int(row["columns"]) for row in rows)
    assert weights == int(problem.weights.sum())
