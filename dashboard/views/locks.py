"""The demands on layers as a table, each with its price."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from genptq_core.errors import ConstraintError, GenPTQError

from ..page import demands, loaders
from ..page.scene import Scene, price_of_limits
from ..wording import markdown, points
from . import failure
from .address import unpick

_COLUMNS = ("layers", "demand", "value")
_PRICED = 20
"""Demands above which they get no prices of their own: each takes a solution without it."""


def _demand(change: Callable[[str], str]) -> None:
    """Change what is demanded of the layers, as if typed into the knob."""
    try:
        st.session_state["pins"] = change(st.session_state.get("pins") or "")
    except ConstraintError as error:
        st.session_state["demand_error"] = str(error)
        return
    unpick()


def draw(scene: Scene) -> None:
    """The demands as a table that can be edited; rows not yet complete wait for the rest."""
    if error := st.session_state.pop("demand_error", ""):
        failure.show(error)
    try:
        demanded = demands.parse(scene.knobs.pins)
    except ConstraintError:
        return
    label = f"Locks as a table ({len(demanded)})" if demanded else "Locks as a table"
    box = st.popover(label, key="locks_box", on_change="rerun", icon=":material/lock:")
    if not box.open:
        return
    import pandas as pd  # which takes a moment

    with box:
        # Its edits belong to one list of demands: another list is another table.
        key = f"locks-{hash(scene.knobs.pins)}"
        st.data_editor(
            pd.DataFrame([(d.what, d.kind, d.value) for d in demanded], columns=list(_COLUMNS)),
            key=key,
            num_rows="dynamic",
            hide_index=True,
            width="stretch",
            on_change=_edited,
            args=(key, demanded),
            column_config={
                "layers": st.column_config.TextColumn(
                    "Layers", help="A pattern, such as *fc1*; a part for a budget."
                ),
                "demand": st.column_config.SelectboxColumn(
                    "Demand", options=list(demands.KINDS), default=demands.IS
                ),
                "value": st.column_config.TextColumn("Bits, or MB", default=""),
            },
        )
        st.caption(
            "A pattern matches names, `*` anything: `*encoder*fc1*`. A tie makes layers share "
            "their option; `block:*attn*` ties those of each block. A budget limits a part: "
            "encoder, decoder or embedding."
        )
        for line, price in _prices(scene, demanded):
            st.caption(f"{markdown(line)}: {price}")


def _edited(key: str, before: tuple[demands.Demand, ...]) -> None:
    """Write the table's edits into the demands; what is not complete stays in the table."""
    edits = st.session_state[key]
    rows = [dict(zip(_COLUMNS, (d.what, d.kind, d.value), strict=True)) for d in before]
    for place, change in edits["edited_rows"].items():
        rows[int(place)].update(change)
    gone = set(edits["deleted_rows"])
    rows = [row for place, row in enumerate(rows) if place not in gone] + edits["added_rows"]
    edited = [
        demands.Demand(
            str(row.get("layers") or "").strip(),
            str(row.get("demand") or demands.IS),
            str(row.get("value") or "").strip(),
        )
        for row in rows
    ]
    whole = [d for d in edited if d.what and (d.value or d.kind == demands.TIED)]
    _demand(lambda text: demands.write(demands.parse(demands.write(whole))))


def _prices(scene: Scene, demanded: tuple[demands.Demand, ...]) -> list[tuple[str, str]]:
    """Each demand as a line, and what the map gains without it at the same size."""
    pick = scene.pick
    if pick is None or pick.by_hand or not 2 <= len(demanded) <= _PRICED:
        return []
    prices = []
    for place, demand in enumerate(demanded):
        others = [*demanded[:place], *demanded[place + 1 :]]
        limits = demands.constrain(others, scene.limits)
        try:
            without = loaders.problem_of(scene.profile, limits, scene.target)
            price = price_of_limits(scene, without)
        except GenPTQError:
            continue
        if price is not None:
            loss, increase = price
            cost = f"{loss:+.3g} nats" if increase is None else f"{points(increase, 2)} points"
            prices.append((demand.text, f"costs {cost}"))
    return prices
