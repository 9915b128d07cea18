"""The budget: by size or by accuracy, its slider, and what the last move did."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ..page.knobs import BY_SIZE, LOSS_START, LOSSES, MODES, POINTS, POINTS_START, SizeRange
from ..page.scene import Scene
from ..wording import megabytes, percent, points
from .address import unpick


def use(size_mb: float) -> None:
    """Go to a size."""
    st.session_state["by"] = BY_SIZE
    st.session_state["mb"] = size_mb
    unpick()


def mode() -> str:
    """The switch between a size budget and an accuracy budget."""
    chosen = st.segmented_control(
        "Budget by",
        MODES,
        default=BY_SIZE,
        required=True,
        key="by",
        bind="query-params",
        on_change=unpick,
    )
    return chosen or BY_SIZE


def begin_at(size_mb: float, sizes: SizeRange) -> None:
    """Set the size slider where nothing has set it yet."""
    first = not st.session_state.get("begun", False)
    st.session_state["begun"] = True
    if "mb" in st.session_state:
        return
    if first and "mb" in st.query_params:
        # A size typed by hand may lie between two steps; the slider would take it for a mistake.
        # What is no number begins as if it were not there.
        with contextlib.suppress(ValueError):
            size_mb = sizes.clip(float(st.query_params["mb"]))
    st.session_state["mb"] = size_mb
    if first:
        # So that an address copied before anything was moved says which size it shows. Once the
        # slider is there, it alone may write its parameter.
        st.query_params["mb"] = sizes.text(size_mb)


def slider(by: str, sizes: SizeRange, predicts_wer: bool) -> None:
    """The slider of the budget: size, or allowed errors."""
    if by == BY_SIZE:
        st.select_slider(
            "Largest size, MB",
            sizes.values,
            sizes.values[-1],  # the default is left out of the address; few stay at 16 bit
            format_func=sizes.text,
            key="mb",
            bind="query-params",
            on_change=unpick,
            help="Of the folder to download, in MB of 10^6 bytes. The arrow keys move it by one "
            "step.",
        )
    elif predicts_wer:
        low, high, step = POINTS
        st.slider(
            "Allowed WER increase, percentage points",
            min_value=low,
            max_value=high,
            value=POINTS_START,
            step=step,
            key="points",
            bind="query-params",
            on_change=unpick,
            help="The smallest map predicted to stay under it, the band included.",
        )
    else:
        st.select_slider(
            "Allowed predicted loss, nats per token",
            LOSSES,
            LOSS_START,
            format_func=lambda x: f"{x:g}",
            key="loss",
            bind="query-params",
            on_change=unpick,
        )
        st.caption(
            "Too few maps are measured on one speech set to predict word errors, so the budget "
            "is the divergence from full precision: 0.05 is hard to notice, 0.3 is not."
        )


@dataclass(frozen=True)
class _Position:
    """A pick's figures, to say what the next move changes."""

    digest: str
    bytes: int
    loss: float
    increase: float | None


def effect(place: DeltaGenerator, scene: Scene) -> None:
    """What the budget buys of the other kind, and what the last move changed."""
    if scene.pick is None:
        st.session_state.pop("before", None)
        return
    figures, cost = scene.pick.allocation, scene.pick_cost
    increase = cost.increase if cost is not None else None
    now = _Position(
        scene.pick.map.digest, figures.bytes, loss=figures.predicted_loss, increase=increase
    )
    before: _Position | None = st.session_state.get("before")
    last: tuple[_Position, _Position] | None = st.session_state.get("move")
    if before is not None and before != now:
        last = before, now
        st.session_state["move"] = last
    st.session_state["before"] = now
    if scene.knobs.mode != BY_SIZE:
        text = f"\u2192 **{megabytes(now.bytes)}**"
    elif cost is None or cost.wer is None:
        text = f"\u2192 **loss {now.loss:.3g}** nats per token, predicted"
    else:
        text = f"\u2192 **{scene.rate} {percent(cost.wer)}**, {cost.how}"
    if last is not None and last[1] == now:
        text += f"  \n:small[Last move: {_moved(last[0], now, scene.rate)}.]"
    place.markdown(text)


def _moved(before: _Position, now: _Position, rate: str) -> str:
    """How two picks differ, in words."""
    size = f"{(now.bytes - before.bytes) / 1e6:+.2f} MB"
    if now.increase is not None and before.increase is not None:
        words = f"{points(now.increase - before.increase, 2)} points of {rate}"
    else:
        words = f"{now.loss - before.loss:+.2g} nats of loss"
    return f"{size}, {words}".replace("-", "\u2212")
