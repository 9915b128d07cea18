"""Picks kept under a name, and undo and redo of the knobs."""

from __future__ import annotations

import streamlit as st

from ..page import kept_link
from ..page.kept import KeptPick, KeptPicks, Trail, drop, keep, of_profile
from ..page.knobs import SHORT, Knobs
from ..page.scene import Scene
from ..wording import markdown, megabytes
from .address import remember

_PARAMETER = "kept"


def _trail() -> Trail[Knobs]:
    trail: Trail[Knobs] = st.session_state.get("trail", Trail())
    return trail


def _kept() -> Trail[KeptPicks]:
    """What is kept, with undo; a page just loaded takes it from its address."""
    if "kept_picks" not in st.session_state:
        st.session_state["kept_picks"] = Trail(kept_link.read(st.query_params.get(_PARAMETER, "")))
    picks: Trail[KeptPicks] = st.session_state["kept_picks"]
    return picks


def _note(picks: Trail[KeptPicks]) -> None:
    """Note what is kept, in the address too."""
    st.session_state["kept_picks"] = picks
    word, _ = kept_link.written(picks.now or ())
    if word:
        st.query_params[_PARAMETER] = word
    else:
        st.query_params.pop(_PARAMETER, None)


def bar(scene: Scene) -> None:
    """Undo and redo of the knobs, and keeping the pick; notes where the knobs have been."""
    trail = _trail()
    if trail.now is not None and trail.now.model != scene.knobs.model:
        trail = Trail()
    trail = trail.visit(scene.knobs)
    st.session_state["trail"] = trail
    with st.popover("Undo, keep", icon=":material/bookmark:", key="pick_bar"):
        with st.container(horizontal=True, gap="small"):
            st.button(
                "Undo",
                key="undo",
                icon=":material/undo:",
                disabled=not trail.past,
                on_click=_step,
                args=(trail.undo(),),
                help="Back to the pick before, knobs and all.",
            )
            st.button(
                "Redo",
                key="redo",
                icon=":material/redo:",
                disabled=not trail.future,
                on_click=_step,
                args=(trail.redo(),),
            )
        if scene.pick is not None:
            kept = {k.map.digest: k.name for k in of_scene(scene)}.get(scene.pick.map.digest)
            size = megabytes(scene.pick.allocation.bytes)
            if kept:
                st.caption(f"Kept as {markdown(kept)}")
            st.text_input("Name", kept or size, max_chars=40, key="keep_name")
            st.button("Rename" if kept else "Keep", key="keep", on_click=_keep, args=(scene,))
            st.caption(
                "Kept picks are compared under Compare. They are in the address of this page, "
                "so a reload brings them back, and nobody else sees them without it."
            )


def _step(trail: Trail[Knobs]) -> None:
    st.session_state["trail"] = trail
    if trail.now is not None:
        _restore(trail.now)


def _restore(knobs: Knobs) -> None:
    """Set every knob as it was."""
    st.session_state["by"] = knobs.mode
    st.session_state["mb"] = knobs.size_mb
    st.session_state["points"] = knobs.points
    st.session_state["loss"] = knobs.loss
    st.session_state["widths"] = (knobs.min_bits, knobs.max_bits)
    st.session_state["pins"] = knobs.pins
    for key, value in (
        ("pick", knobs.pick),
        ("speech", knobs.speech),
        ("beside", knobs.second),
        ("target", knobs.target),
        ("runtime", knobs.runtime),
    ):
        if key in st.session_state:
            st.session_state[key] = value
            remember(key)


def _keep(scene: Scene) -> None:
    if scene.pick is None:
        return
    # What is in the field now, typed with or without Enter.
    name = st.session_state.get("keep_name") or megabytes(scene.pick.allocation.bytes)
    new = KeptPick(name, scene.profile.digest, scene.pick.map, scene.knobs)
    picks = _kept()
    _note(picks.visit(keep(picks.now or (), new)))
    # What was kept last is what the next picks are compared with.
    st.session_state["compare_left"] = f"kept:{new.map.digest}"


def _drop(gone: KeptPick) -> None:
    picks = _kept()
    _note(picks.visit(drop(picks.now or (), gone)))


def _undo_kept() -> None:
    _note(_kept().undo())


def of_scene(scene: Scene) -> KeptPicks:
    """The kept picks of the scene's profile."""
    picks, digest = _kept(), scene.profile.digest
    checked = st.session_state.setdefault("kept_checked", set())
    if digest not in checked:  # what came with the address may be anything
        picks = Trail(kept_link.fitted(picks.now or (), scene.profile))
        st.session_state["kept_picks"] = picks
        checked.add(digest)
    return of_profile(picks.now or (), digest)


def draw(scene: Scene) -> None:
    """What is kept, with ways to show it again or let it go."""
    kept_here = of_scene(scene)
    picks = _kept()
    if not kept_here and not picks.past:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="kept_picks_bar"):
        st.markdown("**Kept**")
        for kept in kept_here:
            short = kept.map.digest[:SHORT]
            with st.popover(markdown(kept.name), icon=":material/bookmark:"):
                st.caption(f"Bit map `{short}`")
                st.button("Show it", key=f"show-{short}", on_click=_restore, args=(kept.knobs,))
                st.button("Let it go", key=f"drop-{short}", on_click=_drop, args=(kept,))
        st.button(
            "Undo the last change",
            key="undo_kept",
            type="tertiary",
            disabled=not picks.past,
            on_click=_undo_kept,
            help="Brings back a pick that was let go, takes away one just kept.",
        )
    everything = picks.now or ()
    _, written = kept_link.written(everything)
    if written < len(everything):
        st.caption(
            f"The address has room for the latest {written} of {len(everything)} kept picks; the "
            "others are gone after a reload."
        )
