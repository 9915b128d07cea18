"""The queue on the page: what is running, how long it will take, how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from genptq_core.errors import GenPTQError
from genptq_core.speech.names import readable
from genptq_core.speech.sources import HUB

from ..jobs import processes
from ..jobs.queue import (
    CANCELLED,
    DONE,
    ENDED,
    FAILED,
    INTERRUPTED,
    LIVE,
    QUEUED,
    RUNNING,
    Job,
    Queue,
)
from ..jobs.requests import (
    KINDS,
    ComputeProfile,
    Explore,
    ExportMap,
    Measure,
    Request,
    Transcribe,
    Unreadable,
)
from ..page import loaders
from ..page.knobs import SHORT
from ..wording import markdown, megabytes, points, seconds, widths
from . import failure

ICONS = {
    QUEUED: ":material/schedule:",
    RUNNING: ":material/autorenew:",
    DONE: ":material/check_circle:",
    FAILED: ":material/error:",
    CANCELLED: ":material/cancel:",
    INTERRUPTED: ":material/warning:",
}
UNDONE = (FAILED, CANCELLED, INTERRUPTED)
"""States of jobs that ended without a result."""

_ENDED_AS = {
    Measure: "Measured",
    Explore: "Explored",
    Transcribe: "Transcribed",
    ComputeProfile: "Computed",
    ExportMap: "Exported",
}
_POLL = 1.5
"""Seconds between looks at a live job."""

_SHOWN = 8
"""Ended jobs in a list."""


def queue_request(request: Request, told: bool = True) -> None:
    """Queue a request, start a worker, and redraw; an error is shown.

    Args:
        request: what is asked for.
        told: whether a note says where its progress stands.
    """
    queue = Queue()
    try:
        queue.add(request)
        processes.start_worker(queue)
    except GenPTQError as error:
        failure.show(error)
    else:
        if told:
            st.toast("Queued. How far it is stands at the foot of the page.", icon=ICONS[QUEUED])
        st.rerun(scope="app")


def latest(kind: type) -> list[Job]:
    """The latest jobs of a kind of request, newest first; an error is shown."""
    return [job for job in _latest() if isinstance(job.request, kind)]


def _latest() -> list[Job]:
    try:
        return Queue().jobs(100)
    except GenPTQError as error:
        failure.show(error)
        return []


def readable_speech() -> dict[str, loaders.Readable]:
    """Speech whose recordings can be read here, by digest: the demo, and what was measured on."""
    requests = [job.request for job in _latest() if job.state == DONE]
    manifests = [(r.manifest, r.utterances) for r in requests if isinstance(r, Measure | Explore)]
    return loaders.readable_speech(list(dict.fromkeys(manifests)))


def said(kind: type, profile: Path) -> None:
    """The jobs of a kind that wait or run for a profile, where they were asked for."""
    for job in reversed([job for job in latest(kind) if _of(job, profile) and job.state in LIVE]):
        st.info(f"{title(job)}: {_status(job)}", icon=ICONS[job.state])


def _of(job: Job, profile: Path | None) -> bool:
    """Whether a job is of a profile; one of which that cannot be read is of all."""
    of = getattr(job.request, "profile", None)
    return profile is None or of is None or of == str(profile)


def history(kind: type | tuple[type, ...], profile: Path | None = None) -> None:
    """The jobs of some kinds of request that ended; those without a result can be run again.

    Damaged jobs are among them; those of which not even the kind can be read, among measurements.

    Args:
        kind: the kind of request, or the kinds, first the one that damaged ones stand among.
        profile: folder of the profile whose jobs are meant; all if None.
    """
    ended = [
        job
        for job in _latest()
        if job.state in ENDED
        and _of(job, profile)
        and (
            KINDS.get(job.request.kind, Measure) in (kind if isinstance(kind, tuple) else (kind,))
            if isinstance(job.request, Unreadable)
            else isinstance(job.request, kind)
        )
    ]
    if not ended:
        return
    st.markdown("**Earlier**")
    for job in ended[:_SHOWN]:
        ended_line(job)


def ended_line(job: Job) -> None:
    """A line for a job that ended."""
    with st.container(horizontal=True, vertical_alignment="center", key=f"past-{job.id}"):
        message = f" {markdown(job.message)}" if job.message else _found(job)
        st.markdown(f"{ICONS[job.state]} {title(job)}: {job.state}.{message}", width="stretch")
        # A recording is still there only where its job was cut off.
        complete = not isinstance(job.request, Transcribe) or job.state == INTERRUPTED
        complete = complete and not isinstance(job.request, Unreadable)
        if job.state in UNDONE and complete:
            again = "Resume" if job.state == INTERRUPTED else "Run again"
            st.button(again, key=f"again-{job.id}", on_click=_run_again, args=(job.id,))
        forget_button(job)


def _found(job: Job) -> str:
    """What an exploration found, as a sentence to add; "" for any other job."""
    if not isinstance(job.request, Explore) or job.state != DONE:
        return ""
    known = job.result
    said = (
        f" {known['maps']} maps measured on this speech; those that cost up to a point are known "
        f"within {points(known['half_width'], 2).lstrip('+')} points."
    )
    if known["bytes"] is not None:
        said += f" The smallest that is known to be safe takes {megabytes(known['bytes'])}."
    elif not known["enough"]:
        said += " None is known to be safe yet: another run goes on from here."
    return said


def forget_button(job: Job) -> None:
    """A button that takes an ended job off the list."""
    st.button(
        "Forget",
        key=f"forget-{job.id}",
        type="tertiary",
        on_click=_change,
        args=(lambda queue: queue.forget(job.id),),
        help="Take it off this list; what was measured or computed stays.",
    )


def _run_again(number: int) -> None:
    _change(lambda queue: queue.requeue(number))
    _change(processes.start_worker)


def _change(change: Callable[[Queue], object]) -> None:
    """Change the queue in a callback; an error is shown above the page."""
    try:
        change(Queue())
    except GenPTQError as error:
        st.session_state["queue_error"] = str(error)


def live_jobs() -> None:
    """A line per live job above everything, polled only while there is one."""
    if message := st.session_state.pop("queue_error", ""):
        failure.show(message)
    queue = Queue()
    try:
        jobs = queue.jobs()
        processes.resume(queue, jobs)
    except GenPTQError as error:
        failure.show(error)
        return
    live = any(job.state in LIVE for job in jobs)
    st.fragment(_live_lines, run_every=_POLL if live else None)()


def _live_lines() -> None:
    """The live jobs, and a toast for each that has ended since the last look."""
    try:
        jobs = Queue().jobs()
    except GenPTQError as error:
        failure.show(error)
        return
    live = {job.id for job in jobs if job.state in LIVE}
    before: set[int] = st.session_state.get("live_jobs", set())
    st.session_state["live_jobs"] = live
    for job in sorted((j for j in jobs if j.id in live), key=lambda j: j.id):
        _live_line(job)
    ended = before - live
    for job in jobs:
        if job.id in ended and job.state == DONE:
            done = _ENDED_AS.get(type(job.request), "Done")
            st.toast(f"{done}: {title(job)}", icon=ICONS[job.state])
        elif job.id in ended and job.state in UNDONE:
            st.toast(f"{title(job)}: {job.state}. {markdown(job.message)}")
    if ended:
        # A new point is on the front, and perhaps nothing is left to poll: draw the whole page.
        st.rerun(scope="app")


def _live_line(job: Job) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"job-{job.id}"):
        fraction = min(job.done / job.total, 1.0) if job.total else 0.0
        st.progress(fraction, text=f"{ICONS[job.state]} {title(job)}: {_status(job)}")
        if job.cancel:
            st.caption("stopping\u2026")
        else:
            st.button(
                "Cancel",
                key=f"cancel-{job.id}",
                on_click=_change,
                args=(lambda queue: queue.cancel(job.id),),
            )


def title(job: Job) -> str:
    """What a job does, as Markdown."""
    request = job.request
    if isinstance(request, Unreadable):
        return f"job {job.id}"
    if isinstance(request, ComputeProfile):
        first = f", first {request.utterances}" if request.utterances else ""
        name, speech = markdown(Path(request.out).name), _speech(request.manifest)
        return f"profile {name} of {markdown(request.model)} on {speech}{first}"
    if isinstance(request, Explore):
        first = f", first {request.utterances}" if request.utterances else ""
        profile = markdown(Path(request.profile).name)
        speech = _speech(request.manifest)
        return f"maps of {profile} on {speech}{first}, {request.minutes:g} min at most"
    chosen = f"map {request.map_digest[:SHORT]}"
    if isinstance(request, Transcribe):
        # Other people who look at this page need not know what the recording is called.
        return f"a recording with {chosen} ({widths(request.options)})"
    if isinstance(request, ExportMap):
        return f"export of {chosen} ({widths(request.options)}) for {markdown(request.target)}"
    name = markdown(request.label) if request.label else chosen
    first = f", first {request.utterances}" if request.utterances else ""
    return f"{name} ({widths(request.options)}) on {_speech(request.manifest)}{first}"


def _speech(source: str) -> str:
    """A speech set's name, as Markdown."""
    if source.startswith(HUB):
        return markdown(source)
    path = Path(source)
    return markdown(readable(f"{path.parent.name}/{path.stem}", ""))


def _status(job: Job) -> str:
    """How far a live job is, in words."""
    if job.state == QUEUED:
        return "waiting its turn"
    if not job.total:
        return f"{markdown(job.stage)}\u2026"
    remaining = job.seconds_left(time.time())
    pace = f", about {seconds(remaining)} left in this stage" if remaining is not None else ""
    return f"{markdown(job.stage)}, {job.done} of {job.total}{pace}"
