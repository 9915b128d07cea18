"""The pick as configurations of quantizers that round the original themselves."""

from __future__ import annotations

import streamlit as st

from genptq_core.errors import ConstraintError
from genptq_core.export.runtime_configs import NAME, RUNTIME_CONFIGS, Coverage, coverage, to_json
from genptq_core.targets import usable_targets

from ..page.knobs import SHORT
from ..page.scene import Pick, Scene
from ..wording import markdown
from .knobs import switch_target

_INTEGER = "integer"


def draw(scene: Scene, pick: Pick) -> None:
    """Every configuration: what its runtime would hold of the pick, or why that is nothing."""
    st.markdown("**As a configuration of another quantizer**")
    st.caption(
        "Without weights: the tool rounds the original itself, so its errors are "
        "not those shown here."
    )
    offered = usable_targets(scene.profile.menu, scene.profile.source.family)
    for name, config in RUNTIME_CONFIGS.items():
        with st.container(
            horizontal=True, vertical_alignment="center", border=True, key=f"config-{name}"
        ):
            held = coverage(scene.profile, pick.map, name)
            st.markdown(
                f"**{markdown(config.title)}**, {config.status}\n\n:gray[{_holds(held)}]",
                width="stretch",
            )
            try:
                text = to_json(scene.profile, pick.map, name)
            except ConstraintError:
                if _INTEGER in offered and scene.target != _INTEGER:
                    st.button(
                        "Solve for integers",
                        key=f"config-solve-{name}",
                        on_click=switch_target,
                        args=(scene.profile, _INTEGER),
                        help="Choose integers as the format: the map is solved again.",
                    )
                text = ""
            st.download_button(
                "Configuration, JSON",
                text,
                f"{scene.name}-{pick.map.digest[:SHORT]}-{name}-{NAME}",
                "application/json",
                key=f"config-get-{name}",
                on_click="ignore",
                disabled=not text,
                icon=":material/download:",
            )


def _holds(coverage: Coverage) -> str:
    """What a runtime holds, and how much of the pick that is, as Markdown."""
    widths = ", ".join(str(width) for width in coverage.widths)
    able = f"It holds Linear modules at {widths} bits, integers in groups."
    if not coverage.held:
        reasons = []
        if coverage.coded:
            reasons.append(f"{coverage.coded} are entropy-coded")
        if coverage.width:
            reasons.append(f"{coverage.width} have a width that it lacks")
        if coverage.place:
            reasons.append(f"{coverage.place} are no whole Linear module")
        if coverage.half:
            reasons.append(f"{coverage.half} are at 16 bit anyway")
        return f"{able} Of this map it can hold nothing: of its layers, {', '.join(reasons)}."
    others = coverage.place + coverage.coded + coverage.width
    unheld = f", and {others} that it cannot hold stay at 16 bit" if others else ""
    return f"{able} Of this map it holds {coverage.held} layers{unheld}."
