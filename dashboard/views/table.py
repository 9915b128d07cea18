"""Table: everything measured, the layers of the pick, and the front as a file."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import streamlit as st

from genptq_core.speech.names import noted

from ..page.knobs import SHORT
from ..page.scene import Scene
from ..wording import layout, measured_name, stored_bits

if TYPE_CHECKING:  # where a table is drawn, it is imported: it takes a moment
    import pandas as pd


def draw(scene: Scene) -> None:
    """Tables, and the front's download."""
    st.markdown("**Measured configurations**")
    if scene.records:
        st.dataframe(_measured(scene), hide_index=True, width="stretch")
    else:
        st.caption("None yet. Measure a pick, and it is listed here.")
    st.markdown("**Front points**")
    st.caption(
        f"{len(scene.front.bytes)} undominated maps under these constraints, in this format. "
        f"They dominate {100 * scene.front.hypervolume:.1f} % of the "
        "box of sizes and usable losses (the hypervolume)."
    )
    st.download_button(
        "Front, CSV",
        _front(scene),
        f"{scene.name}-front.csv",
        "text/csv",
        key="download_front",
        on_click="ignore",
        icon=":material/download:",
    )
    if scene.pick is not None:
        st.markdown("**Layers of the pick**")
        st.dataframe(_layers(scene), hide_index=True, width="stretch", height=300)


def _measured(scene: Scene) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "pick": "★" if scene.pick and m.map_digest == scene.pick.map.digest else "",
            "name": measured_name(m),
            "speech": noted(m.speech, m.speech_digest, m.normalizer, m.asked),
            "utterances": m.utterances,
            "size, MB": round(m.bytes / 1e6, 2),
            "under fp32, %": round(100 * m.reduction_vs_fp32, 1),
            "stored as": layout(m.options),
            "average bits": round(m.avg_bits, 3),
            "stored bits": round(stored_bits(m.bytes, scene.profile), 3),
            "WER, %": round(100 * m.wer, 2),
            "full precision, %": round(100 * m.wer_full_precision, 2),
            "increase, points": round(100 * m.wer_increase, 2),
            "95 % from": round(100 * m.ci95[0], 2),
            "to": round(100 * m.ci95[1], 2),
            "loss measured": float(f"{m.loss:.4g}"),
            "loss predicted": float(f"{m.predicted_loss:.4g}"),
            "map": m.map_digest[:SHORT],
            "when": m.when,
        }
        for m in scene.records
    )


def _front(scene: Scene) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["bytes", "predicted_loss", "predicted_wer_increase"])
    increase = scene.curve.increase(scene.front.loss) if scene.curve is not None else None
    for index, (size, loss) in enumerate(zip(scene.front.bytes, scene.front.loss, strict=True)):
        wer = f"{increase[index]:.6g}" if increase is not None else ""
        table.writerow([int(size), f"{loss:.6g}", wer])
    return text.getvalue()


def _layers(scene: Scene) -> pd.DataFrame:
    import pandas as pd

    pick, units = scene.pick, scene.profile.units
    if pick is None:
        return pd.DataFrame()
    relaxed = pick.allocation.relaxed_bits or [None] * len(units)
    sizes = scene.bytes_per_unit(pick.map.options).tolist()
    chosen = st.session_state.get("layer")
    return pd.DataFrame(
        {
            "chosen": "◆" if unit.name == chosen else "",
            "layer": unit.name,
            "part": unit.part,
            "kind": unit.kind,
            "weights": unit.weights,
            "bits": option.bits,
            "group size": option.group_size,
            "continuous": None if value is None else round(value, 3),
            "bytes": size,
        }
        for unit, option, value, size in zip(units, pick.map.options, relaxed, sizes, strict=True)
    )
