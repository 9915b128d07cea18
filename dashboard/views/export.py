"""Export: the pick as files, as a command line and as a link."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import streamlit as st

from genptq_core.allocation import solve
from genptq_core.bitmap import to_csv, to_json
from genptq_core.errors import InfeasibleError
from genptq_core.options import Option
from genptq_core.targets import NATIVE

from ..loaders import ROOT
from ..scene import Scene
from ..state import BY_SIZE, SHORT, link


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
    command = _command(scene)
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


def _command(scene: Scene) -> str | None:
    """A command that gives the pick, or None where no single solve does."""
    pick = scene.pick
    if pick is None:
        return None
    if scene.knobs.mode == BY_SIZE and not pick.by_hand:
        size = f"{scene.knobs.size_mb:g}"
    else:
        # The size that led here is not kept, so check that the map's own size leads back.
        try:
            if solve(scene.task, pick.allocation.bytes).options != pick.map.options:
                return None
        except InfeasibleError:
            return None
        size = f"{pick.allocation.bytes / 1e6:.6f}"
    parts = ["python", "-m", "genptq_core", "solve", "--profile", _shown(scene.folder)]
    parts += ["--size-mb", size]
    if scene.target != NATIVE:
        parts += ["--target", scene.target]
    for pattern, wanted in scene.limits.pins:
        parts += ["--pin", f"{pattern}={wanted.key if isinstance(wanted, Option) else wanted}"]
    if scene.limits.min_bits is not None:
        parts += ["--min-bits", str(scene.limits.min_bits)]
    if scene.limits.max_bits is not None:
        parts += ["--max-bits", str(scene.limits.max_bits)]
    return shlex.join([*parts, "--out", "bitmap.json"])


def _shown(folder: Path) -> str:
    """A folder as it is written from the repository's root."""
    return os.path.relpath(folder, ROOT) if folder.is_relative_to(ROOT) else str(folder)
