"""Export: the pick as files, as a command line and as a link."""

from __future__ import annotations

from typing import Any

import streamlit as st

from genptq_core.bitmap import to_csv, to_json

from ..recipe import solve_command
from ..scene import Scene
from ..state import SHORT, link


def draw(scene: Scene) -> None:
    """Downloads and what restores the pick elsewhere."""
    pick = scene.pick
    if pick is None:
        st.info("There is nothing to export: no map satisfies the knobs.")
        return
    stem = f"{scene.name}-{pick.map.digest[:SHORT]}"
    with st.container(horizontal=True):
        st.download_button(
            "Bit map, JSON",
            to_json(scene.profile, pick.map, **_figures(scene)),
            f"{stem}.json",
            "application/json",
            key="download_json",
            on_click="ignore",
            type="primary",
            icon=":material/download:",
        )
        st.download_button(
            "Bit map, CSV",
            to_csv(scene.profile, pick.map),
            f"{stem}.csv",
            "text/csv",
            key="download_csv",
            on_click="ignore",
            icon=":material/download:",
        )
    st.markdown("**The same map from a command line**")
    command = solve_command(scene)
    if command is None:
        st.caption(
            "This map does not come out of one solve for a size; download it as JSON, and measure "
            "or export it with --bitmap."
        )
    else:
        st.code(command, language="bash", wrap_lines=True)
    st.markdown("**A link that restores these knobs**")
    st.code(link(st.context.url or "", scene.knobs), language=None, wrap_lines=True)
    st.caption(
        f"It gives bit map `{pick.map.digest[:SHORT]}` wherever the profile has digest "
        f"`{scene.profile.digest[:SHORT]}`. The page's address says the same."
    )


def _figures(scene: Scene) -> dict[str, Any]:
    if scene.pick is None:
        return {}
    found = scene.pick.allocation
    figures: dict[str, Any] = {
        "bytes": found.bytes,
        "avg_bits": found.avg_bits,
        "reduction_vs_fp32": found.reduction_vs_fp32,
        "predicted_loss": found.predicted_loss,
    }
    if scene.pick.bounded:
        figures |= {"lower_bound": found.lower_bound, "gap": found.gap}
    record = scene.measurement(scene.pick.map.digest)
    if record is not None:
        figures["measured"] = {
            "speech": record.speech,
            "speech_digest": record.speech_digest,
            "utterances": record.utterances,
            "wer": record.wer,
            "wer_full_precision": record.wer_full_precision,
            "wer_increase": record.wer_increase,
            "ci95": list(record.ci95),
        }
    return figures
