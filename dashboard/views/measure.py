"""Measure: queue a real measurement of the pick, and watch the queue."""

from __future__ import annotations

import time
from pathlib import Path

import streamlit as st

from genptq_core.errors import GenPTQError

from .. import jobs, loaders
from ..scene import Scene
from ..state import SHORT
from ..wording import markdown, seconds, widths

_ICONS = {
    jobs.QUEUED: ":material/schedule:",
    jobs.RUNNING: ":material/autorenew:",
    jobs.DONE: ":material/check_circle:",
    jobs.FAILED: ":material/error:",
    jobs.CANCELLED: ":material/cancel:",
    jobs.INTERRUPTED: ":material/warning:",
}
_AGAIN = (jobs.FAILED, jobs.CANCELLED, jobs.INTERRUPTED)
_POLL = 1.5
"""Seconds between looks at a live job."""


def queue_measurement(scene: Scene, manifest: str, utterances: int | None, label: str) -> None:
    """Queue the pick for measuring, start a worker, and redraw."""
    pick = scene.pick
    if pick is None:
        return
    queue = jobs.Queue()
    try:
        path = (loaders.ROOT / Path(manifest).expanduser()).resolve()
        # Reading the manifest now tells of a bad path at once, not minutes later.
        loaders.manifest(path)
        queue.add(
            jobs.Request(
                profile=str(scene.folder),
                profile_digest=scene.profile.digest,
                map_digest=pick.map.digest,
                options=pick.map.options,
                manifest=str(path),
                utterances=utterances,
                label=label.strip()[:60],
            )
        )
        jobs.start_worker(queue)
    except GenPTQError as error:
        st.error(str(error))
        return
    except (OSError, ValueError, RuntimeError) as error:
        st.error(f"The path cannot be used ({markdown(str(error))}).")
        return
    st.rerun(scope="app")


def draw(scene: Scene) -> None:
    """The form, and the queue's history."""
    pick = scene.pick
    if pick is None:
        st.info("There is no pick to measure: no map satisfies the knobs.")
    else:
        st.markdown(
            f"Decode speech with bit map `{pick.map.digest[:SHORT]}` and count its word errors. "
            "It runs in a process of its own, one at a time; the page stays live meanwhile, and "
            "a reload finds it again. Its point joins the front when done."
        )
        with st.form("measure", border=False):
            manifest = st.text_input(
                "Speech manifest",
                str(loaders.DEMO.relative_to(loaders.ROOT)),
                help='JSON lines: {"audio": "clips/a.flac", "text": "what was said"}.',
            )
            left, right = st.columns(2)
            limit = left.number_input(
                "Only the first utterances (0 for all)", 0, 100_000, 0, help="Quicker, and rougher."
            )
            label = right.text_input("Name in lists (optional)", max_chars=60)
            if st.form_submit_button("Measure this pick", type="primary"):
                queue_measurement(scene, manifest, int(limit) or None, label)
    history()


def history() -> None:
    """What was queued before, with a way to run it again."""
    queue = jobs.Queue()
    try:
        past = [job for job in queue.jobs() if job.state not in jobs.LIVE]
    except GenPTQError as error:
        st.error(str(error))
        return
    if not past:
        return
    st.markdown("**Earlier**")
    for job in past[:8]:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{_ICONS[job.state]} {_title(job)}: {job.state}. {markdown(job.message)}")
            if job.state in _AGAIN and st.button("Run again", key=f"again-{job.id}"):
                try:
                    queue.requeue(job.id)
                    jobs.start_worker(queue)
                except GenPTQError as error:
                    st.error(str(error))
                else:
                    st.rerun(scope="app")


def strip() -> None:
    """A line a live job above everything, polled only while there is one."""
    try:
        live = any(job.state in jobs.LIVE for job in jobs.Queue().jobs())
    except GenPTQError as error:
        st.error(str(error))
        return
    st.fragment(_strip, run_every=_POLL if live else None)()


def _strip() -> None:
    queue = jobs.Queue()
    try:
        found = queue.jobs()
    except GenPTQError as error:
        st.error(str(error))
        return
    live = {job.id for job in found if job.state in jobs.LIVE}
    before: set[int] = st.session_state.get("live_jobs", set())
    st.session_state["live_jobs"] = live
    for job in sorted((j for j in found if j.id in live), key=lambda j: j.id):
        _line(queue, job)
    ended = before - live
    for job in found:
        if job.id in ended and job.state == jobs.DONE:
            st.toast(f"Measured: {_title(job)}", icon=_ICONS[job.state])
        elif job.id in ended and job.state in _AGAIN:
            st.toast(f"{_title(job)}: {job.state}. {markdown(job.message)}")
    if ended:
        # A new point is on the front, and perhaps nothing is left to poll: draw all of it anew.
        st.rerun(scope="app")


def _line(queue: jobs.Queue, job: jobs.Job) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"job-{job.id}"):
        share = min(job.done / job.total, 1.0) if job.total else 0.0
        st.progress(share, text=f"{_ICONS[job.state]} {_title(job)}: {_status(job)}")
        if job.cancel:
            st.caption("stopping\u2026")
        elif st.button("Cancel", key=f"cancel-{job.id}"):
            try:
                queue.cancel(job.id)
            except GenPTQError as error:
                st.error(str(error))
            else:
                st.rerun(scope="app")


def _title(job: jobs.Job) -> str:
    wanted = job.request
    name = markdown(wanted.label) if wanted.label else f"map {wanted.map_digest[:SHORT]}"
    path = Path(wanted.manifest)
    speech = markdown(f"{path.parent.name}/{path.stem}")
    first = f", first {wanted.utterances}" if wanted.utterances else ""
    return f"{name} ({widths(wanted.options)}) on {speech}{first}"


def _status(job: jobs.Job) -> str:
    if job.state == jobs.QUEUED:
        return "waiting its turn"
    if not job.total:
        return f"{job.stage}\u2026"
    left = job.seconds_left(time.time())
    pace = f", about {seconds(left)} left in this stage" if left is not None else ""
    return f"{job.stage}, {job.done} of {job.total}{pace}"
