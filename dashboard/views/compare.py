"""Compare: two maps side by side, out of the pick, the kept picks and the measured maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from genptq_core.bitmaps.bitmap import BitMap
from genptq_core.measurement.comparison import Comparison, WerDifference, compare, wer_difference
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import across_sets
from genptq_core.profile import Profile
from genptq_core.units import readable

from ..charts.compare import changes_figure, transition_figure
from ..charts.component import plot
from ..page.costs import UNKNOWN, Cost
from ..page.scene import Scene
from ..wording import markdown, measured_name, megabytes, percent, points
from . import job_list, kept

if TYPE_CHECKING:  # where a table is drawn, it is imported: it takes a moment
    import pandas as pd

_NOW = "now"


@dataclass(frozen=True)
class Side:
    """A map to compare: its name in lists, and itself."""

    name: str
    map: BitMap


def draw(scene: Scene) -> None:
    """The kept picks, and two maps side by side."""
    kept.draw(scene)
    sides = _sides(scene)
    if len(sides) < 2:
        st.info(
            "There is only one map so far. Keep this pick under Undo, keep; move "
            "a knob, and compare the two here."
        )
        return
    keys = list(sides)
    second = next((k for k in keys if k.startswith("kept")), _nearest(scene, sides) or keys[1])
    left_column, right_column = st.columns(2)
    with left_column:
        left = _choose("A", sides, second if _NOW in sides else keys[0], "compare_left")
    with right_column:
        right = _choose("B", sides, keys[0] if _NOW in sides else keys[1], "compare_right")
    if left.map.digest == right.map.digest:
        st.info("A and B are the same map. Move a knob, or choose another one for either.")
        return
    comparison = _compared(scene, left.map, right.map)
    differences = _differences(scene, left.map.digest, right.map.digest)
    st.markdown(_verdict(comparison, differences))
    st.table(_figures(scene, left, right, comparison))
    _layers(scene.profile, comparison)


def _nearest(scene: Scene, sides: Mapping[str, Side]) -> str | None:
    """The measured map on the set shown whose size is nearest to the pick's, or None."""
    if scene.pick is None:
        return None
    size = scene.pick.allocation.bytes
    near = sorted(scene.records_shown, key=lambda m: abs(m.bytes - size))
    keys = (f"measured:{record.map_digest}" for record in near)
    return next((key for key in keys if key in sides), None)


def _choose(label: str, sides: Mapping[str, Side], first: str, key: str) -> Side:
    """The list of maps for a side; `first` is chosen until the user chooses."""
    if st.session_state.get(key) not in sides:
        st.session_state[key] = first
    chosen = st.selectbox(label, list(sides), format_func=lambda k: sides[k].name, key=key)
    return sides[chosen or first]


def _sides(scene: Scene) -> dict[str, Side]:
    """Maps to choose from: the pick, what was kept, and what else was measured."""
    sides: dict[str, Side] = {}
    if scene.pick is not None:
        size = megabytes(scene.pick.allocation.bytes)
        sides[_NOW] = Side(f"your pick, {size}", scene.pick.map)
    for item in kept.of_scene(scene):
        sides[f"kept:{item.map.digest}"] = Side(f"kept: {item.name}", item.map)
    known = {side.map.digest for side in sides.values()}
    for record in scene.records:
        if record.map_digest not in known:
            name = f"measured: {measured_name(record)}, {megabytes(record.bytes)}"
            map = BitMap(record.options, record.map_digest)
            sides[f"measured:{record.map_digest}"] = Side(name, map)
    return sides


def _compared(scene: Scene, left: BitMap, right: BitMap) -> Comparison:
    key = f"{scene.profile.digest} {scene.target} {left.digest} {right.digest}"
    return _comparison(key, scene.profile, left, right, scene.target)


@st.cache_resource(max_entries=32, show_spinner=False)
def _comparison(
    key: str, _profile: Profile, _left: BitMap, _right: BitMap, _target: str
) -> Comparison:
    return compare(_profile, _left, _right, _target)


def _differences(scene: Scene, left: str, right: str) -> list[tuple[str, WerDifference]]:
    """How two maps differ on every speech set that both were measured on, by the set's name.

    The set shown comes first.
    """
    shown = scene.speech.key if scene.speech is not None else ""
    before, after = (across_sets(scene.records, digest) for digest in (left, right))
    pairs = [(before[key], after[key]) for key in before if key in after]
    pairs.sort(key=lambda pair: pair[0].set_key != shown)
    names = {s.key: scene.measured.name(s) for s in scene.measured.sets}
    return [
        (names[a.set_key], _difference(f"{left} {right} {a.set_key} {a.when} {b.when}", a, b))
        for a, b in pairs
    ]


