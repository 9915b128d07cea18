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

from genptq_core import bitmap
from genptq_core.allocation import problem
from genptq_core.errors import BitMapError, GenPTQError
from tests.core import synthetic

PROFILE = synthetic.profile(0, units=8)
BITS = (2, 3, 4, 6, 8, 16, 2, 3)
NAME = PROFILE.units[4].name


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(PROFILE.menu), min_size=8, max_size=8))
def test_json_round_trip(bits: list[int]) -> None:
    chosen = bitmap.bit_map(PROFILE, tuple(bits))
    document = json.loads(bitmap.to_json(PROFILE, chosen, predicted_loss=0.125))
    assert document["predicted_loss"] == 0.125
    assert document["digest"] == chosen.digest
    assert bitmap.from_names(PROFILE, document["bits"]) == chosen


def test_file_round_trip(tmp_path: Path) -> None:
    chosen = bitmap.bit_map(PROFILE, BITS)
    path = tmp_path / "deep" / "bitmap.json"
    bitmap.write(path, PROFILE, chosen, avg_bits=3.5)
    assert bitmap.read(path, PROFILE) == chosen
    # Another profile of the same model may use the map.
    other = dataclasses.replace(synthetic.profile(1, units=8), digest="0" * 64)
    assert bitmap.read(path, other).bits == BITS


def test_order_in_the_file_does_not_matter() -> None:
    table = bitmap.names(PROFILE, BITS)
    shuffled = dict(sorted(table.items(), key=lambda item: item[0][::-1]))
    assert bitmap.from_names(PROFILE, shuffled) == bitmap.bit_map(PROFILE, BITS)


def test_digest_tells_maps_and_group_sizes_apart() -> None:
    chosen = bitmap.bit_map(PROFILE, BITS)
    assert bitmap.bit_map(synthetic.profile(9, units=8), BITS).digest == chosen.digest
    assert bitmap.bit_map(PROFILE, BITS[::-1]).digest != chosen.digest
    regrouped = synthetic.profile(0, units=8, group_size=4)
    assert bitmap.bit_map(regrouped, BITS).digest != chosen.digest


@pytest.mark.parametrize("count", [0, 7, 9])
def test_a_wrong_number_of_widths_is_refused(count: int) -> None:
    with pytest.raises(BitMapError, match=f"{count} widths for the profile's 8 layers"):
        bitmap.bit_map(PROFILE, (4,) * count)


@pytest.mark.parametrize("width", [0, -4, 5, 7, 32, 10**30])
def test_a_width_off_the_menu_is_refused_by_name(width: int) -> None:
    with pytest.raises(BitMapError, match=rf"{NAME} is given {width} bits.*2, 3, 4, 6, 8, 16"):
        bitmap.bit_map(PROFILE, (*BITS[:4], width, *BITS[5:]))


@pytest.mark.parametrize(
    "width", [True, False, 4.0, float("nan"), float("inf"), "4", None, [4], {"bits": 4}]
)
def test_what_is_not_a_whole_number_is_refused_by_name(width: Any) -> None:
    table = {**bitmap.names(PROFILE, BITS), NAME: width}
    with pytest.raises(BitMapError, match=NAME):
        bitmap.from_names(PROFILE, table)


def test_missing_and_unknown_layers_are_named() -> None:
    table: dict[str, Any] = bitmap.names(PROFILE, BITS)
    missing = {name: b for name, b in table.items() if name != NAME}
    with pytest.raises(BitMapError, match=f"lacks '{NAME}'"):
        bitmap.from_names(PROFILE, missing)
    with pytest.raises(BitMapError, match=r"names 'lm_head\.weight', which is no layer"):
        bitmap.from_names(PROFILE, {**table, "lm_head.weight": 4})
    with pytest.raises(BitMapError, match="lacks"):
        bitmap.from_names(PROFILE, {})


def _changed(tmp_path: Path, **changes: Any) -> Path:
    """A bit map file with some fields changed, or left out where None."""
    document = bitmap.to_document(PROFILE, bitmap.bit_map(PROFILE, BITS)) | changes
    document = {key: value for key, value in document.items() if value is not None}
    path = tmp_path / "bitmap.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_digest": "0" * 64, "model": "whisper-large"}, "another model.*whisper-large"),
        ({"model_digest": None}, "another model"),
        ({"group_size": 128}, "group size 128.* has 8"),
        ({"group_size": None}, "group size None"),
        ({"bits": None}, "no table of bits"),
        ({"bits": [4] * 8}, "no table of bits"),
        ({"bits": "4"}, "no table of bits"),
        ({"schema": "genptq-profile"}, "not a genptq-bitmap file"),
        ({"version": 2}, "version 2"),
        ({"version": None}, "version None"),
        ({"bits": {**bitmap.names(PROFILE, BITS), NAME: float("nan")}}, NAME),
        ({"bits": {**bitmap.names(PROFILE, BITS), NAME: True}}, NAME),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = _changed(tmp_path, **changes)
    with pytest.raises(BitMapError, match=message) as caught:
        bitmap.read(path, PROFILE)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", '{"schema": 1}', "[" * 100_000])
def test_damaged_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bitmap.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BitMapError, match=r"bitmap\.json"):
        bitmap.read(path, PROFILE)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BitMapError, match="does not exist"):
        bitmap.read(tmp_path / "none.json", PROFILE)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["schema", "version", "bits", "model_digest", "group_size", NAME]),
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
    base = bitmap.to_document(PROFILE, bitmap.bit_map(PROFILE, BITS))
    for document in (value, base | value if isinstance(value, dict) else {**base, "bits": value}):
        path.write_text(json.dumps(document))
        try:
            found = bitmap.read(path, PROFILE)
        except GenPTQError:
            continue
        assert len(found.bits) == 8


def test_figures_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "bitmap.json"
    chosen = bitmap.bit_map(PROFILE, BITS)
    with pytest.raises(ValueError, match="not JSON compliant"):
        bitmap.write(path, PROFILE, chosen, predicted_loss=float("nan"))
    assert not path.exists()


@pytest.mark.parametrize("bits", [(2,) * 8, (16,) * 8, BITS])
def test_csv_bytes_add_up_to_the_problems(bits: tuple[int, ...]) -> None:
    text = bitmap.to_csv(PROFILE, bitmap.bit_map(PROFILE, bits))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == [unit.name for unit in PROFILE.units]
    assert [int(row["bits"]) for row in rows] == list(bits)
    task = problem(PROFILE)
    choice = np.array([PROFILE.menu.index(b) for b in bits])
    assert sum(int(row["bytes"]) for row in rows) + task.kept == int(task.bytes(choice))
    weights = sum(int(row["rows"]) * int(row["columns"]) for row in rows)
    assert weights == int(task.weights.sum())
