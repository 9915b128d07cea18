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
from genptq_core.targets.ways import ways_for

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
    _runtime(loaded.profile, loaded.target)
    _limits(loaded.profile, menu)
    left, right = st.columns(2)
    with left:
        _second(loaded.measured, speech)
    with right:
        _picker(loaded.measured.records)
    start = loaders.start_of(loaded, speech)
    curve = loaded.measured.curve(speech)
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
    for key in ("mb", "widths", "pins", "pick", "speech", "beside", "target", "runtime"):
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


def _other_target(profile: Profile) -> None:
    # The new format has sizes and widths of its own; the size stays as near as it can.
    remember("target")
    chosen = st.session_state["target"]
    st.session_state.pop("runtime", None)
    remember("runtime")
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
    """Choose a format, as the list of formats does."""
    st.session_state["target"] = name
    _other_target(profile)


def _target(profile: Profile) -> str:
    """The list of formats, where the profile has options for several; returns the one chosen."""
    names = usable_targets(profile.menu, profile.source.family) or [NATIVE]
    if len(names) < 2:
        st.session_state.pop("target", None)
        return names[0]
    if st.session_state.get("target") not in names:
        asked = st.query_params.get("target", "")
        st.session_state["target"] = asked if asked in names else names[0]
    chosen = st.selectbox(
        "Runs in",
        names,
        format_func=lambda name: TARGETS[name].title,
        key="target",
        on_change=_other_target,
        args=(profile,),
    )
    return chosen or names[0]


def _runtime(profile: Profile, target: str) -> None:
    """The list of what runs a format, where there is a choice."""
    ways = {way.name: way for way in ways_for(TARGETS[target], profile.source.family)}
    if len(ways) < 2:
        st.session_state.pop("runtime", None)
        return
    usual, *others = ways
    if "runtime" not in st.session_state:
        st.session_state["runtime"] = st.query_params.get("runtime", "")
    if st.session_state["runtime"] not in others:
        st.session_state["runtime"] = ""
    st.selectbox(
        "Unpacked for",
        ["", *others],
        format_func=lambda name: ways[name or usual].title if (name or usual) in ways else name,
        key="runtime",
        on_change=remember,
        args=("runtime",),
        help="What runs the model once it is downloaded. Its form decides the memory, not the map.",
    )


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
