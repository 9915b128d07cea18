"""Kept picks, undo and redo."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.picks import (
    LONGEST,
    LONGEST_TEXT,
    Kept,
    Shelf,
    Trail,
    drop,
    from_text,
    from_texts,
    keep,
    of_profile,
    to_text,
    to_texts,
)
from dashboard.state import Knobs, size_range
from genptq_core.bitmap import BitMap, bit_map
from genptq_core.options import Option
from tests.core import synthetic

PROFILE = synthetic.profile(3, units=12)

HERE = Kept("first", "profile", BitMap((Option(4),), "a"), Knobs("model"))
THERE = replace(HERE, name="second", map=BitMap((Option(3),), "b"))


def test_undo_and_redo_walk_the_trail() -> None:
    trail: Trail[int] = Trail()
    assert trail.undo() is trail and trail.redo() is trail
    for step in (1, 2, 2, 3):
        trail = trail.visit(step)
    assert (trail.past, trail.now) == ((1, 2), 3)
    back = trail.undo().undo()
    assert (back.past, back.now, back.future) == ((), 1, (3, 2))
    assert back.undo() is back
    assert back.redo().redo() == trail
    assert back.visit(1) is back, "drawing again keeps what can be redone"
    assert back.visit(9).future == ()


def test_the_trail_does_not_grow_for_ever() -> None:
    trail: Trail[int] = Trail()
    for step in range(3 * LONGEST):
        trail = trail.visit(step)
    assert len(trail.past) == LONGEST


def test_a_map_is_kept_once_and_names_differ() -> None:
    shelf: Shelf = keep(keep((), HERE), THERE)
    assert [k.name for k in shelf] == ["first", "second"]
    shelf = keep(shelf, replace(HERE, name="  other \n name "))
    assert [k.name for k in shelf] == ["other name", "second"]
    third = replace(HERE, name="second", map=BitMap((Option(2),), "c"))
    assert [k.name for k in keep(shelf, third)] == ["other name", "second", "second ·2"]
    assert [k.name for k in keep((), replace(HERE, name=" "))] == ["pick 1"]
    assert drop(shelf, HERE) == (THERE,)


def test_picks_belong_to_a_profile() -> None:
    other = replace(HERE, profile_digest="another")
    shelf = keep(keep((), HERE), other)
    assert len(shelf) == 2
    assert of_profile(shelf, "another") == (other,)


def kept(name: str = "mine <b>") -> Kept:
    keys = [PROFILE.menu[i % len(PROFILE.menu)] for i in range(len(PROFILE.units))]
    sizes = size_range(PROFILE)
    knobs = Knobs(
        PROFILE.source.model,
        size_mb=sizes.values[1],
        min_bits=min(o.bits for o in PROFILE.menu),
        pins="* >= 3",
    )
    return Kept(name, PROFILE.digest, bit_map(PROFILE, keys), knobs)


def test_an_address_carries_picks() -> None:
    shelf = (kept("one"), replace(kept("two"), map=bit_map(PROFILE, [16] * len(PROFILE.units))))
    texts = to_texts(shelf)
    assert from_texts(texts, PROFILE) == shelf
    assert all(text.replace("-", "").replace("_", "").isalnum() for text in texts)
    assert from_texts(texts, replace(PROFILE, digest="another")) == ()


def test_an_address_has_an_end() -> None:
    shelf: Shelf = ()
    for number in range(200):
        options = list(kept().map.options)
        options[0], options[1] = PROFILE.menu[number % 5], PROFILE.menu[number // 5 % 5]
        shelf = keep(shelf, replace(kept(f"pick {number}"), map=bit_map(PROFILE, options)))
    texts = to_texts((*shelf,) * 20)
    assert sum(map(len, texts)) <= LONGEST_TEXT
    assert from_text(texts[-1], PROFILE) == shelf[-1]


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_what_is_no_pick_is_left_out(text: str) -> None:
    assert from_text(text, PROFILE) is None


def _packed(fields: Any) -> str:
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(fields).encode())).decode()


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (2, ["4/64"]),
        (2, ["99"] * 12),
        (2, 7),
        (3, []),
        (3, {"widths": ["3", "999"]}),
        (3, {"target": ["<script>"]}),
        (3, {"points": ["1e9"]}),
        (3, {"loss": ["0.12345"]}),
    ],
)
def test_a_forged_pick_is_left_out(at: int, value: Any) -> None:
    good = kept()
    packed = base64.urlsafe_b64decode(to_text(good) + "===")
    fields = json.loads(zlib.decompress(packed))
    assert from_text(_packed(fields), PROFILE) == good
    fields[at] = {**fields[at], **value} if isinstance(value, dict) else value
    assert from_text(_packed(fields), PROFILE) is None
    assert from_text(_packed("0" * 5_000_000), PROFILE) is None
