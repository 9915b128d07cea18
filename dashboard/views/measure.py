"""Measure: queue a real measurement of the pick, or of the map that would teach most."""

from __future__ import annotations

import streamlit as st

from genptq_core.bitmaps.bitmap import BitMap, bit_map
from genptq_core.errors import GenPTQError
from genptq_core.measurement.next_map import Suggestion, suggest_next_map
from genptq_core.speech.sources import HUB
from genptq_core.workers.pool import named_scheduler

from ..jobs.requests import Explore, Measure
from ..page import loaders
from ..page.knobs import SHORT
from ..page.paths import shown, typed
from ..page.scene import Scene
from ..wording import markdown, megabytes, percent
from . import asking, failure, job_list

_LITTLE = 0.05
"""Part of the uncertainty under which one more measurement is not worth its minutes."""


def speech_source(text: str) -> str:
    """A speech set as typed; a path is made absolute, from the folder of the server.

    Raises:
        SpeechError: it is missing, or a manifest is malformed; the job would fail later.
        ValueError: it is no path.
    """
    if text.startswith(HUB):
        return text
    path = typed(text)
    if path.suffix == ".jsonl" or not path.exists():
        loaders.read_manifest(path)
    return str(path)


def request_of(
    scene: Scene,
    chosen: BitMap,
    source: str,
    utterances: int | None,
    label: str = "",
    *,
    asked: tuple[str, str] = ("", ""),
) -> Measure:
    """The request to measure a map on some speech, as `speech_source` gives it; the model is asked
    for a language and a task."""
    return Measure(
        profile=str(scene.folder),
        profile_digest=scene.profile.digest,
        map_digest=chosen.digest,
        options=chosen.options,
        manifest=source,
        utterances=utterances,
        label=label,
        language=asked[0],
        task=asked[1],
    )


def queue_measurement(
    scene: Scene,
    chosen: BitMap,
    manifest: str,
    utterances: int | None,
    label: str,
    *,
    asked: tuple[str, str] = ("", ""),
) -> None:
    """Queue a map for measuring, and redraw."""
    try:
        source = speech_source(manifest.strip())
    except GenPTQError as error:
        failure.show(error)
    except (OSError, ValueError, RuntimeError) as error:
        failure.show(f"The path cannot be used ({error}).")
    else:
        request = request_of(scene, chosen, source, utterances, label.strip()[:60], asked=asked)
        job_list.queue_request(request)


def draw(scene: Scene) -> None:
    """The form, and what would teach most."""
    pick = scene.pick
    suggestion = suggest_next_map(scene.front, scene.curve, scene.records_shown)
    if pick is None:
        st.info("There is no pick to measure: no map satisfies the knobs.")
    else:
        st.markdown(
            f"Decode speech with bit map `{pick.map.digest[:SHORT]}` and count its word errors. "
            "It runs in a process of its own, one job at a time; the page stays live meanwhile, "
            "and a reload or a restart finds it again. Its point joins the front when done."
            + _machines()
        )
        # Each family has a demo of its own.
        key = f"manifest_{scene.profile.source.family}"
        _same_speech(scene, key)
        with st.form("measure", border=False, enter_to_submit=False):
            manifest = st.text_input(
                "Speech: a manifest or folder",
                key=key,
                help='JSON lines {"audio": "clips/a.flac", "text": "what was said"}, CSV, a folder '
                "in LibriSpeech's layout, or hf: and a data set.",
            )
            left, right = st.columns(2)
            limit = left.number_input(
                "Only the first utterances (0 for all)",
                min_value=0,
                max_value=100_000,
                key="measure_limit",
                help="Quicker, and rougher.",
            )
            label = right.text_input("Name in lists (optional)", max_chars=60)
            asked = asking.of_profile(st, "measure", scene.profile)
            if suggestion is not None:
                st.markdown(_advice(scene, suggestion))
            with st.container(horizontal=True):
                this = st.form_submit_button(
                    "Measure this pick", type="primary", key="measure_this"
                )
                suggested = suggestion is not None and st.form_submit_button(
                    f"Measure the {megabytes(suggestion.bytes)} map instead", key="measure_other"
                )
            if this:
                count = int(limit) or None
                queue_measurement(scene, pick.map, manifest, count, label, asked=asked)
            elif suggested and suggestion is not None:
                choice = scene.front.choices[suggestion.point]
                chosen = bit_map(scene.profile, [scene.problem.menu[column] for column in choice])
                count = int(limit) or None
                queue_measurement(scene, chosen, manifest, count, label, asked=asked)
        job_list.said(Measure, scene.folder)


def history(scene: Scene) -> None:
    """What was measured and explored before."""
    job_list.history((Measure, Explore), scene.folder)


def judged_speech(scene: Scene) -> tuple[str, int | None]:
    """Manifest of the speech that the front is judged on, and how many of its utterances; that of
    the demo where it cannot be read here."""
    judged = scene.speech.speech_digest if scene.speech is not None else ""
    readable = job_list.readable_speech().get(judged)
    if readable is None:
        return str(loaders.demo(scene.profile)), None
    return readable.manifest, readable.utterances


def _same_speech(scene: Scene, key: str) -> None:
    """Begin with the speech that the front is judged on, and follow where another is chosen."""
    judged = scene.speech.speech_digest if scene.speech is not None else ""
    readable = job_list.readable_speech().get(judged)
    if key not in st.session_state or st.session_state.get("measure_judged") != judged:
        st.session_state["measure_judged"] = judged
        manifest, utterances = judged_speech(scene)
        st.session_state[key] = shown(manifest)
        st.session_state["measure_limit"] = utterances or 0
    if scene.speech is not None and readable is None:
        st.caption(
            f"The front is judged on {markdown(scene.speech_name)}, whose recordings are not here: "
            "a map measured on other speech joins that speech's front."
        )


def _machines() -> str:
    """What decodes, where that is not this machine alone."""
    address = named_scheduler()
    if not address:
        return ""
    return f" The workers of the Dask scheduler at {markdown(address)} share the decoding."


def _advice(scene: Scene, suggestion: Suggestion) -> str:
    """Which map would teach most, and why, in words."""
    size, loss = megabytes(suggestion.bytes), f"{suggestion.loss:.2g} nats per token"
    where = f"of **{size}** (predicted loss {loss})"
    on = f" on {markdown(scene.speech_name)}" if scene.speech is not None else ""
    if not scene.records_shown:
        return (
            f":material/lightbulb: **Where to begin:** the map {where}, in the middle of the "
            "useful losses."
        )
    if scene.curve is None:
        return (
            f":material/lightbulb: **What would teach most{on}:** the map {where}. Nothing near "
            "its loss has been measured yet."
        )
    text = (
        f":material/lightbulb: **What would teach most{on}:** the map {where}. Measuring it "
        f"should remove {percent(suggestion.share, 0)} of what the curve from loss to WER leaves "
        "open over the useful front."
    )
    if suggestion.share < _LITTLE:
        text += (
            " That is little: with this much speech, chance in the measurements weighs more than "
            "the curve's own error, and more speech would teach more than more maps."
        )
    return text
