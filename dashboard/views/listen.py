"""Listen: the demo's recordings, and what each model heard."""

from __future__ import annotations

import math
from dataclasses import dataclass

import streamlit as st

from genptq_core.errors import GenPTQError
from genptq_core.speech import SpeechSet, Utterance
from genptq_core.store import Measured
from genptq_core.wer import align, count_errors

from .. import loaders
from ..scene import Scene
from ..wording import markdown, marked, measured_name, megabytes, percent
from .measure import queue_measurement

_SHOWN = 4
"""Recordings drawn at once: few, since every move of a slider sends them again."""


@dataclass(frozen=True)
class Heard:
    """One recording with its transcripts, and the word errors in each."""

    utterance: Utterance
    full: str
    picked: str
    full_errors: int
    picked_errors: int


def draw(scene: Scene) -> None:
    """Recordings, worst news first."""
    try:
        demo = loaders.manifest(loaders.DEMO)
    except GenPTQError as error:
        st.error(str(error))
        return
    if scene.pick is None:
        st.info("There is no pick to listen to: no map satisfies the knobs.")
        _plain(demo)
        return
    on_demo = [m for m in scene.records if _covers(m, demo)]
    pick = scene.pick
    mine = next((m for m in on_demo if m.map_digest == pick.map.digest), None)
    shown = mine or _nearest(scene, on_demo)
    if shown is None:
        st.info(
            "No map has been transcribed on the demo speech yet. Transcribing it with your pick "
            "takes a few minutes, and its point joins the front."
        )
        _button(scene)
        _plain(demo)
        return
    if mine is None:
        st.info(
            f"Your pick has not been heard yet. Below is the nearest map that has: "
            f"**{markdown(measured_name(shown))}**, {megabytes(shown.bytes)}, "
            f"WER {percent(shown.wer)}.",
            icon=":material/hearing:",
        )
        _button(scene)
    heard = _compare(shown, demo, shown.map_digest, demo.digest)
    worse = sum(h.picked_errors > h.full_errors for h in heard)
    better = sum(h.picked_errors < h.full_errors for h in heard)
    which = "your pick" if mine is not None else "this map"
    st.markdown(
        f"On {len(heard)} recordings {which} makes "
        f"**{sum(h.picked_errors for h in heard)} word errors**, full precision "
        f"**{sum(h.full_errors for h in heard)}**: {worse} recordings come out worse, "
        f"{better} better."
    )
    st.caption(
        "Marks: :red-background[**wrong**] :gray[(right)], :orange-background[~~missed~~], "
        ":blue-background[**+added**]; case and punctuation do not count."
    )
    pages = math.ceil(len(heard) / _SHOWN)
    page = 1
    if pages > 1:
        page = int(
            st.number_input(
                f"Page of {pages}, most newly wrong first",
                1,
                pages,
                1,
                key="listen_page",
                width=240,
            )
        )
    name = "Your pick" if mine is not None else markdown(measured_name(shown))
    for item in heard[(page - 1) * _SHOWN : page * _SHOWN]:
        _utterance(item, name)


def _covers(record: Measured, demo: SpeechSet) -> bool:
    """Whether a record holds a transcript of at least one demo recording."""
    known = {u.digest for u in demo.utterances}
    return any(audio in known for audio, _, _ in record.transcripts)


def _nearest(scene: Scene, records: list[Measured]) -> Measured | None:
    """The transcribed map whose predicted loss is most like the pick's."""
    if scene.pick is None or not records:
        return None
    mine = math.log(max(scene.pick.allocation.predicted_loss, 1e-9))
    return min(records, key=lambda m: abs(math.log(max(m.predicted_loss, 1e-9)) - mine))


@st.cache_resource(max_entries=16, show_spinner=False)
def _compare(_record: Measured, _demo: SpeechSet, map_digest: str, speech: str) -> list[Heard]:
    texts = {audio: (full, picked) for audio, full, picked in _record.transcripts}
    known = [u for u in _demo.utterances if u.digest in texts]
    references = [u.text for u in known]
    full = [texts[u.digest][0] for u in known]
    picked = [texts[u.digest][1] for u in known]
    before = count_errors(references, full).errors.tolist()
    after = count_errors(references, picked).errors.tolist()
    heard = [Heard(*row) for row in zip(known, full, picked, before, after, strict=True)]
    return sorted(heard, key=lambda h: (h.full_errors - h.picked_errors, -h.picked_errors))


def _utterance(item: Heard, name: str) -> None:
    with st.container(border=True):
        left, right = st.columns([1, 3], vertical_alignment="center")
        with left:
            _audio(item.utterance)
        with right:
            reference = item.utterance.text
            st.markdown(
                f":gray[Said]\u2003{markdown(reference)}\n\n"
                f":gray[Full precision, {_errors(item.full_errors)}]\u2003"
                f"{marked(align(reference, item.full))}\n\n"
                f":gray[{name}, {_errors(item.picked_errors)}]\u2003"
                f"{marked(align(reference, item.picked))}"
            )


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


def _errors(count: int) -> str:
    return "no errors" if count == 0 else f"{count} error{'s' if count > 1 else ''}"


def _plain(demo: SpeechSet) -> None:
    for utterance in demo.utterances[:_SHOWN]:
        with st.container(border=True):
            left, right = st.columns([1, 3], vertical_alignment="center")
            with left:
                _audio(utterance)
            right.markdown(f":gray[Said]\u2003{markdown(utterance.text)}")


def _button(scene: Scene) -> None:
    pressed = st.button("Transcribe the demo with this pick", type="primary", key="transcribe")
    if pressed and scene.pick is not None:
        queue_measurement(scene, scene.pick.map, str(loaders.DEMO), None, "")
