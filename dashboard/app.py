"""GenPTQ Explorer's page. Run it with: python -m streamlit run dashboard/app.py."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.page import knobs as state
from dashboard.page import loaders
from dashboard.page.demands import bound_units, parse
from dashboard.page.scene import Pick, Scene, pick_measured, pick_solved, speech_sets, start_mark
from dashboard.views import (
    compare,
    export,
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
from genptq_core.allocation.constraints import Constraints
from genptq_core.errors import GenPTQError, InfeasibleError

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
  /* On a telephone the slider stays in sight, and the knobs that few turn come after the charts. */
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
    job_list.strip()
    _explorer()


@st.fragment
def _explorer() -> None:
    """Everything that a knob changes; a fragment, so that a move redraws this alone."""
    try:
        _draw()
    except GenPTQError as error:
        st.error(str(error))


def _draw() -> None:
    found = loaders.models()
    if not found:
        st.info("No profile is there yet. It holds a model's sensitivities; compute one below.")
        profiles.form()
        return
    left, right = st.columns([2, 7], gap="medium")
    with left:
        scene = _knobs(found)
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


def _knobs(found: dict[str, Path]) -> Scene | None:
    """Draw the knobs and solve for them; None where they cannot be read."""
    name = knobs.model(list(found))
    folder = found[name]
    profile = loaders.profile(folder)
    target = knobs.target(profile)
    sizes = state.size_range(profile, target)
    records, version = loaders.measured(folder, profile, target)
    sets = speech_sets(records)
    # Without constraints: the recommendation must not move while a user tries a pin.
    free_task = loaders.task(profile, Constraints(), target)
    free_front = loaders.front(profile, Constraints(), target, free_task)
    low, *_, high = state.widths(free_task.menu)
    by = knobs.mode()
    slider, advice, more = st.container(key="dial"), st.container(), st.container(key="more")
    with more:
        knobs.limits(profile, free_task.menu)
        speech = knobs.speech(sets)
        second = knobs.beside(sets, speech)
        front.picker(records)
    curves = {s.digest: loaders.curve(records, profile.digest, version, s.digest) for s in sets}
    curve = curves.get(speech.digest) if speech else None
    start, reason = loaders.start(profile, free_task, free_front, curve, sizes)
    knobs.begin_at(start, sizes)
    with slider:
        knobs.budget(by, sizes, curve is not None)
        effect = st.empty()
    with advice:
        st.caption(f"Recommended start: {reason}")
        if st.session_state.get("mb") != start or by != state.BY_SIZE:
            st.button("Use it", key="use_start", on_click=_use, args=(start,))
    fallback = state.Knobs(name, size_mb=start, min_bits=low, max_bits=high, target=target)
    chosen = state.from_session(st.session_state, fallback)
    try:
        limits = state.constraints(chosen, free_task.menu)
        bound = bound_units(profile, parse(chosen.pins))
        task = loaders.task(profile, limits, target)
    except GenPTQError as error:
        st.error(str(error))
        return None
    all_maps = loaders.front(profile, limits, target, task)
    pick: Pick | None = None
    if chosen.pick:
        pick = pick_measured(profile, task, target, records, chosen.pick)
    if pick is None:
        try:
            pick = pick_solved(profile, chosen, task, all_maps, curve)
        except InfeasibleError as error:
            st.error(str(error))
            st.button(
                "Go to the smallest feasible size",
                key="use_smallest",
                on_click=_use,
                args=(sizes.clip(error.smallest / 1e6),),
            )
    scene = Scene(
        name,
        folder,
        profile,
        chosen,
        target,
        sizes,
        records,
        speech,
        curve,
        limits,
        task,
        all_maps,
        free_task,
        bound,
        start_mark(start, reason, free_front),
        loaders.one_width(profile),
        pick,
        tuple(sets),
        curves,
        second,
    )
    knobs.effect(effect, scene)
    return scene


def _use(size_mb: float) -> None:
    st.session_state["by"] = state.BY_SIZE
    st.session_state["mb"] = size_mb
    knobs.unpick()


main()
