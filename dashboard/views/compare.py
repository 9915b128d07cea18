"""Compare: two maps side by side, of the pick, what is kept and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from genptq_core.bitmaps.bitmap import BitMap
from genptq_core.measurement.comparison import Comparison, WerDifference, compare, wer_difference
from genptq_core.measurement.records import Measured
from genptq_core.measurement.speech_sets import across_sets
from genptq_core.profile import Profile

from ..charts.compare import changes_figure, transition_figure
from ..charts.component import plot
from ..page.scene import Scene
from ..wording import markdown, measured_name, megabytes, percent, points
from . import job_list, kept

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
            "There is only one map so far. Keep this pick with the button above the chart, move "
            "a knob, and compare the two here."
        )
        return
    keys = list(sides)
    second = next((k for k in keys if k.startswith("kept")), keys[1])
    left_column, right_column = st.columns(2)
    with left_column:
        left = _choose("A", keys, sides, second if _NOW in sides else keys[0], "compare_left")
    with right_column:
        right = _choose("B", keys, sides, keys[0] if _NOW in sides else keys[1], "compare_right")
    if left.map.digest == right.map.digest:
        st.info("A and B are the same map. Move a knob, or choose another one for either.")
        return
    digests = left.map.digest, right.map.digest
    found = _compared(scene.profile, left.map, right.map, *digests, scene.target)
    differences = _differences(scene, left.map.digest, right.map.digest)
    st.markdown(_verdict(scene, found, differences))
    st.table(_figures(scene, left, right, found))
    _layers(scene.profile, found)


def _choose(label: str, keys: list[str], sides: Mapping[str, Side], first: str, key: str) -> Side:
    if st.session_state.get(key) not in keys:
        st.session_state[key] = first
    chosen = st.selectbox(label, keys, format_func=lambda k: sides[k].name, key=key)
    return sides[chosen or first]


def _sides(scene: Scene) -> dict[str, Side]:
    """Maps to choose from: the pick, what was kept, and what else was measured."""
    found: dict[str, Side] = {}
    if scene.pick is not None:
        size = megabytes(scene.pick.allocation.bytes)
        found[_NOW] = Side(f"your pick, {size}", scene.pick.map)
    for item in kept.mine(scene):
        found[f"kept:{item.map.digest}"] = Side(f"kept: {item.name}", item.map)
    known = {side.map.digest for side in found.values()}
    for record in scene.records:
        if record.map_digest not in known:
            name = f"measured: {measured_name(record)}, {megabytes(record.bytes)}"
            map = BitMap(record.options, record.map_digest)
            found[f"measured:{record.map_digest}"] = Side(name, map)
    return found


@st.cache_resource(max_entries=32, show_spinner=False)
def _compared(
    _profile: Profile, _left: BitMap, _right: BitMap, left: str, right: str, target: str
) -> Comparison:
    return compare(_profile, _left, _right, target)


def _differences(scene: Scene, left: str, right: str) -> list[WerDifference]:
    """Word errors of two maps on every speech set that both were measured on, the one shown
    first."""
    shown = scene.speech.digest if scene.speech is not None else ""
    before, after = (across_sets(scene.records, digest) for digest in (left, right))
    pairs = [(before[key], after[key]) for key in before if key in after]
    pairs.sort(key=lambda pair: pair[0].speech_digest != shown)
    return [
        _difference(a, b, left, right, a.speech_digest, f"{a.set_key} {a.when} {b.when}")
        for a, b in pairs
    ]


@st.cache_resource(max_entries=64, show_spinner=False)
def _difference(
    _left: Measured, _right: Measured, left: str, right: str, speech: str, version: str
) -> WerDifference:
    known = job_list.speech_at_hand().get(speech)
    said = {u.digest: u.text for u in known.utterances} if known is not None else {}
    return wer_difference(_left, _right, said)


def _verdict(scene: Scene, found: Comparison, differences: list[WerDifference]) -> str:
    step = found.right.bytes - found.left.bytes
    size = (
        "as large as A"
        if not step
        else (f"{megabytes(abs(step))} {'larger' if step > 0 else 'smaller'} than A")
    )
    text = [f"**B is {size}**, and {len(found.changes)} layers differ."]
    for found_difference in differences:
        on = f"on {markdown(found_difference.speech)} ({found_difference.utterances} utterances)"
        more = points(found_difference.difference)
        if found_difference.ci95 is None:
            text.append(
                f"Measured {on}, B's word error rate is {more} points; the transcripts that a "
                "paired test needs were not kept, so measure both here for one."
            )
            continue
        low, high = found_difference.ci95
        certain = "**more than chance**" if found_difference.significant else "**within chance**"
        text.append(
            f"Measured {on}, B's word error rate is {more} points, {certain}: the 95 % interval "
            f"of the difference, resampling utterances in pairs, is {points(low)} to "
            f"{points(high)}."
        )
    if not differences:
        text.append(
            "They have not been measured on one speech set both, so whether words tell them "
            "apart is a prediction until they are."
        )
    return " ".join(text)


def _figures(scene: Scene, left: Side, right: Side, found: Comparison) -> pd.DataFrame:
    sizes = [found.left.bytes, found.right.bytes]
    task = scene.task
    rows = {
        "Size": [*(f"{size / 1e6:.2f} MB" for size in sizes), _signed(sizes, 1e6, " MB", 2)],
        "Under fp32": [
            *(percent(task.reduction(size)) for size in sizes),
            f"{points(task.reduction(sizes[1]) - task.reduction(sizes[0]))} points",
        ],
        "Average bits": _row([found.left.avg_bits, found.right.avg_bits], "{:.2f}"),
        "Predicted loss, nats a token": _row(
            [found.left.predicted_loss, found.right.predicted_loss], "{:.4f}"
        ),
    }
    if scene.speech is not None:
        cells = [
            _wer(scene, side.map.digest, loss)
            for side, loss in (
                (left, found.left.predicted_loss),
                (right, found.right.predicted_loss),
            )
        ]
        step = ""
        if cells[0][1] is not None and cells[1][1] is not None:
            step = f"{points(cells[1][1] - cells[0][1])} points"
        rows[f"WER on {markdown(scene.speech.name)}"] = [cells[0][0], cells[1][0], step]
    heads = [f"A: {markdown(left.name)}", f"B: {markdown(right.name)}", "B against A"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=heads)


def _row(values: list[float], form: str) -> list[str]:
    step = values[1] - values[0]
    sign = "+" if step >= 0 else "\u2212"
    return [*(form.format(v) for v in values), sign + form.format(abs(step))]


def _signed(values: list[int], unit: float, name: str, digits: int) -> str:
    step = (values[1] - values[0]) / unit
    return f"{step:+.{digits}f}{name}".replace("-", "\u2212")


def _wer(scene: Scene, digest: str, loss: float) -> tuple[str, float | None]:
    """A map's WER in words, and as a fraction."""
    record = scene.measurement(digest)
    if record is not None:
        return f"{percent(record.wer)}, measured", record.wer
    if scene.curve is not None and scene.speech is not None:
        wer = scene.speech.full_precision + float(scene.curve.increase(loss))
        return f"{percent(wer)}, predicted", wer
    return "not measured", None


def _layers(profile: Profile, found: Comparison) -> None:
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown("**From which width to which**")
        plot(
            transition_figure(found),
            "transition_chart",
            "Matrix of layers by their width in A (rows) and in B (columns).",
        )
        st.caption(
            "Layers by their bits in A and in B; colour is the share of the weights. On the dotted "
            "line nothing changes, right of it B is wider."
        )
    with right:
        st.markdown("**Layers that differ**")
        if not found.changes:
            st.caption("None: the widths are the same.")
            return
        plot(
            changes_figure(profile, found),
            "changes_chart",
            "Width in A and in B of every layer that differs, in the network's order.",
        )
        st.dataframe(_changes(profile, found), hide_index=True, width="stretch", height=215)
        st.caption(
            "Loss: how A's predicted loss changes if this layer alone becomes B's, nats a token."
        )


def _changes(profile: Profile, found: Comparison) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": profile.units[change.unit].name,
            "A": change.left.label,
            "B": change.right.label,
            "kB": round(change.bytes / 1e3, 1),
            "loss": float(f"{change.loss:.3g}"),
        }
        for change in found.changes
    )
