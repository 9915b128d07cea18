"""Listen: recordings, and how each model transcribes them."""

from __future__ import annotations

import math
from functools import lru_cache

import streamlit as st

from genptq_core.measurement.records import Measured
from genptq_core.measurement.worth_hearing import TranscriptPair, worth_hearing
from genptq_core.speech.names import readable
from genptq_core.speech.normalizers import rate_of, unit_of
from genptq_core.speech.utterances import SpeechSet, Utterance
from genptq_core.speech.wer import align

from ..jobs.requests import Measure
from ..page import loaders
from ..page.loaders import Readable
from ..page.scene import Pick, Scene
from ..wording import markdown, marked, measured_name, megabytes, percent
from . import job_list, voice
from .measure import queue_measurement

_SHOWN = 4
"""Recordings drawn at once: few, since every move of a slider sends them again."""


def draw(scene: Scene) -> None:
    """The user's own recordings, then those that maps were measured on, new errors first."""
    voice.draw(scene)
    readable = _speech(scene)
    if readable is None:
        st.info("The demo's recordings are not here, so there is nothing else to listen to.")
        return
    speech = readable.speech
    if scene.speech is not None and scene.speech.speech_digest != speech.digest:
        st.caption(
            f"The front is judged on {markdown(scene.speech_name)}; these are other recordings."
        )
    if speech.name in loaders.CREDITS:
        st.caption(f"Recordings: {loaders.CREDITS[speech.name]}.")
    if scene.pick is None:
        st.info("There is no pick to listen to: no map satisfies the knobs.")
        _plain(speech)
        return
    transcribed = [m for m in scene.records if _covers(m, speech)]
    pick = scene.pick
    of_pick = next((m for m in transcribed if m.map_digest == pick.map.digest), None)
    shown = of_pick or _nearest(pick, transcribed)
    if shown is None:
        st.info(
            "No map has been transcribed on these recordings yet. Transcribing them with your "
            "pick takes a few minutes, and its point joins the front."
        )
        _button(scene, readable)
        _plain(speech)
        return
    if of_pick is None:
        st.info(
            "Your pick has not been transcribed yet. Below is the nearest map that was: "
            f"**{markdown(measured_name(shown))}**, {megabytes(shown.bytes)}, "
            f"{rate_of(shown.normalizer)} {percent(shown.wer)}.",
            icon=":material/hearing:",
        )
        _button(scene, readable)
    key = f"{shown.map_digest} {shown.set_key} {shown.when}"
    pairs = _pairs(key, shown, speech)
    which = "your pick" if of_pick is not None else "this map"
    _summary(pairs, which, unit_of(shown.normalizer))
    pages = math.ceil(len(pairs) / _SHOWN)
    page = 1
    if pages > 1:
        page = int(
            st.number_input(
                f"Page of {pages}, newly wrong first",
                min_value=1,
                max_value=pages,
                value=1,
                key="listen_page",
                width=240,
            )
        )
    name = "Your pick" if of_pick is not None else markdown(measured_name(shown))
    by_digest = {u.digest: u for u in speech.utterances}
    for item in pairs[(page - 1) * _SHOWN : page * _SHOWN]:
        _utterance(item, by_digest[item.audio], name, shown.normalizer)


def _speech(scene: Scene) -> Readable | None:
    """The speech to listen to: of what can be read and was transcribed, what the user chooses.

    It begins with the set that the front is judged on, and follows where another one is chosen.
    """
    readable = job_list.readable_speech()
    offered = {
        digest: found
        for digest, found in readable.items()
        if any(m.speech_digest == digest and m.transcripts for m in scene.records)
    } or dict(list(readable.items())[:1])
    if len(offered) < 2:
        return next(iter(offered.values()), None)
    shown = scene.speech.speech_digest if scene.speech is not None else ""
    # People before synthesizers, where the set on the page cannot be played.
    keys = sorted(
        offered, key=lambda d: (d != shown, offered[d].speech.name not in loaders.CREDITS)
    )
    state = st.session_state
    if state.get("listen_speech") not in offered or state.get("listen_judged") != shown:
        state["listen_speech"] = keys[0]
        state["listen_judged"] = shown
    chosen = st.selectbox(
        "Recordings of",
        keys,
        format_func=lambda digest: _label(offered[digest].speech),
        key="listen_speech",
    )
    return offered[chosen or keys[0]]


