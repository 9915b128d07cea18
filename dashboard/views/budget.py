"""The budget: a size, or an accuracy, in the session and in the page's address.

No widget of Streamlit holds it: the live screen sends what its sliders are set to.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import streamlit as st

from ..page.knobs import BY_ACCURACY, BY_SIZE, LOSS_START, MODES, POINTS_START, SizeRange
from .address import unpick

_NUMBERS = ("mb", "points", "loss")


def use(size_mb: float) -> None:
    """Go to a size, MB."""
    st.session_state["by"] = BY_SIZE
    st.session_state["mb"] = size_mb
    unpick()


def allow(value: float, key: str) -> None:
    """Go to an accuracy.

    Args:
        value: what is allowed.
        key: "points" or "loss".
    """
    st.session_state["by"] = BY_ACCURACY
    st.session_state[key] = value
    unpick()


def asked() -> dict[str, Any]:
    """The budget in the session, as fields of the knobs."""
    state = st.session_state
    return {
        "mode": state["by"],
        "size_mb": float(state["mb"]),
        "points": float(state["points"]),
        "loss": float(state["loss"]),
    }


def begin_at(size_mb: float, sizes: SizeRange, most_points: float) -> None:
    """Set the budget where nothing has set it yet: from the address, else to a size.

    Args:
        size_mb: the size to begin at.
        sizes: the sizes on the slider.
        most_points: the largest increase of word errors on the other one, percentage points.
    """
    state = st.session_state
    asked = dict.fromkeys(_NUMBERS, math.nan)
    if not state.get("begun", False):
        state["begun"] = True
        for key in _NUMBERS:  # what is no number begins as if it were not there
            with contextlib.suppress(ValueError):
                asked[key] = float(st.query_params.get(key, "nan"))
        by = st.query_params.get("by", BY_SIZE)
        state.setdefault("by", by if by in MODES else BY_SIZE)
    for key, start in (("mb", size_mb), ("points", POINTS_START), ("loss", LOSS_START)):
        if key not in state:
            state[key] = asked[key] if math.isfinite(asked[key]) else start
    state["mb"] = min(max(state["mb"], sizes.values[0]), sizes.values[-1])
    state["points"] = min(max(state["points"], 0.0), most_points)
    state.setdefault("by", BY_SIZE)


def remember(predicts_wer: bool) -> None:
    """Copy the budget to the address, so that it always says what it shows.

    Args:
        predicts_wer: whether an accuracy is in points of word errors.
    """
    state = st.session_state
    shown = {"mb": f"{state['mb']:.10g}"}
    if state["by"] == BY_ACCURACY:
        key = "points" if predicts_wer else "loss"
        shown |= {"by": BY_ACCURACY, key: f"{state[key]:.10g}"}
    for key in ("by", *_NUMBERS):
        if key not in shown:
            st.query_params.pop(key, None)
        elif st.query_params.get(key) != shown[key]:
            st.query_params[key] = shown[key]
