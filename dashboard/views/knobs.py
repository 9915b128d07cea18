"""The widgets that set the knobs, drawn and read; `page/knobs.py` holds the values.

Widgets' keys are the names of the link's query parameters. The budget's sliders are in the live
screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import MeasuredSet
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import Profile
from genptq_core.targets import NATIVE, TARGETS, held_columns, usable_targets
from genptq_core.targets.runtimes import GENPTQ
from genptq_core.targets.ways import ways_of

from ..page import loaders
from ..page.build import Loaded
from ..page.knobs import (
    POINTS,
    SHORT,
    Knobs,
    from_session,
    most_points,
    size_range,
    widths,
)
from ..page.measurements import Measurements
from ..page.scene import Scene
from ..page.start import Start
from ..wording import markdown, measured_name
from . import budget, failure
from .address import remember, unpick

_INTEGER = "integer"


@dataclass(frozen=True)
class Drawn:
    """What the knobs say.

    Attributes:
        knobs: their values.
        start: the recommended size.
    """

    knobs: Knobs
    start: Start


def load(folders: dict[str, Path]) -> Loaded:
    """Draw the lists of models and formats; returns what is known of the profile chosen.

    Raises:
        ProfileError: the profile is missing or damaged.
        StoreError: a store of measurements is damaged.
    """
    folder = folders[_model(list(folders))]
    profile = loaders.read_profile(folder)
    target = _target(profile)
    return loaders.load(folder, target)


def judged_on(loaded: Loaded) -> MeasuredSet | None:
    """Draw the list of speech sets; returns the one that the word errors are from."""
    return _speech(loaded.measured)


def draw(loaded: Loaded, speech: MeasuredSet | None) -> Drawn:
    """Draw the rarer knobs; returns what all of them say."""
    sizes, menu = loaded.sizes, loaded.free.menu
    _limits(loaded.profile, menu)
    _second(loaded.measured, speech)
    _picker(loaded.measured.records)
    start = loaders.start_of(loaded, speech)
    curve = loaded.measured.guide(speech)
    budget.begin_at(start.size_mb, sizes, POINTS[1] if curve is None else most_points(curve))
    budget.remember(curve is not None)
    low, *_, high = widths(menu)
    fallback = Knobs(
        loaded.name,
        size_mb=start.size_mb,
        min_bits=low,
        max_bits=high,
        target=loaded.target,
    )
    return Drawn(from_session(st.session_state, fallback), start)


def infeasible(scene: Scene) -> None:
    """Why no map satisfies the knobs, and a way to one that does."""
    error = scene.infeasible
    if error is None:
        return
    failure.show(error)
    st.button(
        "Go to the smallest feasible size",
        key="use_smallest",
        on_click=budget.use,
        args=(math.ceil(error.smallest / 1e4) / 100,),
    )


def _other_model() -> None:
    # The new model has sizes, widths, layers and measurements of its own.
    for key in ("mb", "widths", "pins", "pick", "speech", "beside", "target", "runtime", "runs"):
        st.session_state.pop(key, None)
    for key in ("pick", "speech", "beside", "target", "runtime"):
        remember(key)


def _model(names: list[str]) -> str:
    """The list of models; returns the profile chosen."""
    chosen = st.selectbox(
        "Model",
        names,
        key="model",
        bind="query-params",
        on_change=_other_model,
    )
    return chosen or names[0]


def _fit(profile: Profile) -> None:
    """Fit what is set to another format, which has sizes and widths of its own."""
    chosen = st.session_state["target"]
    for key in ("target", "runtime"):
        remember(key)
    if chosen == NATIVE:
        st.query_params.pop("target", None)
    if "mb" in st.session_state:
        sizes = size_range(profile, chosen).values
        st.session_state["mb"] = min(max(st.session_state["mb"], sizes[0]), sizes[-1])
    if "widths" in st.session_state:
        low, *_, high = widths(
            [profile.menu[column] for column in held_columns(profile.menu, chosen)]
        )
        st.session_state["widths"] = (low, high)
    unpick()


def switch_target(profile: Profile, name: str) -> None:
    """Choose a format, and what usually runs it."""
    st.session_state["target"], st.session_state["runtime"] = name, ""
    _fit(profile)


def _switch(profile: Profile) -> None:
    """Choose what the list of runtimes says."""
    state = st.session_state
    before = state["target"]
    state["target"], _, state["runtime"] = state["runs"].partition(" ")
    if state["target"] != before:
        _fit(profile)
    else:
        remember("runtime")


def _target(profile: Profile) -> str:
    """The list of what can run a map, each with the format that it takes; returns the format.

    In the session and in links the two stay apart: `target` and `runtime`, "" for what usually runs
    the format.
    """
    state, titles = st.session_state, _runtimes(profile)
    for key in ("target", "runtime"):
        if key not in state:
            state[key] = st.query_params.get(key, "")
    names = [target for target, _ in titles]
    if state["target"] not in names:
        state["target"] = names[0]
    if (state["target"], state["runtime"]) not in titles:
        state["runtime"] = ""
    if len(titles) < 2:
        return str(state["target"])
    by_word = {" ".join(filter(None, pair)): title for pair, title in titles.items()}
    state["runs"] = " ".join(filter(None, (state["target"], state["runtime"])))
    st.selectbox(
        "Runs in",
        list(by_word),
        format_func=lambda word: by_word.get(word, word),
        key="runs",
        on_change=_switch,
        args=(profile,),
        help="What runs the model decides what it can hold, what is downloaded, and the memory.",
    )
    return str(state["target"])


def _runtimes(profile: Profile) -> dict[tuple[str, str], str]:
    """Format and runtime of all that can run a map, with their titles; "" is what usually does."""
    family = profile.source.family
    names = usable_targets(profile.menu, family) or [NATIVE]
    # Integers in groups are for those who know that they want them.
    names.sort(key=lambda name: name == _INTEGER)
    titles: dict[tuple[str, str], str] = {}
    for name in names:
        target = TARGETS[name]
        usual, *others = ways_of(profile, target) or (None,)
        titles[name, ""] = target.title
        if usual is not None and usual.runtime.name == GENPTQ:
            titles[name, ""] = f"this program: {target.title}"
        shipped = "integers in groups" if name == _INTEGER else "an entropy-coded download"
        for way in others:
            form = f": {way.form.title}" if way.form is not None else ""
            titles[name, way.name] = f"{way.runtime.title}, from {shipped}{form}"
    return titles


def _limits(profile: Profile, menu: Sequence[Option]) -> None:
    """Widths allowed, of those that the chosen format holds, and pins."""
    offered = widths(menu)
    st.select_slider(
        "Widths allowed, bits",
        offered,
        (offered[0], offered[-1]),
        key="widths",
        bind="query-params",
        on_change=unpick,
        help=(
            "No layer goes below the first or above the second; "
            f"{UNQUANTIZED.bits} leaves it as is."
        ),
    )
    st.text_area(
        "Locks and limits",
        key="pins",
        bind="query-params",
        on_change=unpick,
        height=96,
        placeholder="*encoder*fc1* = 4\n*embed_tokens* = 5",
        help=(
            "One pattern = bits per line, or >=, <=; * matches anything, later lines win. "
            "`tie block:*attn*` makes layers share their option, `decoder <= 3 MB` limits a part. "
            f"Names look like {markdown(profile.units[0].name)}. {_pinned_to(menu)}"
        ),
    )


def _pinned_to(menu: Sequence[Option]) -> str:
    """What pins can ask for, in a sentence."""
    listed = ", ".join(str(width) for width in widths(menu))
    sizes = sorted({option.group_size for option in menu if option.form == "grid"})
    if len(sizes) < 2:
        return f"Widths: {listed}."
    groups = ", ".join(str(size) for size in sizes)
    return f"Widths: {listed}; 4/{sizes[0]} asks for groups of {sizes[0]} (of {groups})."


def _speech(measured: Measurements) -> MeasuredSet | None:
    """The list of speech sets; returns the one that the word errors are from."""
    usual = measured.usual
    if usual is None:
        st.session_state.pop("speech", None)
        return None
    words = {measured.word(s): s for s in measured.sets}
    asked = st.session_state.get("speech") or st.query_params.get("speech", "")
    if st.session_state.get("speech") not in words:
        st.session_state["speech"] = measured.word(measured.named(asked) or usual)
    chosen = st.selectbox(
        "Judged on",
        list(words),
        format_func=lambda word: measured.label(words[word]) if word in words else word,
        key="speech",
        on_change=remember,
        args=("speech",),
    )
    return words.get(chosen or "", usual)


def _second(measured: Measurements, first: MeasuredSet | None) -> None:
    """The list of speech sets to draw into the same chart, where there is another."""
    words = {measured.word(s): s for s in measured.sets if s != first}
    if not words:
        st.session_state.pop("beside", None)
        return
    if "beside" not in st.session_state:
        st.session_state["beside"] = st.query_params.get("beside", "")
    if st.session_state["beside"] not in words:
        named = measured.named(st.session_state["beside"])
        word = measured.word(named) if named is not None else ""
        st.session_state["beside"] = word if word in words else ""
    st.selectbox(
        "Second speech set",
        ["", *words],
        format_func=lambda word: measured.label(words[word]) if word in words else "none",
        key="beside",
        on_change=remember,
        args=("beside",),
        help="Draws its measured maps and fronts into the same chart.",
    )


def _picker(records: Sequence[Measured]) -> None:
    """The list of measured maps to pick from: the keyboard's way to what a click does."""
    by_short = {m.map_digest[:SHORT]: m for m in records}
    options = ["", *by_short]
    if "pick" not in st.session_state:
        st.session_state["pick"] = st.query_params.get("pick", "")
    if st.session_state["pick"] not in options:
        st.session_state["pick"] = ""
    st.selectbox(
        "Show",
        options,
        format_func=lambda short: (
            f"measured: {measured_name(by_short[short])}, {by_short[short].bytes / 1e6:.1f} MB"
            if short in by_short
            else "the solver's map for my knobs"
        ),
        key="pick",
        on_change=remember,
        args=("pick",),
        help="A click on a measured point picks it too; turning a knob goes back to the solver.",
    )
