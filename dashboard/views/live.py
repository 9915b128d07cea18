"""The first screen: the live component, and what its clicks ask for.

It is a fragment of its own: a move is answered by it alone, in milliseconds. What else shows the
pick follows a moment later, when nothing is being dragged: the browser asks for it. What changes
widgets of the page, such as a demand, is asked of the page at once.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import streamlit as st

from genptq_core.allocation.drag import DragTable
from genptq_core.allocation.wer_curve import LEAST_POINTS
from genptq_core.errors import GenPTQError

from ..charts.live import carry, screen
from ..charts.live_pick import pick_of
from ..charts.live_table import table_of
from ..page import loaders
from ..page.build import Constrained, Loaded, scene_of
from ..page.knobs import BY_SIZE, SHORT
from ..page.offers import Offer, offers
from ..page.scene import Scene, price_of_limits
from ..page.start import Start
from ..wording import points
from . import budget
from .address import remember, unpick

_POLL = 1.5
"""Seconds between looks for more maps."""


def draw(loaded: Loaded, constrained: Constrained, start: Start, scene: Scene) -> None:
    """Sliders, figures, front and layers.

    Args:
        loaded, constrained, start: what the scene was made of.
        scene: what the page shows, until a slider is moved.
    """
    maps = loaders.drag_of(scene)
    awaited = loaders.is_coarse(scene, maps)
    table = sent_table(scene, maps, awaited)
    carry(table, _asked)
    _screen(loaded, constrained, start, scene, table["id"])
    if awaited:  # after the screen, which keeps its place when this goes
        st.fragment(_await_maps, run_every=_POLL)(scene)


def _await_maps(scene: Scene) -> None:
    """Draw the page again once all maps are there."""
    if not loaders.is_coarse(scene, loaders.drag_of(scene)):
        st.rerun(scope="app")


@st.fragment
def _screen(
    loaded: Loaded, constrained: Constrained, start: Start, scene: Scene, table: str
) -> None:
    """The screen, and the exact answer to what its sliders say."""
    with loaders.TURNS.answering():
        _answer(loaded, constrained, start, scene, table)


def _answer(
    loaded: Loaded, constrained: Constrained, start: Start, scene: Scene, table: str
) -> None:
    wanted = replace(scene.knobs, **budget.asked())
    if wanted != scene.knobs:
        scene = scene_of(loaded, wanted, constrained, start)
    names = [unit.name for unit in scene.profile.units]
    chosen = st.session_state.get("layer", st.query_params.get("layer", ""))
    layer = names.index(chosen) if chosen in names else None
    offered: tuple[Offer, ...] = ()
    if layer is not None:
        try:
            offered = offers(scene, layer)
        except GenPTQError:  # the demands cannot be read, which is said above
            offered = ()
    shown = pick_of(scene, table, layer=layer, offers=offered, notes=_notes(scene))
    st.session_state[_SHOWN] = scene, offered
    screen(shown, _asked)


_SHOWN = "screen_shows"


def _shown() -> tuple[Scene, tuple[Offer, ...]]:
    """The scene that this session's screen shows, and what can be demanded of the layer chosen."""
    shown: tuple[Scene, tuple[Offer, ...]] = st.session_state[_SHOWN]
    return shown


def sent_table(scene: Scene, table: DragTable, awaited: bool = False) -> dict[str, Any]:
    """What the screen is sent of a scene's problem, made once; `awaited` says that more follows."""
    return _table(scene, table, key=(*_key(scene), len(table.bytes)), awaited=awaited)


@st.cache_resource(max_entries=16, show_spinner=False)
def _table(
    _scene: Scene, _table: DragTable, key: tuple[object, ...], awaited: bool
) -> dict[str, Any]:
    return {**table_of(_scene, _table), "awaited": awaited}


def _key(scene: Scene) -> tuple[object, ...]:
    """What the table's content depends on."""
    measured = tuple((m.map_digest, m.set_key, m.wer, m.bytes) for m in scene.records)
    sets = tuple(s.key if s is not None else "" for s in (scene.speech, scene.second))
    return (
        scene.profile.digest,
        scene.target,
        scene.knobs.runtime,
        repr(scene.limits),
        sets,
        hash(measured),
    )


def _asked(asked: dict[str, Any]) -> None:
    """Do what was clicked; what comes from the browser may be anything."""
    scene, offered = _shown()
    if _number(asked.get("size")):
        budget.use(float(asked["size"]))
    elif _number(asked.get("allowed")):
        budget.allow(float(asked["allowed"]), "loss" if scene.guide is None else "points")
    elif isinstance(asked.get("map"), str):
        _pick(scene, asked["map"])
    elif "offer" in asked:
        index = asked["offer"]
        if isinstance(index, int) and 0 <= index < len(offered):
            st.session_state["pins"] = offered[index].pins
            unpick()
    elif "layer" in asked:
        index = asked["layer"]
        units = scene.profile.units
        known = isinstance(index, int) and 0 <= index < len(units)
        st.session_state["layer"] = units[index].name if known else ""
        remember("layer")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _pick(scene: Scene, digest: str) -> None:
    """Show a measured map, and put the size where it is."""
    record = next((m for m in scene.records if m.map_digest == digest), None)
    if record is None:
        return
    st.session_state["pick"] = digest[:SHORT]
    remember("pick")
    st.session_state["by"] = BY_SIZE
    st.session_state["mb"] = math.ceil(record.bytes / 1e4) / 100


def _notes(scene: Scene) -> list[str]:
    """What stands under the figures: what demands cost, and what is missing."""
    notes = []
    price = price_of_limits(scene)
    if price is not None:
        loss, increase = price
        if increase is None:
            pick = scene.pick
            lost = pick.allocation.predicted_loss if pick is not None else 0.0
            share = 100 * loss / max(lost - loss, 1e-12)
            notes.append(f"Your demands cost {share:+.1f} % of what is lost at this size.")
        else:
            notes.append(f"Your demands cost {points(increase, 2)} points at this size.")
    if scene.curve is None:
        have = len(scene.records_shown)
        notes.append(
            f"Wrong words are predicted once {LEAST_POINTS} maps are measured on one speech set; "
            f"{have} {'is' if have == 1 else 'are'} so far."
        )
    return notes
