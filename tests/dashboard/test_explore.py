"""Several sessions in a real browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from dashboard.page.knobs import size_range
from genptq_core.profile import Profile, load_profile

from .conftest import Site

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.keys import Keys

from .test_browser import _digest, _press, _until


@dataclass(frozen=True)
class Opened:
    """The page on one made-up profile that was measured, at a middling size."""

    address: str
    profile: Profile


@pytest.fixture(scope="module")
def page(site: Site) -> Opened:
    """The page that all tests here open."""
    found = load_profile(site.profiles / "made-up")
    sizes = size_range(found)
    middle = sizes.text(sizes.values[len(sizes.values) // 3])
    return Opened(site.url("made-up", mb=middle), found)


def _open(browser: Any, address: str) -> str:
    """Open the page; returns the digest it shows once both charts are drawn."""
    browser.get(address)
    digest = _until(lambda: _digest(browser), "the first map")
    return str(digest)


def test_sessions_keep_to_themselves(browser: Any, site: Site) -> None:
    mine = _open(browser, site.address)
    first = browser.current_window_handle
    browser.switch_to.new_window("window")
    try:
        _open(browser, site.address)
        _press(browser, "size", Keys.ARROW_RIGHT * 8)
        other = _until(lambda: _digest(browser) != mine and _digest(browser), "another map")
        browser.switch_to.window(first)
        assert _digest(browser) == mine != other
    finally:
        for window in set(browser.window_handles) - {first}:
            browser.switch_to.window(window)
            browser.close()
        browser.switch_to.window(first)
