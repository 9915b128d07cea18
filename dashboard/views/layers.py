"""Bits per layer."""

from __future__ import annotations

import numpy as np
import streamlit as st

from ..layer_charts import Layers, layers_figure
from ..plot import plot
from ..scene import Scene


def draw(scene: Scene) -> None:
    """The pick's widths in the network's own order."""
    pick = scene.pick
    if pick is None:
        return
    st.subheader("Bits per layer", anchor=False)
    options = pick.map.options
    sizes = scene.profile.option_bytes()
    spent = np.array([sizes[i, scene.profile.menu.index(o)] for i, o in enumerate(options)])
    column = int(np.abs(scene.task.widths - 3).argmin())
    shown = Layers(
        options,
        pick.allocation.relaxed_bits,
        spent,
        scene.task.loss.separable[:, column],
        f"{scene.task.menu[column].bits:g} bits",
    )
    plot(
        layers_figure(scene.profile, shown),
        "layers_chart",
        "Bit width of every layer in the network's order, how sensitive it is, and its share of "
        "the bytes.",
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
        "embedding's rows, frequent tokens first. Sensitivity: predicted loss of the layer alone "
        f"at {shown.reference}, nats a token."
    )
