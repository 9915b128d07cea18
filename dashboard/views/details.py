"""Details of the pick: figures for specialists, proof, digest, and how to read the charts."""

from __future__ import annotations

import streamlit as st

from genptq_core.allocation.solving import Allocation
from genptq_core.allocation.wer_curve import LEAST_POINTS
from genptq_core.measurement.verdict import LIMITS

from ..charts.live_table import REFERENCE_BITS
from ..page.knobs import SHORT
from ..page.scene import Pick, Scene
from ..page.verdict import MEANING
from ..wording import bound, markdown, megabytes, percent, points, stored_bits

_CARD = 148
"""Width of a figure's card, pixels: six in a row on a desk, two on a phone."""

_BEYOND = "This pick loses more than any of them, so it is a guess. Its range would be"


def draw(scene: Scene) -> None:
    """Metrics of the pick, predicted and measured told apart by label; drawn when opened."""
    pick = scene.pick
    box = st.popover("Details", key="details", on_change="rerun", icon=":material/info:")
    if pick is None or not box.open:
        return
    with box:
        _figures(scene, pick)
        _identity(scene, pick)
        for note in _reading(scene):
            st.caption(note)


def _figures(scene: Scene, pick: Pick) -> None:
    figures = pick.allocation
    with st.container(horizontal=True, gap="small", key="headline"):
        _card(
            "Size",
            megabytes(figures.bytes),
            f"\u2212{percent(figures.reduction_vs_fp32)} of fp32",
            help=(
                "The folder to download: weights, headers, settings and tokenizer, in MB of 10^6 "
                "bytes."
                if scene.problem.counts_all
                else "Of the weights alone, in MB of 10^6 bytes: what else the folder takes is not "
                "known to this profile."
            ),
        )
        _wer(scene, pick)
        grids = any(option.form == "grid" for option in figures.options)
        _card(
            "Average bits",
            f"{figures.avg_bits:.2f}",
            "codes only" if grids else "of weights",
            help="Mean width of the codes over quantizable weights; "
            + ("scales not counted." if grids else "entropy-coded, so all that they need."),
        )
        _card(
            "Stored bits",
            f"{stored_bits(figures.bytes - (scene.problem.overhead or 0), scene.profile):.2f}",
            "of all weights",
            help="Bits per parameter: scales and what stays at 16 bit are counted too.",
        )
        if pick.bounded:
            value, text = bound(figures, scene.curve)
            _card("Off optimum", value, "proven, of loss", help=text)
        _card(
            "Solved in",
            f"{figures.milliseconds:.0f} ms",
            f"{len(figures.options)} layers",
            help="The solver's own time for this pick, not counting drawing.",
        )


def _reading(scene: Scene) -> list[str]:
    """How to read the charts."""
    limits = [f"+{100 * limit:g}" for limit in LIMITS]
    notes = [
        f"Safe: {MEANING[0]} ({limits[0]} points). Noticeable: {MEANING[1]} ({limits[1]}). "
        f"Breaks: {MEANING[2]}. A guess, where more is lost than by any map that was measured, "
        "is never called safe.",
        "Bars of the layers: the width each one gets; dashes: before rounding. Dots: predicted "
        f"loss of the layer alone at {REFERENCE_BITS} bits or so, nats per token, on a logarithmic "
        "scale.",
    ]
    if scene.speech is not None:
        notes.append(f"Measured on {markdown(scene.speech_name)}; bars are 95 % intervals.")
    if scene.second is not None:
        notes.append(f"Orange and dashed: {markdown(scene.second_name)}.")
    second_records = scene.second.records if scene.second is not None else ()
    if any(not scene.holds(record.options) for record in (*scene.records_shown, *second_records)):
        notes.append("Crosses were measured, but the chosen format cannot hold them.")
    if scene.one_width:
        tools = " and ".join(sorted({u.target for u in scene.one_width}))
        notes.append(
            f"Hollow triangles are predicted: what {tools}, with one width for all layers, could "
            "do if rounded as well as here."
        )
    return notes


def _card(label: str, value: str, below: str, help: str) -> None:
    st.metric(
        label,
        value,
        below,
        delta_color="off",
        delta_arrow="off",
        help=help,
        border=True,
        width=_CARD,
    )


