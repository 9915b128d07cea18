"""The live screen in the browser: sliders, figures, front and layers as one component.

Its modules lie in `screen/`, plain JavaScript without a build step. They are put together into one
script, which the page and the report share. The table of maps travels in an element of its own:
its content is the same at every move, so Streamlit sends it once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

_FOLDER = Path(__file__).with_name("screen")
_MODULES = ("table.js", "svg.js", "labels.js", "front.js", "layers.js", "dial.js", "screen.js")
_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./[a-z]+\.js\";\n", re.MULTILINE)


@lru_cache(maxsize=4)
def script(entry: str = "") -> str:
    """The modules as one script, after them a module that begins; none is left out or twice."""
    texts = [(_FOLDER / name).read_text(encoding="utf-8") for name in _MODULES]
    joined = re.sub(r"^export (?!default)", "", "".join(texts), flags=re.MULTILINE)
    if entry:
        joined += (_FOLDER / entry).read_text(encoding="utf-8")
    return _IMPORT.sub("", joined)


def markup() -> str:
    """The screen's empty elements."""
    return (_FOLDER / "screen.html").read_text(encoding="utf-8")


def style() -> str:
    """How they look."""
    return (_FOLDER / "screen.css").read_text(encoding="utf-8")


@st.cache_resource(show_spinner=False)
def _components() -> tuple[Any, Any]:
    """The screen, and the element that carries tables, script and style."""
    small = (_FOLDER / "screen_element.js").read_text(encoding="utf-8")
    screen = st.components.v2.component("screen", html=markup(), js=small, isolate_styles=False)
    carrier = st.components.v2.component(
        "screen_table", html="<i></i>", css=style(), js=script("carried.js"), isolate_styles=False
    )
    return screen, carrier


def _sent(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


Asked = Callable[[dict[str, Any]], None]
"""Called with what the user asked for, before what holds the element is drawn again."""


def carry(table: dict[str, Any], on_ask: Asked) -> None:
    """Bring a table, `live_table.table_of`'s, to the browser; `on_ask` as in `screen`."""
    _, carrier = _components()
    key, content = "screen_table", _carried(table, table["id"])
    carrier(key=key, data=content, on_asked_change=lambda: _hear(key, on_ask))


@st.cache_resource(max_entries=16, show_spinner=False)
def _carried(_table: dict[str, Any], id: str) -> bytes:
    return _sent(_table)


def screen(pick: dict[str, Any], on_ask: Asked) -> None:
    """Draw the screen, as soon as its table is there.

    Args:
        pick: what `live_pick.pick_of` returns.
        on_ask: called with what the user asked for of the screen alone.
    """
    drawn, _ = _components()
    key = "screen"
    drawn(key=key, data=_sent(pick), on_asked_change=lambda: _hear(key, on_ask))


def _hear(key: str, on_ask: Asked) -> None:
    value = st.session_state[key].asked
    if isinstance(value, str):
        on_ask(json.loads(value))
