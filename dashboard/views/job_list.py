"""The queue on the page: what is at work, how long it will take, how it ended."""

from __future__ import annotations

import time
from pathlib import Path

import streamlit as st

from genptq_core.errors import GenPTQError
from genptq_core.speech.sources import HUB
from genptq_core.speech.utterances import SpeechSet

from ..jobs import queue as jobs
from ..jobs.requests import ComputeProfile, ExportMap, Measure, Request, Transcribe
from ..page import loaders
from ..page.knobs import SHORT
from ..wording import markdown, seconds, widths

ICONS = {
    jobs.QUEUED: ":material/schedule:",
    jobs.RUNNING: ":material/autorenew:",
    jobs.DONE: ":material/check_circle:",
    jobs.FAILED: ":material/error:",
    jobs.CANCELLED: ":material/cancel:",
    jobs.INTERRUPTED: ":material/warning:",
}
AGAIN = (jobs.FAILED, jobs.CANCELLED, jobs.INTERRUPTED)
_DONE = {
    Measure: "Measured",
    Transcribe: "Heard",
    ComputeProfile: "Computed",
    ExportMap: "Exported",
}
_POLL = 1.5
"""Seconds between looks at a live job."""

_SHOWN = 8


def add(request: Request) -> None:
    """Queue a request, start a worker, and redraw; an error is shown."""
    queue = jobs.Queue()
    try:
        queue.add(request)
        jobs.start_worker(queue)
    except GenPTQError as error:
        st.error(str(error))
    else:
        st.rerun(scope="app")


def listed(*kinds: type) -> list[jobs.Job]:
    """The latest jobs of some kinds, newest first; an error is shown."""
    try:
        return [job for job in jobs.Queue().jobs(100) if isinstance(job.request, kinds)]
    except GenPTQError as error:
        st.error(str(error))
        return []


def speech_at_hand() -> dict[str, SpeechSet]:
    """Speech whose recordings are here, by digest: the demo, and what was measured on."""
    asked = [job.request for job in listed(Measure) if job.state == jobs.DONE]
    manifests = dict.fromkeys((r.manifest, r.utterances) for r in asked if isinstance(r, Measure))
    return loaders.speech_at_hand(list(manifests))


def history(*kinds: type) -> None:
    """What ended before, with a way to run again what did not get done."""
    ended = [job for job in listed(*kinds) if job.state in jobs.ENDED]
    if not ended:
        return
    st.markdown("**Earlier**")
    for job in ended[:_SHOWN]:
        past(job)


def past(job: jobs.Job) -> None:
    """A line for a job that ended."""
    with st.container(horizontal=True, vertical_alignment="center", key=f"past-{job.id}"):
        message = f" {markdown(job.message)}" if job.message else ""
        st.markdown(f"{ICONS[job.state]} {title(job)}: {job.state}.{message}", width="stretch")
        # A recording is still there only where its job was cut off.
        kept = not isinstance(job.request, Transcribe) or job.state == jobs.INTERRUPTED
        if job.state in AGAIN and kept:
            again = "Resume" if job.state == jobs.INTERRUPTED else "Run again"
            st.button(again, key=f"again-{job.id}", on_click=_again, args=(job.id,))
        forget(job)


def forget(job: jobs.Job) -> None:
    """A button that takes an ended job off the list."""
    st.button(
        "Forget",
        key=f"forget-{job.id}",
        type="tertiary",
        on_click=_try,
        args=(jobs.Queue.forget, job.id),
        help="Take it off this list; what was measured or computed stays.",
    )


def _again(number: int) -> None:
    _try(jobs.Queue.requeue, number)
    _try(jobs.start_worker)


def _try(what, *arguments) -> None:  # type: ignore[no-untyped-def]
    """Do something to the queue in a callback; an error is shown above the page."""
    try:
        what(jobs.Queue(), *arguments)
    except GenPTQError as error:
        st.session_state["queue_error"] = str(error)


def strip() -> None:
    """A line a live job above everything, polled only while there is one."""
    if message := st.session_state.pop("queue_error", ""):
        st.error(message)
    try:
        found = jobs.Queue().jobs()
        jobs.resume(jobs.Queue(), found)
    except GenPTQError as error:
        st.error(str(error))
        return
    live = any(job.state in jobs.LIVE for job in found)
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
        _line(job)
    ended = before - live
    for job in found:
        if job.id in ended and job.state == jobs.DONE:
            st.toast(f"{_DONE[type(job.request)]}: {title(job)}", icon=ICONS[job.state])
        elif job.id in ended and job.state in AGAIN:
            st.toast(f"{title(job)}: {job.state}. {markdown(job.message)}")
    if ended:
        # A new point is on the front, and perhaps nothing is left to poll: draw all of it anew.
        st.rerun(scope="app")


def _line(job: jobs.Job) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"job-{job.id}"):
        share = min(job.done / job.total, 1.0) if job.total else 0.0
        st.progress(share, text=f"{ICONS[job.state]} {title(job)}: {_status(job)}")
        if job.cancel:
            st.caption("stopping\u2026")
        else:
            st.button(
                "Cancel", key=f"cancel-{job.id}", on_click=_try, args=(jobs.Queue.cancel, job.id)
            )


def title(job: jobs.Job) -> str:
    """What a job does, as Markdown."""
    wanted = job.request
    if isinstance(wanted, ComputeProfile):
        first = f", first {wanted.utterances}" if wanted.utterances else ""
        name = markdown(Path(wanted.out).name)
        return f"profile {name} of {markdown(wanted.model)} on {_speech(wanted.manifest)}{first}"
    chosen = f"map {wanted.map_digest[:SHORT]}"
    if isinstance(wanted, Transcribe):
        # Whoever else looks at this page need not know what the recording is called.
        return f"a recording with {chosen} ({widths(wanted.options)})"
    if isinstance(wanted, ExportMap):
        return f"export of {chosen} ({widths(wanted.options)}) for {markdown(wanted.target)}"
    name = markdown(wanted.label) if wanted.label else chosen
    first = f", first {wanted.utterances}" if wanted.utterances else ""
    return f"{name} ({widths(wanted.options)}) on {_speech(wanted.manifest)}{first}"


def _speech(source: str) -> str:
    if source.startswith(HUB):
        return markdown(source)
    path = Path(source)
    return markdown(f"{path.parent.name}/{path.stem}")


def _status(job: jobs.Job) -> str:
    if job.state == jobs.QUEUED:
        return "waiting its turn"
    if not job.total:
        return f"{job.stage}\u2026"
    left = job.seconds_left(time.time())
    pace = f", about {seconds(left)} left in this stage" if left is not None else ""
    return f"{job.stage}, {job.done} of {job.total}{pace}"
