"""The pick's headline figures."""

from __future__ import annotations

import streamlit as st

from genptq_core.allocation.solving import Allocation

from ..page import costs
from ..page.knobs import SHORT
from ..page.scene import LEAST_FOR_CURVE, Scene, outcome
from ..wording import bound, markdown, megabytes, percent, points, stored_bits

_CARD = 148
"""Width of a figure's card, pixels: six in a row on a desk, two on a telephone."""

_BEYOND = "This pick loses more than any of them, so it is a guess. Its range would be"


def draw(scene: Scene) -> None:
    """Metrics of the pick, predicted and measured told apart by label."""
    pick = scene.pick
    if pick is None:
        return
    found = pick.allocation
    with st.container(horizontal=True, gap="small", key="headline"):
        _card(
            "Size",
            megabytes(found.bytes),
            f"\u2212{percent(found.reduction_vs_fp32)} of fp32",
            help="All of the model, everything counted, in MB of 10^6 bytes.",
        )
        _wer(scene)
        grids = any(option.form == "grid" for option in found.options)
        _card(
            "Average bits",
            f"{found.avg_bits:.2f}",
            "codes only" if grids else "of weights",
            help="Mean width of the codes over quantizable weights; "
            + ("scales not counted." if grids else "entropy-coded, so all that they need."),
        )
        _card(
            "Stored bits",
            f"{stored_bits(found.bytes, scene.profile):.2f}",
            "all counted",
            help="Bits a parameter, everything counted: scales and what stays at 16 bit too.",
        )
        if pick.bounded:
            value, text = bound(found, scene.curve)
            _card("Off optimum", value, "proven, of loss", help=text)
        _card(
            "Solved in",
            f"{found.milliseconds:.0f} ms",
            f"{len(found.options)} layers",
            help="The solver's own time for this pick, not counting drawing.",
        )
    _identity(scene)


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


def _wer(scene: Scene) -> None:
    pick = scene.pick
    if pick is None:
        return
    record = scene.measurement(pick.map.digest)
    if record is not None:
        low, high = (record.wer_full_precision + end for end in record.ci95)
        _card(
            "WER, measured",
            percent(record.wer),
            f"{100 * low:.1f} to {100 * high:.1f} %",
            help=(
                f"Measured on {record.utterances} utterances, {record.words} words: "
                f"{points(record.wer_increase)} points on full precision. The range is the 95 % "
                "interval of that increase, resampling utterances in pairs."
            ),
        )
    elif scene.curve is not None and scene.speech is not None:
        loss = pick.allocation.predicted_loss
        full = scene.speech.full_precision
        middle = full + float(scene.curve.increase(loss))
        low, high = (max(full + float(end), 0.0) for end in scene.curve.interval(loss))
        beyond = loss > scene.curve.largest
        _card(
            "WER, predicted",
            percent(middle),
            "extrapolated" if beyond else f"{100 * low:.1f} to {100 * high:.1f} %",
            help=(
                f"From the predicted loss, by a curve fitted on {scene.curve.points} measured "
                "maps. The range held 90 % of measured maps that were left out of the fit."
                + (f" {_BEYOND} {100 * low:.1f} to {100 * high:.1f} %." if beyond else "")
            ),
        )
    else:
        _card(
            "Loss, predicted",
            f"{pick.allocation.predicted_loss:.3g}",
            "nats a token",
            help=(
                "Divergence from full precision that the profile predicts. It becomes a word "
                f"error rate once {LEAST_FOR_CURVE} maps are measured on one speech set."
            ),
        )


def _identity(scene: Scene) -> None:
    pick = scene.pick
    if pick is None:
        return
    record = scene.measurement(pick.map.digest)
    if pick.by_hand and record is not None and record.label:
        kind = f"measured map **{markdown(record.label)}**, picked by hand"
    elif pick.by_hand:
        kind = "measured map, picked by hand"
    else:
        kind = "the solver's map for these knobs"
        if record is not None:
            kind += ", measured"
    speech = f" WER on {markdown(scene.speech.name)}." if scene.speech is not None else ""
    with st.container(key="identity", gap="small"):
        st.markdown(_sentence(scene))
        st.caption(f"Bit map `{pick.map.digest[:SHORT]}`: {kind}.{speech}")
        if others := costs.sentence(scene):
            st.caption(others)


def _sentence(scene: Scene) -> str:
    """The pick in words: how small, at what cost, and how near to the best that can be."""
    pick = scene.pick
    if pick is None:
        return ""
    found, now = pick.allocation, outcome(scene)
    text = (
        f"**{megabytes(now.bytes)}**, {percent(found.reduction_vs_fp32)} smaller than float32"
        f" ({megabytes(4 * scene.profile.source.parameters)})"
    )
    if now.wer is not None and now.increase is not None:
        how = "measured" if now.measured else "predicted"
        text += (
            f", with a {how} **{percent(now.wer)}** of words wrong: {points(now.increase)} points "
            "on full precision."
        )
    else:
        text += "."
    if not pick.bounded:
        return text
    if scene.curve is None:
        return f"{text} No map of this size can be predicted to lose {_share(found)} less: proven."
    gain = float(scene.curve.increase(found.predicted_loss))
    gain -= float(scene.curve.increase(found.lower_bound))
    return (
        f"{text} No other map of this size can be predicted to win back more than "
        f"{max(100 * gain, 0.01):.2f} points: proven."
    )


def _share(found: Allocation) -> str:
    return percent(max(found.gap / found.predicted_loss, 1e-3) if found.predicted_loss else 0.0)
