"""One button that measures, one after another, the maps that teach most: as `genptq explore`."""

from __future__ import annotations

import time

import streamlit as st

from genptq_core.allocation.constraints import Constraints
from genptq_core.measurement.exploring import ENOUGH

from ..jobs.queue import LIVE, Job
from ..jobs.requests import Explore, Measure
from ..page.command_line import explore_command
from ..page.scene import Scene
from ..wording import markdown, seconds
from . import job_list
from .measure import judged_speech

_POLL = 2.0
"""Seconds between looks at how far it is."""

MINUTES = 30
"""Time that is asked for where no other is."""


def first_front(scene: Scene) -> None:
    """On the first screen, where no speech set has a curve: what gives it one, or how far it is."""
    if any(scene.measured.curves.values()):
        return
    if _live(scene):
        st.fragment(_progress, run_every=_POLL)(scene)
        return
    with st.container(key="first_front", gap="small"):
        _button(scene)


def further(scene: Scene) -> None:
    """Under *Measure*: the same for a model with a curve, until that is known well enough."""
    if not any(scene.measured.curves.values()) or _live(scene):
        return
    st.markdown("**Until the front is known**")
    st.caption(
        "Measures the maps that teach most, one after another, until maps that cost up to a point "
        f"are known within {100 * ENOUGH:g} points, or time is up; then it names one. What was "
        "measured stays, so another run goes on from there."
        + (
            " It is of all maps that this format holds, whatever your demands."
            if scene.limits != Constraints()
            else ""
        )
    )
    with st.container(horizontal=True, key="further"):
        _button(scene)


def _button(scene: Scene) -> None:
    minutes = int(st.session_state.get("explore_for", MINUTES))
    manifest, utterances = judged_speech(scene)
    pressed = st.button(
        f"Measure maps for {minutes} min",
        key="explore",
        type="primary",
        icon=":material/play_arrow:",
        help="It chooses the maps that teach most of this front, measures one after another on "
        f"{markdown(manifest)}, and stops early where enough is known. Cut off at any moment, it "
        "goes on from there when it is pressed again.",
    )
    box = st.popover("Time, and the command", key="explore_how", on_change="rerun")
    if box.open:
        with box:
            st.number_input(
                "Minutes at most",
                min_value=1,
                max_value=10_000,
                value=minutes,
                key="explore_minutes",
                on_change=_keep_minutes,
                help="One map is measured in any case.",
            )
            st.code(
                explore_command(scene, manifest, utterances, minutes),
                language="sh",
                wrap_lines=True,
            )
    if pressed:
        asked = Explore(
            profile=str(scene.folder),
            profile_digest=scene.profile.digest,
            target=scene.target,
            manifest=manifest,
            utterances=utterances,
            minutes=minutes,
        )
        job_list.queue_request(asked, told=False)  # its progress stands right here


def _keep_minutes() -> None:
    # Of a widget that is not drawn, Streamlit forgets what it was set to.
    st.session_state["explore_for"] = st.session_state["explore_minutes"]


def _jobs(scene: Scene) -> list[Job]:
    return [
        job
        for job in (*job_list.latest(Explore), *job_list.latest(Measure))
        if isinstance(job.request, Explore | Measure)
        and job.request.profile == str(scene.folder)
        and job.state in LIVE
    ]


def _live(scene: Scene) -> bool:
    return bool(_jobs(scene))


def _progress(scene: Scene) -> None:
    """What is being measured, and for how long."""
    jobs = _jobs(scene)
    job = next((job for job in jobs if job.stage), jobs[0] if jobs else None)
    if job is None:
        return
    text = "Measuring" + (f": {markdown(job.stage)}" if job.stage else "")
    left = job.seconds_left(time.time())
    if left is not None:
        text += f"; about {seconds(left)} for this map"
    st.info(f"{text}.", icon=":material/autorenew:")
