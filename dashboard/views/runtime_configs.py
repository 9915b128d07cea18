"""Recipes: the pick as a configuration for quantizers that round the original themselves."""

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
    """Every recipe: what its runtime would hold of the pick, or why there is nothing to hold."""
    st.markdown("**As a recipe for another quantizer**")
    st.caption(
        "A configuration and no weights: the tool rounds the original itself, so its errors are "
        "not those shown here. Untested are those that were never run."
    )
    offered = usable_targets(scene.profile.menu, scene.profile.source.family)
    for name, recipe in RUNTIME_CONFIGS.items():
        with st.container(
            horizontal=True, vertical_alignment="center", border=True, key=f"recipe-{name}"
        ):
            part = coverage(scene.profile, pick.map, name)
            st.markdown(
                f"**{markdown(recipe.title)}**, {recipe.status}\n\n:gray[{_holds(part)}]",
                width="stretch",
            )
            try:
                text = to_json(scene.profile, pick.map, name)
            except ConstraintError:
                if _INTEGER in offered and scene.target != _INTEGER:
                    st.button(
                        "Solve for integers",
                        key=f"recipe-solve-{name}",
                        on_click=switch_target,
                        args=(scene.profile, _INTEGER),
                        help="Choose integers as the format: the map is solved anew.",
                    )
                text = ""
            st.download_button(
                "Recipe, JSON",
                text,
                f"{scene.name}-{pick.map.digest[:SHORT]}-{name}-{NAME}",
                "application/json",
                key=f"recipe-get-{name}",
                on_click="ignore",
                disabled=not text,
                icon=":material/download:",
            )


def _holds(part: Coverage) -> str:
    """What a runtime holds, and how much of the pick that is, as Markdown."""
    widths = ", ".join(str(width) for width in part.widths)
    able = f"It holds Linear modules at {widths} bits, integers in groups."
    if not part.held:
        reasons = []
        if part.coded:
            reasons.append(f"{part.coded} are entropy-coded")
        if part.width:
            reasons.append(f"{part.width} have a width that it lacks")
        if part.place:
            reasons.append(f"{part.place} are no whole Linear module")
        if part.half:
            reasons.append(f"{part.half} are at 16 bit anyway")
        return f"{able} Of this map it can hold nothing: of its layers, {', '.join(reasons)}."
    left = part.place + part.coded + part.width
    rest = f", and {left} that it cannot hold stay at 16 bit" if left else ""
    return f"{able} Of this map it holds {part.held} layers{rest}."
