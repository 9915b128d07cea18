"""Several sessions in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dashboard.page.knobs import size_range
from genptq_core.measurement.store import ship
from genptq_core.profile import Profile, load_profile, save
from genptq_core.speech.utterances import SpeechSet
from tests.core import synthetic

from .conftest import record, served

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.keys import Keys

from .test_browser import _digest, _press, _until


@dataclass(frozen=True)
class Site:
    """A running page on one made-up profile that was measured, at a middling size."""

    address: str
    profile: Profile


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, demo: SpeechSet) -> Iterator[Site]:
    """One server for the module."""
    profiles = tmp_path_factory.mktemp("profiles")
    made = save(synthetic.profile(1, units=24, width=96), profiles / "made-up")
    maps = [(bits,) * 24 for bits in (3, 4, 6, 8)]
    maps += [(3, 4) * 12, (4, 6) * 12, (3, 8) * 12, (4, 8) * 12, (6, 8) * 12]
    ship(profiles / "made-up", [record(made, widths, demo) for widths in maps])
    with served(profiles, tmp_path_factory.mktemp("site-cache")) as address:
        found = load_profile(profiles / "made-up")
        sizes = size_range(found)
        yield Site(f"{address}?mb={sizes.text(sizes.values[len(sizes.values) // 3])}", found)


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