def _label(speech: SpeechSet) -> str:
    return f"{readable(speech.name, speech.digest)} ({len(speech)} utterances)"


def _covers(record: Measured, speech: SpeechSet) -> bool:
    """Whether a record holds a transcript of at least one recording."""
    known = {u.digest for u in speech.utterances}
    return any(audio in known for audio, _, _ in record.transcripts)


def _nearest(pick: Pick, records: list[Measured]) -> Measured | None:
    """The transcribed map whose predicted loss is most like the pick's, or None without any."""
    wanted = math.log(max(pick.allocation.predicted_loss, 1e-9))
    return min(
        records,
        key=lambda m: abs(math.log(max(m.predicted_loss, 1e-9)) - wanted),
        default=None,
    )


@st.cache_resource(max_entries=16, show_spinner=False)
def _pairs(key: str, _record: Measured, _speech: SpeechSet) -> list[TranscriptPair]:
    return worth_hearing(_record, {u.digest: u.text for u in _speech.utterances})


def _summary(pairs: list[TranscriptPair], which: str, unit: str) -> None:
    """The errors of both models, in a sentence; `which` names the map, `unit` what is counted."""
    new = sum(pair.newly_wrong for pair in pairs)
    worse = sum(pair.picked_errors > pair.full_errors for pair in pairs)
    better = sum(pair.picked_errors < pair.full_errors for pair in pairs)
    st.markdown(
        f"On {len(pairs)} recordings {which} makes "
        f"**{sum(pair.picked_errors for pair in pairs)} {unit} errors**, full precision "
        f"**{sum(pair.full_errors for pair in pairs)}**: {worse} recordings come out worse, "
        f"{better} better, and on **{new}** only {which} errs; they come first."
    )
    st.caption(f"Marks: {voice.LEGEND}; case and punctuation do not count.")


def _utterance(item: TranscriptPair, utterance: Utterance, name: str, normalizer: str) -> None:
    with st.container(border=True):
        left, right = st.columns([1, 3], vertical_alignment="center")
        with left:
            _audio(utterance)
        with right:
            st.markdown(
                f":gray[Said]\u2003{markdown(item.reference)}\n\n"
                f":gray[Full precision, {voice.errors(item.full_errors)}]\u2003"
                f"{_differences(item.reference, item.full, normalizer)}\n\n"
                f":gray[{name}, {voice.errors(item.picked_errors)}]\u2003"
                f"{_differences(item.reference, item.picked, normalizer)}"
            )


@lru_cache(maxsize=256)
def _differences(said: str, written: str, normalizer: str) -> str:
    """A transcript in Markdown, with every difference from what was said marked."""
    return marked(align(said, written, normalizer))


def _audio(utterance: Utterance) -> None:
    try:
        st.audio(utterance.audio.read_bytes(), format=_mime(utterance))
    except OSError as error:
        st.caption(f"The recording cannot be read ({markdown(error.strerror or '')}).")
    st.caption(
        f"{markdown(utterance.audio.stem)}, voice {markdown(utterance.speaker or 'unknown')}"
    )


def _mime(utterance: Utterance) -> str:
    kinds = {".flac": "audio/flac", ".ogg": "audio/ogg", ".mp3": "audio/mpeg"}
    return kinds.get(utterance.audio.suffix.lower(), "audio/wav")


def _plain(speech: SpeechSet) -> None:
    for utterance in speech.utterances[:_SHOWN]:
        with st.container(border=True):
            left, right = st.columns([1, 3], vertical_alignment="center")
            with left:
                _audio(utterance)
            right.markdown(f":gray[Said]\u2003{markdown(utterance.text)}")


def _button(scene: Scene, readable: Readable) -> None:
    pressed = st.button("Transcribe these with this pick", type="primary", key="transcribe")
    if pressed and scene.pick is not None:
        queue_measurement(scene, scene.pick.map, readable.manifest, readable.utterances, "")
    job_list.said(Measure, scene.folder)
