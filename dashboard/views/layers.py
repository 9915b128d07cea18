"""Bits per layer."""

from __future__ import annotations

import streamlit as st

from ..layer_charts import layers_figure
from ..scene import Scene

_CONFIG = {"displayModeBar": False}


def draw(scene: Scene) -> None:
    """The pick's widths in the network's own order."""
    pick = scene.pick
    if pick is None:
        return
    st.subheader("Bits per layer", anchor=False)
    figure = layers_figure(scene.profile, pick.map.options, pick.allocation.relaxed_bits)
    st.plotly_chart(
        figure,
        key="layers_chart",
        config=_CONFIG,
        alt="Bit width of every layer in the network's order, and its share of the bytes.",
    )
    note = (
        "Bars: the width each layer is given. Grey dashes: the continuous solution, which is "
        "rounded to it."
    )
    if pick.by_hand:
        note = (
            "Bars: the measured map. Grey dashes: the continuous solution of the same size, "
            "for comparison."
        )
    st.caption(
        f"{note} E is encoder, D decoder, x cross-attention, emb a block of the token "
        "embedding's rows, frequent tokens first. Below: the share of the bytes."
    )
