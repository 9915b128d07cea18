"""The knobs. Their keys are the names of the link's query parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from genptq_core.errors import PROGRAM
from genptq_core.options import UNQUANTIZED, Option
from genptq_core.profile import Profile
from genptq_core.targets import NATIVE, TARGETS, held_columns, usable_targets

from ..page.knobs import (
    BY_SIZE,
    LOSS_START,
    LOSSES,
    MODES,
    POINTS,
    POINTS_START,
    SHORT,
    SizeRange,
    size_range,
    widths,
)
from ..page.scene import Outcome, Scene, Speech, outcome
from ..wording import megabytes, percent, points


def unpick() -> None:
    """Turning a knob leaves a measured map that was picked by hand."""
    st.session_state["pick"] = ""
    remember("pick")


def remember(key: str) -> None:
    """Copy a knob that names a digest to the address.

    A bound select box would write its label there, and labels are neither short nor lasting.
    """
    value = st.session_state.get(key) or ""
    if value:
        st.query_params[key] = value
    elif key in st.query_params:
        del st.query_params[key]


def _other_model() -> None:
    # The new model has sizes, widths, layers and measurements of its own.
    for key in ("mb", "widths", "pins", "pick", "speech", "beside", "target"):
        st.session_state.pop(key, None)
    for key in ("pick", "speech", "beside", "target"):
        remember(key)


def model(names: list[str]) -> str:
    """The model list; returns the profile chosen."""
    chosen = st.selectbox(
        "Model",
        names,
        key="model",
        bind="query-params",
        on_change=_other_model,
        help=f"Profiles in data/profiles. Add one with: {PROGRAM} profile.",
    )
    return chosen or names[0]


def _other_target(profile: Profile) -> None:
    # The new format has sizes and widths of its own; the size stays as near as it can.
    remember("target")
    chosen = st.session_state["target"]
    if chosen == NATIVE:
        st.query_params.pop("target", None)
    if "mb" in st.session_state:
        st.session_state["mb"] = size_range(profile, chosen).clip(st.session_state["mb"])
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


def target(profile: Profile) -> str:
    """The list of formats, where the profile has options for several; returns the one chosen."""
    names = usable_targets(profile.menu, profile.source.family) or [NATIVE]
    if len(names) < 2:
        st.session_state.pop("target", None)
        return names[0]
    if st.session_state.get("target") not in names:
        asked = st.query_params.get("target", "")
        st.session_state["target"] = asked if asked in names else names[0]
    chosen = st.selectbox(
        "Format",
        names,
        format_func=lambda name: TARGETS[name].title,
        key="target",
        on_change=_other_target,
        args=(profile,),
        help="What the model is stored as. Maps are solved from the widths that it can hold.",
    )
    return chosen or names[0]


def mode() -> str:
    """The switch between a size budget and an accuracy budget."""
    chosen = st.segmented_control(
        "Budget by",
        MODES,
        default=BY_SIZE,
        required=True,
        key="by",
        bind="query-params",
        on_change=unpick,
    )
    return chosen or BY_SIZE


def begin_at(size_mb: float, sizes: SizeRange) -> None:
    """Set the size slider where nothing has set it yet."""
    first = not st.session_state.get("begun", False)
    st.session_state["begun"] = True
    if "mb" in st.session_state:
        return
    if first and "mb" in st.query_params:
        # A size typed by hand may lie between two steps; the slider would take it for a mistake.
        # What is no number begins as if it were not there.
        with contextlib.suppress(ValueError):
            size_mb = sizes.clip(float(st.query_params["mb"]))
    st.session_state["mb"] = size_mb
    if first:
        # So that an address copied before anything was moved says which size it shows. Once the
        # slider is there, it alone may write its parameter.
        st.query_params["mb"] = sizes.text(size_mb)


def budget(by: str, sizes: SizeRange, predicts_wer: bool) -> None:
    """The slider that matters: size, or allowed errors."""
    if by == BY_SIZE:
        st.select_slider(
            "Largest size, MB",
            sizes.values,
            sizes.values[-1],  # the default is left out of the address; few stay at 16 bit
            format_func=sizes.text,
            key="mb",
            bind="query-params",
            on_change=unpick,
            help="Everything counted, in MB of 10^6 bytes. The arrow keys move it by one step.",
        )
    elif predicts_wer:
        low, high, step = POINTS
        st.slider(
            "Allowed WER increase, percentage points",
            low,
            high,
            POINTS_START,
            step,
            key="points",
            bind="query-params",
            on_change=unpick,
            help="The smallest map predicted to stay under it, the band included.",
        )
    else:
        st.select_slider(
            "Allowed predicted loss, nats a token",
            LOSSES,
            LOSS_START,
            format_func=lambda x: f"{x:g}",
            key="loss",
            bind="query-params",
            on_change=unpick,
        )
        st.caption(
            "Too few maps are measured on one speech set to predict word errors, so the budget "
            "is the divergence from full precision: 0.05 is hard to notice, 0.3 is not."
        )


def effect(place: DeltaGenerator, scene: Scene) -> None:
    """What the knob did to the other side, and what the last move changed."""
    if scene.pick is None:
        st.session_state.pop("before", None)
        return
    now = outcome(scene)
    before: Outcome | None = st.session_state.get("before")
    last: tuple[Outcome, Outcome] | None = st.session_state.get("move")
    if before is not None and before != now:
        last = before, now
        st.session_state["move"] = last
    st.session_state["before"] = now
    place.markdown(_moved(scene.knobs.mode == BY_SIZE, now, last))


def _moved(by_size: bool, now: Outcome, last: tuple[Outcome, Outcome] | None) -> str:
    """What a budget buys of the other, and what the last move did to both."""
    if not by_size:
        text = f"→ **{megabytes(now.bytes)}**"
    elif now.wer is None:
        text = f"→ **loss {now.loss:.3g}** nats a token, predicted"
    else:
        how = "measured" if now.measured else "predicted"
        text = f"→ **WER {percent(now.wer)}**, {how}"
    if last is None or last[1] != now:
        return text
    size = f"{(now.bytes - last[0].bytes) / 1e6:+.2f} MB"
    if now.increase is not None and last[0].increase is not None:
        other = f"{points(now.increase - last[0].increase, 2)} points of WER"
    else:
        other = f"{now.loss - last[0].loss:+.2g} nats of loss"
    return f"{text}  \n:small[Last move: {size}, {other}.]".replace("-", "−")


def limits(profile: Profile, menu: Sequence[Option]) -> None:
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
            "One pattern = bits a line, or >=, <=; * matches anything, later lines win. "
            "`tie block:*attn*` makes layers share their option, `decoder <= 3 MB` limits a part. "
            f"Names look like {profile.units[0].name}. {_pinned_to(menu)}"
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


def speech(sets: list[Speech]) -> Speech | None:
    """Which speech set the word errors are from."""
    if not sets:
        st.session_state.pop("speech", None)
        return None
    by_short = {s.digest[:SHORT]: s for s in sets}
    if st.session_state.get("speech") not in by_short:
        asked = st.query_params.get("speech", "")
        st.session_state["speech"] = asked if asked in by_short else sets[0].digest[:SHORT]
    chosen = st.selectbox(
        "Word errors on",
        list(by_short),
        format_func=lambda short: by_short[short].label if short in by_short else short,
        key="speech",
        on_change=remember,
        args=("speech",),
        help="Different speech, different word errors: compare maps on one set only.",
    )
    return by_short.get(chosen or "", sets[0])


def beside(sets: list[Speech], first: Speech | None) -> Speech | None:
    """Which speech set is shown beside the first, where there is another."""
    others = {s.digest[:SHORT]: s for s in sets if s != first}
    if not others:
        st.session_state.pop("beside", None)
        return None
    if "beside" not in st.session_state:
        st.session_state["beside"] = st.query_params.get("beside", "")
    if st.session_state["beside"] not in others:
        st.session_state["beside"] = ""
    chosen = st.selectbox(
        "Beside it",
        ["", *others],
        format_func=lambda short: others[short].label if short in others else "no other speech",
        key="beside",
        on_change=remember,
        args=("beside",),
        help="Draws a second speech set's measured maps and fronts into the same chart.",
    )
    return others.get(chosen or "")
