"""The user's own recordings, transcribed at full precision and with the pick."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import streamlit as st

from genptq_core.errors import GenPTQError
from genptq_core.speech.wer import WHISPER_ENGLISH, align, count_errors
from genptq_core.speech.writing import LONGEST, normalizer_for

from ..jobs import uploads
from ..jobs.queue import DONE, Job
from ..jobs.requests import Transcribe
from ..page.knobs import SHORT
from ..page.scene import Scene
from ..wording import markdown, marked, widths
from . import asking, failure, job_list

LEGEND = (
    ":red-background[**wrong**] :gray[(right)], :orange-background[~~missed~~], "
    ":blue-background[**+added**]"
)
_SHOWN = 3


def errors(count: int) -> str:
    """A number of word errors in words."""
    return "no errors" if count == 0 else f"{count} error{'s' if count > 1 else ''}"


def draw(scene: Scene) -> None:
    """The recorder, and the transcripts of earlier recordings."""
    owner = _owner()
    own = [
        job
        for job in job_list.latest(Transcribe)
        if isinstance(job.request, Transcribe)
        and job.request.owner == owner
        and job.request.profile == str(scene.folder)
    ]
    box = st.container(key="voice_box")
    with box.expander("Your own voice", icon=":material/mic:", expanded=bool(own)):
        if scene.pick is not None:
            _recorder(scene, owner)
        for job in [job for job in own if job.state == DONE][:_SHOWN]:
            _result(job)
        for job in [job for job in own if job.state in job_list.UNDONE][:_SHOWN]:
            job_list.ended_line(job)


def _owner() -> str:
    """A name for this browser, so that nobody reads what was said in another one.

    Streamlit's cookie against forged requests differs between browsers: "version|mask|token|time",
    the token under a new mask each time it is sent. Where it is not as expected, a reload counts as
    another browser.
    """
    try:
        _, mask, token, _ = str(st.context.cookies["_streamlit_xsrf"]).split("|")
        key = bytes.fromhex(mask)
        plain = bytes(b ^ key[i % len(key)] for i, b in enumerate(bytes.fromhex(token)))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        plain = st.session_state.setdefault("voice_owner", secrets.token_bytes(16))
    return uploads.owner(plain)


def _recorder(scene: Scene, owner: str) -> None:
    st.caption(
        "Transcribed at full precision and with your pick, window by window where it is longer "
        "than 30 seconds; the recording stays on this machine and is deleted as soon as both have."
    )
    left, right = st.columns(2)
    spoken = left.audio_input("Record", key="voice_spoken")
    given: Any = right.file_uploader(
        "Or choose a file",
        uploads.TYPES,
        key="voice_file",
        max_upload_size=uploads.LARGEST,
    )
    said = st.text_input(
        "What is said in it (optional, to count errors)", key="voice_said", max_chars=1000
    )
    asked = asking.of_profile(st, "voice", scene.profile)
    recording = given or spoken
    pressed = st.button(
        "Transcribe with both", key="voice_send", type="primary", disabled=recording is None
    )
    if not pressed or recording is None or scene.pick is None:
        return
    name = recording.name if recording is given else "recording.wav"
    try:
        path = uploads.keep(recording.getvalue(), name)
    except GenPTQError as error:
        failure.show(error)
        return
    job_list.queue_request(
        Transcribe(
            profile=str(scene.folder),
            profile_digest=scene.profile.digest,
            map_digest=scene.pick.map.digest,
            options=scene.pick.map.options,
            audio=str(path),
            name=Path(name).stem[:60] if recording is given else "your recording",
            said=said.strip(),
            owner=owner,
            language=asked[0],
            task=asked[1],
        )
    )


def _result(job: Job) -> None:
    request = job.request
    if not isinstance(request, Transcribe):
        return
    full, picked = str(job.result.get("full", "")), str(job.result.get("picked", ""))
    own = str(job.result.get("normalizer", WHISPER_ENGLISH))
    normalizer = normalizer_for([(request.said or full)[:LONGEST]], own)
    chosen = f"map `{request.map_digest[:SHORT]}` ({widths(request.options)})"
    with st.container(border=True, key=f"voice-result-{job.id}"):
        if request.said:
            counts = [
                int(found.errors[0] + found.on_silence[0])
                for found in (
                    count_errors([request.said], [text], normalizer) for text in (full, picked)
                )
            ]
            text = (
                f":gray[Said]\u2003{markdown(request.said)}\n\n"
                f":gray[Full precision, {errors(counts[0])}]\u2003"
                f"{marked(align(request.said, full, normalizer))}\n\n"
                f":gray[{chosen}, {errors(counts[1])}]\u2003"
                f"{marked(align(request.said, picked, normalizer))}"
            )
        else:
            spans = align(full, picked, normalizer)
            differ = any(span.kind != "equal" for span in spans)
            text = (
                f":gray[Full precision]\u2003{markdown(full) or '(nothing)'}\n\n"
                f":gray[{chosen}, {'differs' if differ else 'the same words'}]\u2003"
                f"{marked(spans) if differ else markdown(picked) or '(nothing)'}"
            )
        st.markdown(f"**{markdown(request.name)}**\n\n{text}")
        if not request.said:
            st.caption("Marked: where the map departs from full precision, which may err itself.")
        job_list.forget_button(job)
