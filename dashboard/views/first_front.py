"""The way from a new profile to its own front: a few maps to measure, asked for at once."""

from __future__ import annotations

import time

import streamlit as st

from genptq_core.allocation.solving import solve
from genptq_core.allocation.wer_curve import LEAST_POINTS
from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.errors import GenPTQError
from genptq_core.measurement.next_map import suggest_maps

from ..jobs import processes
from ..jobs.queue import LIVE, Queue
from ..jobs.requests import Measure
from ..page.command_line import measure_these_commands
from ..page.scene import Scene
from ..wording import markdown, seconds
from . import failure, job_list
from .measure import judged_speech, request_of

_POLL = 2.0
"""Seconds between looks at how far they are."""


def draw(scene: Scene) -> None:
    """Where no speech set has a curve: one button that measures what is missing for one."""
    if any(scene.measured.curves.values()):
        return
    if _live(scene):
        st.fragment(_progress, run_every=_POLL)(scene)
        return
    maps = missing(scene)
    if not maps:
        return
    manifest, utterances = judged_speech(scene)
    name = markdown(manifest)
    with st.container(key="first_front", gap="small"):
        pressed = st.button(
            f"Measure {len(maps)} map{'s' if len(maps) > 1 else ''}",
            key="measure_first",
            type="primary",
            icon=":material/play_arrow:",
            help=f"Of sizes spread over the useful ones, on {name}. They take minutes each, one "
            "after another; then the front is in wrong words.",
        )
        box = st.popover("The same as commands", key="measure_first_commands", on_change="rerun")
        if box.open:
            box.code(measure_these_commands(scene, maps, manifest, utterances), language="sh")
    if pressed:
        _queue(scene, maps, manifest, utterances)


def missing(scene: Scene) -> list[BitMap]:
    """Maps to measure until the set shown has a curve, spread over the useful front."""
    measured = sum(m.predicted_loss > 0 for m in scene.records_shown)
    wanted = max(LEAST_POINTS - measured, 1)
    curve = scene.measured.borrowed
    found = suggest_maps(scene.front, curve, scene.records_shown, wanted)
    maps = {}
    for suggestion in sorted(found, key=lambda one: one.bytes):
        chosen = bit_map(scene.profile, solve(scene.problem, suggestion.bytes).options)
        maps[chosen.digest] = chosen
    return list(maps.values())


def _queue(scene: Scene, maps: list[BitMap], manifest: str, utterances: int | None) -> None:
    queue = Queue()
    try:
        for chosen in maps:
            queue.add(request_of(scene, chosen, manifest, utterances))
        processes.start_worker(queue)
    except GenPTQError as error:
        failure.show(error)
    else:
        st.rerun(scope="app")


def _live(scene: Scene) -> bool:
    return any(
        isinstance(job.request, Measure)
        and job.request.profile == str(scene.folder)
        and job.state in LIVE
        for job in job_list.latest(Measure)
    )


def _progress(scene: Scene) -> None:
    """How many are left, and for how long."""
    jobs = [
        job
        for job in job_list.latest(Measure)
        if isinstance(job.request, Measure)
        and job.request.profile == str(scene.folder)
        and job.state in LIVE
    ]
    text = f"Measuring: {len(jobs)} map{'s' if len(jobs) > 1 else ''} left"
    for job in jobs:
        left = job.seconds_left(time.time())
        if left is not None and job.done:
            whole = left * job.total / max(job.total - job.done, 1)
            text += f", about {seconds(left + (len(jobs) - 1) * whole)}"
            break
    st.info(f"{text}.", icon=":material/autorenew:")
