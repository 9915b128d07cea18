"""Knobs that the page itself copies to its address."""

from __future__ import annotations

import streamlit as st


def unpick() -> None:
    """Leave a measured map that was picked by hand, as any other knob does."""
    st.session_state["pick"] = ""
    remember("pick")


def remember(key: str) -> None:
    """Copy a knob that names a digest to the address.

    A bound select box would write its label there, and labels are neither short nor lasting.
    """
    value = st.session_state.get(key) or ""
    if value:
        st.query_params[key] = value
    elif key in st.query_params:
        del st.query_params[key]
