"""Kept picks, undo and redo."""

from __future__ import annotations

from dataclasses import replace

from dashboard.picks import LONGEST, Kept, Shelf, Trail, drop, keep, of_profile
from dashboard.state import Knobs
from genptq_core.bitmap import BitMap
from genptq_core.options import Option

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