@st.cache_resource(max_entries=64, show_spinner=False)
def _difference(key: str, _left: Measured, _right: Measured) -> WerDifference:
    readable = job_list.readable_speech().get(_left.speech_digest)
    utterances = readable.speech.utterances if readable is not None else ()
    references = {u.digest: u.text for u in utterances}
    return wer_difference(_left, _right, references)


def _verdict(comparison: Comparison, differences: list[tuple[str, WerDifference]]) -> str:
    """How B differs from A in size and words, as sentences."""
    step = comparison.right.bytes - comparison.left.bytes
    size = (
        "as large as A"
        if not step
        else (f"{megabytes(abs(step))} {'larger' if step > 0 else 'smaller'} than A")
    )
    text = [f"**B is {size}**, and {len(comparison.changes)} layers differ."]
    for name, difference in differences:
        on = f"on {markdown(name)} ({difference.utterances} utterances)"
        more = points(difference.difference)
        if difference.ci95 is None:
            text.append(
                f"Measured {on}, B's word error rate is {more} points; the transcripts that a "
                "paired test needs were not kept, so measure both here for one."
            )
            continue
        low, high = difference.ci95
        certain = "**more than chance**" if difference.significant else "**within chance**"
        text.append(
            f"Measured {on}, B's word error rate is {more} points, {certain}: the 95 % interval "
            f"of the difference, resampling utterances in pairs, is {points(low)} to "
            f"{points(high)}."
        )
    if not differences:
        text.append(
            "They have not been measured on the same speech set, so how their word errors differ "
            "is a prediction until they are."
        )
    return " ".join(text)


def _figures(scene: Scene, left: Side, right: Side, comparison: Comparison) -> pd.DataFrame:
    before, after = comparison.left, comparison.right
    sizes = [before.bytes, after.bytes]
    reductions = [scene.problem.reduction(size) for size in sizes]
    rows = {
        "Size": [*(f"{size / 1e6:.2f} MB" for size in sizes), _signed(sizes, 1e6, " MB", 2)],
        "Under fp32": [
            *(percent(reduction) for reduction in reductions),
            f"{points(reductions[1] - reductions[0])} points",
        ],
        "Average bits": _row([before.avg_bits, after.avg_bits], "{:.2f}"),
        "Predicted loss, nats per token": _row(
            [before.predicted_loss, after.predicted_loss], "{:.4f}"
        ),
    }
    costs = (
        scene.cost(left.map.digest, before.predicted_loss),
        scene.cost(right.map.digest, after.predicted_loss),
    )
    if costs[0] is not None and costs[1] is not None:
        wers = costs[0].wer, costs[1].wer
        step = ""
        if wers[0] is not None and wers[1] is not None:
            step = f"{points(wers[1] - wers[0])} points"
        rows[f"{scene.rate} on {markdown(scene.speech_name)}"] = [*map(_wer, costs), step]
    heads = [f"A: {markdown(left.name)}", f"B: {markdown(right.name)}", "B against A"]
    import pandas as pd

    return pd.DataFrame.from_dict(rows, orient="index", columns=heads)


def _row(values: list[float], form: str) -> list[str]:
    """A row of two figures and their difference."""
    step = values[1] - values[0]
    sign = "+" if step >= 0 else "\u2212"
    return [*(form.format(v) for v in values), sign + form.format(abs(step))]


def _signed(values: list[int], unit: float, name: str, digits: int) -> str:
    step = (values[1] - values[0]) / unit
    return f"{step:+.{digits}f}{name}".replace("-", "\u2212")


def _wer(cost: Cost | None) -> str:
    """A map's WER in words."""
    if cost is None or cost.wer is None:
        return UNKNOWN
    return f"{percent(cost.wer)}, {cost.how}"


def _layers(profile: Profile, comparison: Comparison) -> None:
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown("**From which width to which**")
        plot(
            transition_figure(comparison),
            "transition_chart",
            "Matrix of layers by their width in A (rows) and in B (columns).",
        )
        st.caption(
            "Layers by their bits in A and in B; colour is their part of the weights. On the "
            "dotted line nothing changes, right of it B is wider."
        )
    with right:
        st.markdown("**Layers that differ**")
        if not comparison.changes:
            st.caption("None: the widths are the same.")
            return
        plot(
            changes_figure(profile, comparison),
            "changes_chart",
            "Width in A and in B of every layer that differs, in the network's order.",
        )
        st.dataframe(_changes(profile, comparison), hide_index=True, width="stretch", height=215)
        st.caption(
            "Loss: how A's predicted loss changes if this layer alone becomes B's, nats per token."
        )


def _changes(profile: Profile, comparison: Comparison) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "layer": readable(profile.units[change.unit]),
            "A": change.left.label,
            "B": change.right.label,
            "kB": round(change.bytes / 1e3, 1),
            "loss": float(f"{change.loss:.3g}"),
        }
        for change in comparison.changes
    )
