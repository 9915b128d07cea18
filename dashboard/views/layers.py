"""Bits per layer: the chart, what a click on a layer offers, and the demands as a table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from genptq_core.errors import ConstraintError, GenPTQError
from genptq_core.units import Unit

from ..charts.component import plot
from ..charts.of_scene import REFERENCE_BITS, layers_of
from ..page import demands, loaders
from ..page.scene import Scene, price_of_limits
from ..wording import markdown, points
from . import failure
from .address import remember, unpick

_CHART = "layers_chart"
_COLUMNS = ("layers", "demand", "value")
_PRICED = 20
"""Demands above which they get no prices of their own: each takes a solution without it."""


def draw(scene: Scene) -> None:
    """The pick's widths in the network's own order, and what to do about one of them."""
    pick = scene.pick
    if pick is None:
        return
    st.subheader("Layers: bits, sensitivity, part of the size", anchor=False)
    names = [unit.name for unit in scene.profile.units]
    chosen = st.session_state.get("layer") or st.query_params.get("layer", "")
    index = names.index(chosen) if chosen in names else None
    plot(
        layers_of(scene, index),
        _CHART,
        "Bit width of every layer in the network's order, how sensitive it is, and its part of "
        "the bytes.",
        on_click=lambda value: _choose(names[int(value.partition(":")[2])]),
    )
    st.caption(
        ("Bars: the measured map" if pick.by_hand else "Bars: the width each layer is given")
        + ". Grey dashes: the continuous solution of this size. Sensitivity: predicted loss of the "
        f"layer alone at {REFERENCE_BITS} bits or so, nats per token. E is encoder, D decoder, x "
        "cross-attention, emb rows of the token embedding, frequent tokens first. "
        "**Click a layer** to lock, raise or tie it."
    )
    _layer(scene, names, index)
    _price(scene)
    _table(scene)


def _choose(name: str) -> None:
    st.session_state["layer"] = name
    remember("layer")


def _demand(change: Callable[[str], str]) -> None:
    """Change what is demanded of the layers, as if typed into the knob."""
    try:
        st.session_state["pins"] = change(st.session_state.get("pins") or "")
    except ConstraintError as error:
        st.session_state["demand_error"] = str(error)
        return
    unpick()


def _layer(scene: Scene, names: list[str], index: int | None) -> None:
    """What is known of the chosen layer, and what can be demanded of it."""
    pick = scene.pick
    if pick is None:
        return
    if st.session_state.get("layer") not in ("", *names):
        st.session_state["layer"] = ""
    if index is not None and not st.session_state.get("layer"):
        st.session_state["layer"] = names[index]
    with st.container(horizontal=True, vertical_alignment="bottom", key="layer_bar"):
        st.selectbox(
            "Layer",
            ["", *names],
            format_func=lambda name: name or "none; click a bar, or choose here",
            key="layer",
            on_change=remember,
            args=("layer",),
            width=420,
        )
        if index is None:
            return
        unit, option = scene.profile.units[index], pick.map.options[index]
        wider = [o for o in scene.problem.menu if o.bits > option.bits]
        narrower = [o for o in scene.problem.menu if o.bits < option.bits]
        offers = [(f"Lock at {option.bits:g}", "lock", option)]
        if wider:
            offers.append((f"Raise to {wider[0].bits:g}", "raise", wider[0]))
        if narrower:
            offers.append((f"Lower to {narrower[-1].bits:g}", "lower", narrower[-1]))
        for label, key, offered in offers:
            st.button(
                label,
                key=f"layer_{key}",
                on_click=_demand,
                args=(lambda text, option=offered: demands.lock(text, unit, option),),
            )
        _ties(scene, unit)
        if demands.names(scene.knobs.pins, unit):
            st.button(
                "Free it",
                key="layer_free",
                on_click=_demand,
                args=(lambda text: demands.free(text, unit),),
            )
    of_bytes = 100 * scene.bytes_per_unit(pick.map.options)[index] / pick.allocation.bytes
    st.caption(
        f"`{unit.name}`: {unit.part} {unit.kind}, {unit.rows} \u00d7 {unit.columns}, "
        f"**{option.label}**, {of_bytes:.1f} % of the model's bytes."
    )


def _ties(scene: Scene, unit: Unit) -> None:
    choices = demands.tie_choices(unit, scene.profile.units)
    if not choices:
        return
    with st.popover("Tie\u2026", key="layer_tie", on_change="rerun") as menu:
        if menu.open:
            st.caption("Tied layers share one option.")
            for words, tie in choices.items():
                st.button(
                    f"Tie {words}",
                    key=f"tie-{tie}",
                    on_click=_demand,
                    args=(lambda text, tie=tie: demands.tie(text, tie),),
                )


def _price(scene: Scene) -> None:
    """What the demands cost at this size, and what went wrong with the last of them."""
    if error := st.session_state.pop("demand_error", ""):
        failure.show(error)
    price = price_of_limits(scene)
    if price is None:
        return
    loss, increase = price
    if increase is None:
        words = f"{loss:+.3g} nats per token of predicted loss".replace("-", "\u2212")
    else:
        words = f"{points(increase, 2)} points of predicted WER"
    with st.container(key="price"):
        st.markdown(f":material/lock: Your demands cost **{words}** at this size.")


def _table(scene: Scene) -> None:
    """The demands as a table that can be edited; rows not yet complete wait for the rest."""
    try:
        demanded = demands.parse(scene.knobs.pins)
    except ConstraintError:
        return
    label = f"Locks, limits, ties and budgets ({len(demanded)})" if demanded else "Locks as a table"
    box = st.expander(label, key="locks_box", on_change="rerun", icon=":material/lock:")
    if not box.open:
        return
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
