"""The front: predicted and measured WER against size, and the pick on it."""

from __future__ import annotations

import streamlit as st

from genptq_core.allocation.wer_curve import LEAST_POINTS

from ..charts.component import plot
from ..charts.front import USABLE
from ..charts.of_scene import front_of
from ..page.knobs import BY_SIZE, SHORT, SizeRange
from ..page.scene import Scene
from ..wording import markdown, measured_name, percent
from .address import remember, unpick

_CHART = "front_chart"


def _steps(scene: Scene) -> None:
    """Buttons to the next smaller and the next larger measured map: the chart without a mouse."""
    ordered = sorted({m.map_digest: m for m in scene.records_shown}.values(), key=lambda m: m.bytes)
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
        neighbour = ordered[index] if 0 <= index < len(ordered) else None
        st.button(
            label,
            key=key,
            icon=f":material/{icon}:",
            type="tertiary",
            disabled=neighbour is None,
            on_click=_clicked,
            args=(f"map:{neighbour.map_digest}" if neighbour is not None else "", scene.sizes),
            help=(
                f"{markdown(measured_name(neighbour))}, {neighbour.bytes / 1e6:.2f} MB"
                if neighbour is not None
                else None
            ),
        )


def draw(scene: Scene) -> None:
    """The chart, and below it what it leaves out."""
    st.subheader("Front: what each megabyte buys", anchor=False)
    drawn = front_of(scene)
    plot(
        drawn.figure,
        _CHART,
        _words(scene),
        on_click=lambda value: _clicked(value, scene.sizes),
    )
    with st.container(horizontal=True, gap="small", key="front_steps"):
        _steps(scene)
    notes = []
    if drawn.above:
        maps = "1 measured map lies" if drawn.above == 1 else f"{drawn.above} measured maps lie"
        notes.append(
            f"{maps} more than {100 * USABLE:.0f} points above full precision, at the arrows on "
            "the upper edge; hover or see the table for their figures."
        )
    if scene.curve is None:
        have = len(scene.records_shown)
        notes.append(
            f"No {scene.rate} can be predicted yet: that takes "
            f"{LEAST_POINTS} measured maps of usable {scene.rate} on one speech set, "
            f"and there {'is' if have == 1 else 'are'} {have}."
            + ("" if have else " The front is therefore of predicted loss.")
        )
    if scene.speech is not None:
        notes.append(f"Measured on {markdown(scene.speech_name)}; bars are 95 % intervals.")
    if scene.second is not None:
        notes.append(
            f"Orange, hourglasses and dashed: {markdown(scene.second_name)}. Dotted steps join the "
            "measured maps of a set that no other measured one beats."
        )
    second_records = scene.second.records if scene.second is not None else ()
    if any(not scene.holds(record.options) for record in (*scene.records_shown, *second_records)):
        notes.append("Crosses were measured, but the chosen format cannot hold them.")
    if scene.one_width:
        tools = " and ".join(sorted({u.target for u in scene.one_width}))
        notes.append(
            f"Hollow purple marks are predicted: what {tools}, with one width for all layers, "
            "could do if rounded as well as here."
        )
    lines = "Lines but the dotted ones" if scene.second is not None else "Lines"
    notes.append(
        f"{lines} are predicted, filled marks are measured; click any point to pick it. Without a "
        "mouse: the arrow keys move the size slider, and the buttons above go from one measured "
        "map to the next."
    )
    st.caption(" ".join(notes))


def _words(scene: Scene) -> str:
    """What the chart says, for people who do not see it."""
    text = (
        f"{'Character' if scene.rate == 'CER' else 'Word'} error rate against model size: "
        "predicted front, measured maps and the pick."
    )
    if scene.pick is None:
        return text
    cost = scene.pick_cost
    at = f" The pick has {scene.pick.allocation.bytes / 1e6:.2f} MB"
    if cost is not None and cost.wer is not None:
        at += f" and a {cost.how} {scene.rate} of {percent(cost.wer)}"
    maps = sorted((m.bytes / 1e6, m.wer) for m in scene.records_shown)
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
