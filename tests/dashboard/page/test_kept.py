"""Kept picks, undo and redo."""

from __future__ import annotations

import base64
import json
import time
import zlib
from dataclasses import replace
from typing import Any

import pytest

from dashboard.page import kept_link
from dashboard.page.kept import LONGEST, KeptPick, KeptPicks, Trail, drop, keep, of_profile
from dashboard.page.knobs import BY_ACCURACY, LOSSES, Knobs, size_range
from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.options import Option
from genptq_core.profile import Profile
from genptq_core.storage.digests import sha256
from tests.core import synthetic

HERE = KeptPick("first", "profile", BitMap((Option(4),), "a"), Knobs("model"))
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
    picks: KeptPicks = keep(keep((), HERE), THERE)
    assert [k.name for k in picks] == ["first", "second"]
    picks = keep(picks, replace(HERE, name="  other \n name "))
    assert [k.name for k in picks] == ["other name", "second"]
    third = replace(HERE, name="second", map=BitMap((Option(2),), "c"))
    assert [k.name for k in keep(picks, third)] == ["other name", "second", "second ·2"]
    assert [k.name for k in keep((), replace(HERE, name=" "))] == ["pick 1"]
    assert drop(picks, HERE) == (THERE,)


def test_picks_belong_to_a_profile() -> None:
    other = replace(HERE, profile_digest="another")
    picks = keep(keep((), HERE), other)
    assert len(picks) == 2
    assert of_profile(picks, "another") == (other,)


def _kept(profile: Profile, name: str, seed: int, **knobs: Any) -> KeptPick:
    codes = profile.menu[:-1]
    options = [codes[(i * seed) % len(codes)] for i in range(len(profile.units))]
    size = size_range(profile).values[3]
    return KeptPick(
        name, profile.digest, bit_map(profile, options), Knobs("m", size_mb=size, **knobs)
    )


@pytest.fixture(scope="module")
def profile() -> Profile:
    return synthetic.profile(1, units=24, width=96)


def test_an_address_carries_the_kept_picks(profile: Profile) -> None:
    low, high = profile.menu[1].bits, profile.menu[2].bits
    first = _kept(profile, "<b>mine</b> \u2605", 3, pins="*fc1* = 4", min_bits=low, max_bits=high)
    second = _kept(profile, "b", 5, mode=BY_ACCURACY, points=1.5, loss=LOSSES[4], max_bits=16)
    second = replace(second, knobs=replace(second.knobs, min_bits=profile.menu[0].bits))
    word, count = kept_link.written((first, second))
    assert count == 2 and set(word) <= set(
        "-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    )
    assert kept_link.fitted(kept_link.read(word), profile) == (first, second)
    assert kept_link.written(()) == ("", 0)


def test_an_address_has_an_end(profile: Profile) -> None:
    many = tuple(
        replace(_kept(profile, f"{i}", 1), profile_digest=sha256(bytes([i]))) for i in range(200)
    )
    word, count = kept_link.written(many)
    assert 0 < count < len(many) and len(word) <= kept_link.LONGEST
    assert kept_link.read(word)[-1].profile_digest == many[-1].profile_digest


def _word(content: Any) -> str:
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(content).encode())).decode()


BAD = (
    {"a": 1},
    [1, [2], ["a"] * 6, None],
    [["n", "p", "d", {"mb": 3}, ["4"], [0]]],
    [["n", "p", "d", {}, ["4"], [7]]],
    [["n", "p", "d", {}, ["4"], [-1]]],
    [["n", "p", "d", {}, [4], [0]]],
)


@pytest.mark.parametrize("word", ["", "x", "AAAA", "\u2605", *map(_word, BAD)])
def test_what_holds_no_picks_is_an_empty_one(word: str) -> None:
    assert kept_link.read(word) == ()


def test_a_word_cannot_fill_the_memory() -> None:
    bomb = zlib.compress(b"[" + b" " * 3_000_000 + b"]", 9)
    word = base64.urlsafe_b64encode(bomb).decode()
    assert len(word) <= kept_link.LONGEST * 2
    assert kept_link.read(word) == ()


@pytest.mark.parametrize(
    "content",
    [
        [["n", "p", str(i), {}, [], []] for i in range(40_000)],
        [["n", "p", "m", {}, ["4"], [0] * 400_000]],
        [["n", "p", "m", {"widths": ["4"] * 150_000}, [], []]],
        [["n", "p", "m", {"pins": ["a" + " " * 900_000]}, [], []]],
        [["n" * 900_000, "p", "m", {}, [], []]],
        [["n", "p", "m", {}, ["9" * 900_000], []]],
        [["n", "p", "m", {"mb": ["9" * 900_000]}, [], []]],
    ],
    ids=("picks", "places", "widths", "pins", "name", "key", "number"),
)
def test_a_word_takes_little_time_whatever_is_in_it(content: Any) -> None:
    started = time.process_time()
    assert len(kept_link.read(_word(content))) <= 200
    assert time.process_time() - started < 10


def test_picks_that_do_not_fit_their_profile_go(profile: Profile) -> None:
    sound = _kept(profile, "sound", 3)
    forged = replace(sound, name="forged", map=replace(sound.map, digest="0" * 64))
    short = replace(sound, map=replace(sound.map, options=sound.map.options[1:], digest="1" * 64))
    of_another = replace(forged, profile_digest="f" * 64)
    fitted = kept_link.fitted((forged, short, of_another, sound), profile)
    assert [k.profile_digest for k in fitted] == ["f" * 64, profile.digest]
    assert fitted[1].map == sound.map
    wild = Knobs("m", size_mb=-3, points=99, loss=5, min_bits=7.77, max_bits=1, target="toaster")
    (tame,) = kept_link.fitted((replace(sound, knobs=wild),), profile)
    assert tame.knobs.size_mb == size_range(profile).values[0]
    assert (tame.knobs.points, tame.knobs.loss) == (10.0, max(LOSSES))
    assert (tame.knobs.min_bits, tame.knobs.max_bits) == (profile.menu[0].bits, 16)
