"""The front: predicted and measured WER against size, and the pick on it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from genptq_core.measurement.records import Measured

from ..charts.component import plot
from ..charts.front import USABLE
from ..charts.of_scene import front_of
from ..page.knobs import BY_SIZE, SHORT, SizeRange
from ..page.scene import LEAST_FOR_CURVE, Scene, outcome
from ..wording import markdown, measured_name, percent
from .knobs import remember, unpick

_CHART = "front_chart"


def picker(records: Sequence[Measured]) -> None:
    """A list of measured maps to pick from: the keyboard's way to what a click does."""
    by_short = {m.map_digest[:SHORT]: m for m in records}
    options = ["", *by_short]
    if "pick" not in st.session_state:
        st.session_state["pick"] = st.query_params.get("pick", "")
    if st.session_state["pick"] not in options:
        st.session_state["pick"] = ""
    st.selectbox(
        "Show",
        options,
        format_func=lambda short: (
            f"measured: {measured_name(by_short[short])}, {by_short[short].bytes / 1e6:.1f} MB"
            if short in by_short
            else "the solver's map for my knobs"
        ),
        key="pick",
        on_change=remember,
        args=("pick",),
        help="A click on a measured point picks it too; turning a knob goes back to the solver.",
    )


def steps(scene: Scene) -> None:
    """Buttons to the next smaller and the next larger measured map: the chart without a mouse."""
    ordered = sorted({m.map_digest: m for m in scene.shown}.values(), key=lambda m: m.bytes)
    if scene.pick is None or not ordered:
        return
    at, size = scene.pick.map.digest, scene.pick.allocation.bytes
    place = next((i for i, m in enumerate(ordered) if m.map_digest == at), None)
    if place is None:
        after = next((i for i, m in enumerate(ordered) if m.bytes > size), len(ordered))
        near = (after - 1, after)
    else:
        near = (place - 1, place + 1)
    for label, key, icon, index in (
        ("Smaller measured map", "measured_smaller", "chevron_left", near[0]),
        ("Larger measured map", "measured_larger", "chevron_right", near[1]),
    ):
        there = ordered[index] if 0 <= index < len(ordered) else None
        st.button(
            label,
            key=key,
            icon=f":material/{icon}:",
            type="tertiary",
            disabled=there is None,
            on_click=_clicked,
            args=(f"map:{there.map_digest}" if there is not None else "", scene.sizes),
            help=(
                f"{markdown(measured_name(there))}, {there.bytes / 1e6:.2f} MB"
                if there is not None
                else None
            ),
        )


def draw(scene: Scene) -> None:
    """The chart, with what it leaves out said beside it."""
    st.subheader("Front: what each megabyte buys", anchor=False)
    drawn = front_of(scene)
    plot(
        drawn.figure,
        _CHART,
        _words(scene),
        on_click=lambda value: _clicked(value, scene.sizes),
    )
    with st.container(horizontal=True, gap="small", key="front_steps"):
        steps(scene)
    notes = []
    if drawn.above:
        maps = "1 measured map lies" if drawn.above == 1 else f"{drawn.above} measured maps lie"
        notes.append(
            f"{maps} more than {100 * USABLE:.0f} points above full precision, at the arrows on "
            "the upper edge; hover or see the table for their figures."
        )
    if scene.curve is None:
        have = len(scene.shown)
        notes.append(
            "No WER can be predicted yet: that takes "
            f"{LEAST_FOR_CURVE} measured maps of usable WER on one speech set, "
            f"and there {'is' if have == 1 else 'are'} {have}."
            + ("" if have else " The front below is therefore of predicted loss.")
        )
    if scene.speech is not None:
        notes.append(f"Measured on {markdown(scene.speech.name)}; bars are 95 % intervals.")
    if scene.beside is not None:
        notes.append(
            f"Orange, hourglasses and dashed: {markdown(scene.beside.name)}. Dotted steps join the "
            "measured maps of a set that no other measured one beats."
        )
    if any(not scene.holds(record.options) for record in (*scene.shown, *scene.on(scene.beside))):
        notes.append("Crosses were measured, but the chosen format cannot hold them.")
    if scene.one_width:
        tools = " and ".join(sorted({u.target for u in scene.one_width}))
        notes.append(
            f"Hollow purple marks are predicted: what {tools}, with one width for all layers, "
            "could do if rounded as well as here."
        )
    lines = "Lines but the dotted ones" if scene.beside is not None else "Lines"
    notes.append(
        f"{lines} are predicted, filled marks are measured; click any point to pick it. Without a "
        "mouse: the arrow keys move the size slider, and the buttons above go from one measured "
        "map to the next."
    )
    st.caption(" ".join(notes))


def _words(scene: Scene) -> str:
    """What the chart says, for those who do not see it."""
    text = "Word error rate against model size: predicted front, measured maps and the pick."
    if scene.pick is None:
        return text
    now = outcome(scene)
    at = f" The pick has {now.bytes / 1e6:.2f} MB"
    if now.wer is not None:
        at += f" and a {'measured' if now.measured else 'predicted'} WER of {percent(now.wer)}"
    maps = sorted((m.bytes / 1e6, m.wer) for m in scene.shown)
    ends = "; ".join(f"{size:.1f} MB {percent(wer)}" for size, wer in maps[:1] + maps[1:][-1:])
    measured = f" Of {len(maps)} measured maps, smallest and largest: {ends}." if maps else ""
    return f"{text}{at}.{measured}"


def _clicked(value: str, sizes: SizeRange) -> None:
    kind, _, name = value.partition(":")
    if kind == "map":
        st.session_state["pick"] = name[:SHORT]
        remember("pick")
    elif kind == "size":
        st.session_state["by"] = BY_SIZE
        st.session_state["mb"] = sizes.clip(int(name) / 1e6)
        unpick()
