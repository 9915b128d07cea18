"""Which pages may connect to this one."""

from __future__ import annotations

import pytest
from streamlit.runtime.context import ContextProxy

from dashboard.page.origin import foreign
from genptq_core.cli.dashboard import LOOPBACK
from genptq_core.profile import Profile
from tests.dashboard.test_app import _errors, _page

NAMES = (*LOOPBACK, "models.example.com")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "127.0.0.1:8501"),
        ("http://127.0.0.1:8501", "127.0.0.1:8501"),
        ("http://localhost:8501", "localhost:8501"),
        ("http://[::1]:8501", "[::1]:8501"),
        ("https://models.example.com", "models.example.com"),
        ("https://models.example.com", "127.0.0.1:8501"),
    ],
)
def test_the_page_itself_may(origin: str | None, host: str) -> None:
    assert not foreign(origin, host, NAMES)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:8502",
        "http://127.0.0.1:3000",
        "http://localhost:8501",
        "http://127.0.0.1",
        "https://evil.example",
        "https://models.example.com.evil.example",
        "null",
        "file://",
        "http://[",
    ],
)
def test_no_other_page_may(origin: str) -> None:
    assert foreign(origin, "127.0.0.1:8501", NAMES)


def test_a_page_of_another_program_on_this_machine_is_shown_nothing(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for origin, shown in (("http://localhost:3000", False), ("http://localhost:8501", True)):
        headers = {"Origin": origin, "Host": "localhost:8501"}
        monkeypatch.setattr(ContextProxy, "headers", headers)
        page = _page()
        assert bool(page.metric) == shown
        assert any("Another page" in error for error in _errors(page)) != shown
