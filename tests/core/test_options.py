"""Options, their keys, and what a bare width means."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genptq_core.errors import ConstraintError
from genptq_core.options import (
    BLOCK_WEIGHTS,
    BLOCKS,
    RATES,
    UNQUANTIZED,
    Option,
    block_option,
    block_options,
    coded_options,
    grid_options,
    resolve,
)
from genptq_core.quantizers.ggml import TYPES
from genptq_core.targets import TARGETS, held_columns, usable_targets
from genptq_core.targets.native import unit_bytes
from tests.core import synthetic

grids = st.builds(Option, st.integers(1, 8), st.integers(1, 999_999))
codes = st.integers(1, 15_999).map(lambda n: Option(n / 1000))
blocks = st.sampled_from(list(BLOCKS)).map(block_option)
options = st.one_of(grids, codes, blocks, st.just(UNQUANTIZED))


@given(options)
def test_keys_round_trip(option: Option) -> None:
    again = Option.parse(option.key)
    assert again == option
    assert again.key == option.key
    assert type(again.bits) is type(option.bits)
    assert json.loads(json.dumps(option.bits)) == option.bits
    assert type(option.bits) is int or option.bits != int(option.bits)


@given(options, options)
def test_keys_and_labels_tell_options_apart(one: Option, other: Option) -> None:
    assert (one == other) == (one.key == other.key) == (one.label == other.label)


@given(options)
def test_labels_say_what_keys_say(option: Option) -> None:
    assert option.label.startswith(f"{option.bits} bit")
    if not option.block:
        said = str(option.group_size) in option.label.partition(",")[2]
        assert said == (option.form == "grid")
    word = {"grid": "groups", "coded": "entropy", "half": "16", "block": option.block}[option.form]
    assert word in option.label


NO_KEYS = (
    *("3/", "/64", "3/0", "3/-64", "3/64/2", "9/64", "2.5/64", "16/64", "3/064", "3/ 64"),
    *("", "0", "0.0", "17", "nan", "inf", "-3", "+3", "1_0", "3e0", "2.1234", " 3", "3 ", "3\n"),
    *("\u0664", "3/\u0666", 3, 2.5, None, True, ["3"], b"3"),
)


@pytest.mark.parametrize("key", NO_KEYS)
def test_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="weight"):
        Option.parse(key)


@given(st.text(st.sampled_from("0123456789./-+e_ n"), max_size=8))
def test_any_text_is_refused_or_names_an_option(text: str) -> None:
    try:
        option = Option.parse(text)
    except ValueError:
        return
    assert Option.parse(option.key) == option
    assert 0 < option.bits <= 16


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize("bits", [0, -1, 16.5, 2.0001, 1e-4, 1e-12, NAN, INFINITE, 10**400])
def test_what_is_no_rate_is_refused(bits: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Option(bits)


@pytest.mark.parametrize(
    ("bits", "group_size"), [(0, 64), (9, 64), (2.5, 64), (16, 64), (4, -1), (NAN, 64)]
)
def test_what_stores_nothing_is_no_option(bits: float, group_size: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Option(bits, group_size)


def test_options_are_values() -> None:
    assert Option(3.0, 64) == Option(3, 64) != Option(3) != Option(3, 32)
    assert hash(Option(3.0)) == hash(Option(3))
    assert sorted([Option(3, 64), Option(16), Option(2.5), Option(3), Option(3, 32)]) == [
        Option(2.5), Option(3), Option(3, 32), Option(3, 64), Option(16)
    ]  # fmt: skip
    assert UNQUANTIZED.form == "half"


def test_menus_are_made_of_lists() -> None:
    grids = grid_options((4, 2, 4), (32, 128, 32))
    assert [option.key for option in grids] == ["2/128", "2/32", "4/128", "4/32"]
    assert [option.key for option in coded_options((3, 2.5, 3.0))] == ["2.5", "3"]
    assert all(option.form == "coded" for option in coded_options(RATES))
    assert grid_options((), (64,)) == coded_options(()) == ()


MENU = (*grid_options((2, 3, 4), (32, 64, 128)), *coded_options((2.25, 3)), UNQUANTIZED)


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        (2, "2/64"),
        (3, "3"),
        (3.0, "3"),
        (2.25, "2.25"),
        (16, "16"),
        ("4", "4/64"),
        ("3/32", "3/32"),
        (Option(4, 128), "4/128"),
        (UNQUANTIZED, "16"),
    ],
)
def test_what_a_width_means(wanted: float | str | Option, key: str) -> None:
    assert resolve(MENU, wanted).key == key


@given(options)
def test_what_is_not_on_the_menu_is_refused(option: Option) -> None:
    for wanted in (option, option.key):
        try:
            choice = resolve(MENU, wanted, "somewhere")
        except ConstraintError as error:
            assert option not in MENU
            assert option.key in error.message and "somewhere" in error.message
        else:
            assert choice.bits == option.bits


def test_targets_part_a_menu() -> None:
    columns = {name: held_columns(MENU, name) for name in TARGETS if name != "gguf"}
    blocks = (*block_options(["q8_0", "q4_0", "q4_0"]), *MENU)
    assert [blocks[i].key for i in held_columns(blocks, "gguf")] == ["q4_0", "q8_0", "16"]
    assert "gguf" in usable_targets(blocks) and usable_targets(blocks)[0] == "native"
    assert [MENU[i].key for i in columns["native"]] == ["2.25", "3", "16"]
    assert {MENU[i].form for i in columns["integer"]} == {"grid", "half"}
    assert usable_targets(MENU) == ["native", "integer", "compressed-tensors", "onnx", "mlx"]
    assert usable_targets(MENU[:9]) == [
        "native",
        "compressed-tensors",
        "onnx",
        "mlx",
    ]  # integer is native there
    assert held_columns(MENU[:9], "integer") == held_columns(MENU[:9], "native") == list(range(9))
    assert usable_targets((UNQUANTIZED,)) == []
    assert held_columns(MENU) == columns["native"]


def test_block_types_are_those_of_the_quantizer() -> None:
    assert {name: kind.bits for name, kind in TYPES.items()} == BLOCKS
    assert {name: kind.weights for name, kind in TYPES.items()} == BLOCK_WEIGHTS
    assert [option.key for option in block_options(BLOCKS)] == list(BLOCKS)
    for wanted in ("q9_0", "Q4_0", ""):
        with pytest.raises(ValueError, match="block type"):
            block_option(wanted)
    with pytest.raises(ValueError, match="no weight"):
        Option(5, block="q4_0")
    menu = (*block_options(BLOCKS), Option(6), UNQUANTIZED)
    assert [resolve(menu, wanted).key for wanted in (4.5, 6, "q4_k", "q5_1")] == [
        *("q4_0", "6", "q4_k", "q5_1")
    ]


@given(st.one_of(grids, codes, st.just(UNQUANTIZED)), st.integers(1, 40), st.integers(1, 300))
def test_bytes_of_an_option(option: Option, rows: int, columns: int) -> None:
    (unit, *_) = synthetic.units(1)
    unit = type(unit)(**{**vars(unit), "stop": rows, "columns": columns})
    size, weights = unit_bytes(unit, option), rows * columns
    if option.form == "half":
        assert size == 2 * weights
        return
    codes = weights * option.bits / 8
    groups = rows * -(-columns // option.group_size) if option.group_size else 0
    assert codes - 1e-6 <= size <= codes + groups * (2 + option.bits / 8) + 2
    wider = [Option(option.bits + 1, option.group_size)] if option.bits < 8 else []
    finer = [Option(option.bits, option.group_size - 1)] if option.group_size > 1 else []
    for other in itertools.chain(wider, finer):
        assert unit_bytes(unit, other) >= size
