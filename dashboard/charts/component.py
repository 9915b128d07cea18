"""A Plotly chart that stays in the browser: a redraw sends data alone, and a click comes back.

Streamlit's own chart checks a figure and draws all of it again at every move of a slider. Here a
figure is a plain dictionary (`data` and `layout`), and the browser draws what has changed.
The library is the copy in the plotly package, so nothing is fetched from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly
import streamlit as st

_HTML = '<div class="plot" role="img"></div>'
_CSS = ".plot { width: 100%; } .plot .nsewdrag { cursor: pointer; }"
_JS = Path(__file__).with_name("plot.js").read_text(encoding="utf-8")

Figure = dict[str, Any]
"""A figure as Plotly's JavaScript takes it: {"data": [...], "layout": {"height": ...}}."""


@st.cache_resource(show_spinner=False)
def _component() -> tuple[Any, str]:
    """The component, and the address of Plotly's script."""
    package = Path(plotly.__file__).parent / "package_data"
    # Declared only so that the server hands out the files of its folder.
    served = st.components.v1.declare_component("plotly", path=str(package))
    drawn = st.components.v2.component("plot", html=_HTML, css=_CSS, js=_JS, isolate_styles=False)
    return drawn, f"component/{served.name}/plotly.min.js"


def plot(figure: Figure, key: str, alt: str, on_click: Callable[[str], None] | None = None) -> None:
    """Draw a figure.

    Args:
        figure: traces and layout, of plain numbers, strings, lists and dictionaries.
        key: key of the chart, unique on the page.
        alt: what the chart shows, for people who do not see it.
        on_click: called with the clicked point's first `customdata` before the page is redrawn.
    """
    component, address = _component()
    content = {"figure": figure, "alt": alt, "plotly": address}

    def clicked() -> None:
        value = st.session_state[key].clicked
        if on_click is not None and isinstance(value, str):
            on_click(value)

    component(
        key=key,
        data=json.dumps(content, separators=(",", ":"), allow_nan=False).encode(),
        on_clicked_change=clicked,
    )