def _wer(scene: Scene, pick: Pick) -> None:
    """The pick's word error rate; its predicted loss where no WER is known."""
    cost, curve = scene.pick_cost, scene.curve
    if cost is None or cost.wer is None or cost.increase is None or cost.wer_interval is None:
        _card(
            "Loss, predicted",
            f"{pick.allocation.predicted_loss:.3g}",
            "nats per token",
            help=(
                "Divergence from full precision that the profile predicts. It becomes a word "
                f"error rate once {LEAST_POINTS} maps are measured on one speech set."
            ),
        )
        return
    low, high = cost.wer_interval
    between = f"{100 * low:.1f} to {100 * high:.1f} %"
    if cost.record is not None:
        about = (
            f"Measured on {cost.record.utterances} utterances, {cost.record.words} words: "
            f"{points(cost.increase)} points on full precision. The range is the 95 % "
            "interval of that increase, resampling utterances in pairs."
        )
    else:
        about = (
            "From the predicted loss, by a curve fitted on "
            f"{curve.points if curve else 0} measured maps. The range held 90 % of measured maps "
            "that were left out of the fit."
            + (f" {_BEYOND} {between}." if cost.extrapolated else "")
        )
    _card(
        f"{cost.speech.rate}, {cost.how}",
        percent(cost.wer),
        "extrapolated" if cost.extrapolated else between,
        help=about,
    )


def _identity(scene: Scene, pick: Pick) -> None:
    """The pick in words, its digest, where it comes from, and what it costs on other speech."""
    record = scene.pick_cost.record if scene.pick_cost is not None else None
    if pick.by_hand and record is not None and record.label:
        kind = f"measured map **{markdown(record.label)}**, picked by hand"
    elif pick.by_hand:
        kind = "measured map, picked by hand"
    else:
        kind = "the solver's map for these knobs"
        if record is not None:
            kind += ", measured"
    speech = f" {scene.rate} on {markdown(scene.speech_name)}." if scene.speech is not None else ""
    with st.container(key="identity", gap="small"):
        st.markdown(_sentence(scene, pick))
        if sizes := _sizes(scene, pick):
            st.markdown(sizes)
        st.caption(f"Bit map `{pick.map.digest[:SHORT]}`: {kind}.{speech}")
        if others := _on_other_speech(scene):
            st.caption(others)


def _sizes(scene: Scene, pick: Pick) -> str:
    """Download, weights and memory in words; "" where nothing is known to run the map."""
    way = scene.way
    if way is None:
        return ""
    if not scene.holds(pick.map.options):
        return ""
    sizes = way.sizes(scene.profile, pick.map.options)
    weights = f"{megabytes(sizes.weights)} of weights"
    shipped = (
        f"{weights}, the rest of the folder not counted (this profile does not know it)"
        if sizes.download is None
        else f"**{megabytes(sizes.download)} to download**, of which {weights}"
    )
    return (
        f"{shipped}; in memory **{megabytes(sizes.memory)}** of weights, run in "
        f"{markdown(way.title)}."
    )


def _sentence(scene: Scene, pick: Pick) -> str:
    """The pick in words: how small, at what cost, and how near to the best that can be."""
    figures, cost = pick.allocation, scene.pick_cost
    text = (
        f"**{megabytes(figures.bytes)}**, {percent(figures.reduction_vs_fp32)} smaller than float32"
        f" ({megabytes(4 * scene.profile.source.parameters)})"
    )
    if cost is not None and cost.wer is not None and cost.increase is not None:
        text += (
            f", with a {cost.how} **{percent(cost.wer)}** of words wrong: {points(cost.increase)} "
            "points on full precision."
        )
    else:
        text += "."
    if not pick.bounded:
        return text
    if scene.curve is None:
        lost = _off_optimum(figures)
        return f"{text} No map of this size can be predicted to lose {lost} less: proven."
    gain = float(scene.curve.increase(figures.predicted_loss))
    gain -= float(scene.curve.increase(figures.lower_bound))
    return (
        f"{text} No other map of this size can be predicted to win back more than "
        f"{max(100 * gain, 0.01):.2f} points: proven."
    )


def _off_optimum(figures: Allocation) -> str:
    """The gap to the proven bound as a part of the predicted loss."""
    loss = figures.predicted_loss
    return percent(max(figures.gap / loss, 1e-3) if loss else 0.0)


def _on_other_speech(scene: Scene) -> str:
    """What the pick costs on the sets that are not shown first; "" where there are none."""
    parts = []
    for cost in scene.pick_costs:
        if cost.speech == scene.speech:
            continue
        name = markdown(scene.measured.name(cost.speech))
        if cost.wer is None or cost.increase is None or cost.interval is None:
            parts.append(f"{name}: {cost.how}")
            continue
        low, high = cost.interval
        parts.append(
            f"{name}: **{percent(cost.wer)}** {cost.how}, {points(cost.increase)} points "
            f"({points(low)} to {points(high)})"
        )
    return f"On other speech: {'; '.join(parts)}." if parts else ""
