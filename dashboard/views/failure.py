"""What went wrong, as the page says it."""

from __future__ import annotations

import streamlit as st

from ..wording import markdown


def show(error: object) -> None:
    """Show an error's words letter by letter: they quote links, files and names from anywhere."""
    st.error(markdown(str(error)))
