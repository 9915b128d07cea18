"""GenPTQ Explorer's page. Run it with: python -m streamlit run dashboard/app.py."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import streamlit as st

from dashboard.page import loaders
from dashboard.page.build import Constrained, Loaded, scene_of
from dashboard.page.knobs import Knobs
from dashboard.page.origin import foreign
from dashboard.page.scene import Scene
from dashboard.views import (
    compare,
    details,
    explore,
    export,
    failure,
    job_list,
    kept,
    knobs,
    listen,
    live,
    locks,
    measure,
    profiles,
    table,
)
from genptq_core.errors import GenPTQError


def _measure(scene: Scene) -> None:
    measure.draw(scene)
    explore.further(scene)
    measure.history(scene)


_TABS = {
    "Listen": listen.draw,
    "Compare": compare.draw,
    "Measure": _measure,
    "Export": export.draw,
    "Profiles": profiles.draw,
    "Table": table.draw,
}


_STYLE = f"<style>{Path(__file__).with_name('page.css').read_text(encoding='utf-8')}</style>"
_ICON = Path(__file__).with_name("icon.png")


def main() -> None:
    """Draw the page."""
    st.set_page_config("GenPTQ Explorer", _ICON, layout="wide")
    st.html(_STYLE)
    headers = st.context.headers
    if foreign(headers.get("Origin"), headers.get("Host"), st.get_option("server.allowedHosts")):
        st.title("GenPTQ Explorer", anchor=False)
        failure.show("Another page asked for this one. Open it at its own address.")
        return
    _explorer()
    job_list.live_jobs()


@st.fragment
def _explorer() -> None:
    """Everything that a knob changes; a fragment, so that it redraws nothing else."""
    try:
        with loaders.TURNS.answering():
            _draw()
    except GenPTQError as error:
        failure.show(error)


def _draw() -> None:
    head = st.container(horizontal=True, vertical_alignment="bottom", key="head")
    head.title("GenPTQ Explorer", anchor=False)
    folders = loaders.models()
    if not folders:
        st.info("No profile is there yet. It holds a model's sensitivities; compute one below.")
        profiles.form()
        return
    with head:
        loaded = knobs.load(folders)
        speech = knobs.judged_on(loaded)
    wrong, first = st.container(), st.container(key="first")
    place, rarer = first.container(key="live"), first.container(key="rarer", gap="small")
    beginning = rarer.container()
    with rarer, st.expander("Limits and locks", key="limits", icon=":material/lock:"):
        drawn = knobs.draw(loaded, speech)
        table = st.container()
    with wrong:
        constrained = _constrained(loaded, drawn.knobs)
        scene = scene_of(loaded, drawn.knobs, constrained, drawn.start)
        knobs.infeasible(scene)
    with place:
        live.draw(loaded, constrained, drawn.start, scene)
    with table:
        locks.draw(scene)
    with beginning:
        explore.first_front(scene)
    with rarer:
        details.draw(scene)
        kept.bar(scene)
    tabs = st.tabs(list(_TABS), key="tab", on_change="rerun", bind="query-params")
    for tab, draw in zip(tabs, _TABS.values(), strict=True):
        if tab.open:
            with tab:
                draw(scene)


def _constrained(loaded: Loaded, wanted: Knobs) -> Constrained:
    """What the demands leave; where they cannot be read, that is said, and none of them counts."""
    try:
        return loaders.constrain(loaded, wanted)
    except GenPTQError as error:
        failure.show(error)
        return loaders.constrain(loaded, replace(wanted, pins="", min_bits=0, max_bits=math.inf))


main()
