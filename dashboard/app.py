"""GenPTQ Explorer's page. Run it with: python -m streamlit run dashboard/app.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.page import loaders
from dashboard.page.build import scene_of
from dashboard.page.origin import foreign
from dashboard.page.scene import Scene
from dashboard.views import (
    budget,
    compare,
    export,
    failure,
    front,
    headline,
    job_list,
    kept,
    knobs,
    layers,
    listen,
    measure,
    profiles,
    table,
)
from genptq_core.errors import GenPTQError

_TABS = {
    "Listen": listen.draw,
    "Compare": compare.draw,
    "Measure": measure.draw,
    "Export": export.draw,
    "Profiles": profiles.draw,
    "Table": table.draw,
}


_STYLE = """<style>
.stMainBlockContainer { padding-top: 2.5rem; padding-bottom: 3rem; }
[data-testid="stCaptionContainer"] { opacity: 0.8 !important; }
@media (max-width: 640px) {
  .stMainBlockContainer { padding: 2.5rem 0.75rem; }
  /* On a phone the slider stays in sight, and the rarer knobs come after the charts. */
  .stColumn:has(> .stVerticalBlock > * > .st-key-dial),
  .stColumn > .stVerticalBlock:has(> * > .st-key-dial) { display: contents; }
  [data-testid="stLayoutWrapper"]:has(> .st-key-more) { order: 1; }
  [data-testid="stLayoutWrapper"]:has(> .st-key-dial) {
    position: sticky; top: 0; z-index: 9; padding: 0.5rem 0;
    background: color-mix(in srgb, Canvas 80%, transparent); backdrop-filter: blur(12px);
  }
}
</style>"""


def main() -> None:
    """Draw the page."""
    st.set_page_config("GenPTQ Explorer", "\N{LEVEL SLIDER}", layout="wide")
    st.html(_STYLE)
    st.title("GenPTQ Explorer", anchor=False)
    st.markdown(
        "How small can this speech model get before it mishears? **Move the size slider**: every "
        "layer gets a bit width of its own, solved as you move, and you see what it costs in "
        "word errors, hear it, and take the model with you."
    )
    headers = st.context.headers
    if foreign(headers.get("Origin"), headers.get("Host"), st.get_option("server.allowedHosts")):
        failure.show("Another page asked for this one. Open it at its own address.")
        return
    job_list.live_jobs()
    _explorer()


@st.fragment
def _explorer() -> None:
    """Everything that a knob changes; a fragment, so that a move redraws nothing else."""
    try:
        _draw()
    except GenPTQError as error:
        failure.show(error)


def _draw() -> None:
    folders = loaders.models()
    if not folders:
        st.info("No profile is there yet. It holds a model's sensitivities; compute one below.")
        profiles.form()
        return
    left, right = st.columns([2, 7], gap="medium")
    with left:
        scene = _scene(folders)
    if scene is None:
        return
    with right:
        headline.draw(scene)
        kept.bar(scene)
        front.draw(scene)
    layers.draw(scene)
    tabs = st.tabs(list(_TABS), key="tab", on_change="rerun", bind="query-params")
    for tab, draw in zip(tabs, _TABS.values(), strict=True):
        if tab.open:
            with tab:
                draw(scene)


def _scene(folders: dict[str, Path]) -> Scene | None:
    """Draw the knobs, and solve for them; None where they cannot be read."""
    loaded = knobs.load(folders)
    drawn = knobs.draw(loaded)
    try:
        constrained = loaders.constrain(loaded, drawn.knobs)
    except GenPTQError as error:
        failure.show(error)
        return None
    scene = scene_of(loaded, drawn.knobs, constrained, drawn.start)
    knobs.infeasible(scene)
    budget.effect(drawn.effect, scene)
    return scene


main()
