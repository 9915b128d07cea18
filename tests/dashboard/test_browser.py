"""The page in a real browser: keys, clicks, the address, a download."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from genptq_core.profile import JSON_NAME
from genptq_core.storage.locations import bundled_profiles

from .conftest import Site

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
WebDriverException = import_module("selenium.common.exceptions").WebDriverException
By = import_module("selenium.webdriver.common.by").By
Keys = import_module("selenium.webdriver.common.keys").Keys


def _until(condition: Callable[[], Any], what: str, seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except WebDriverException:
            pass  # being redrawn
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {what}")


def _digest(browser: Any) -> str:
    """The digest that the page shows for its pick."""
    return str(browser.find_element(By.CSS_SELECTOR, ".genptq").get_attribute("data-digest") or "")


def _query(browser: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(browser.current_url).query)


def _press(browser: Any, knob: str, *keys: str) -> None:
    # The input behind a slider's thumb is hidden from sight, which some drivers take for out of
    # reach: so it is focused first, and the keys go to the page.
    thumb = f"[data-knob='{knob}'] .slide"
    found = _until(lambda: browser.find_element(By.CSS_SELECTOR, thumb), f"the slider {knob}")
    browser.execute_script("arguments[0].focus()", found)
    webdriver.ActionChains(browser).send_keys(*keys).perform()


def _check_no_exception(browser: Any) -> None:
    assert not browser.find_elements(By.CSS_SELECTOR, "[data-testid='stException']")
    faults = [
        entry["message"]
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE" and "Uncaught" in entry["message"]
    ]
    assert faults == []


@pytest.mark.skipif(
    not (bundled_profiles() / "whisper-tiny.en" / JSON_NAME).is_file(),
    reason="the bundled profile is not here",
)
def test_slider_address_and_download(browser: Any, site: Site) -> None:
    browser.get(site.url("whisper-tiny.en"))
    before = _until(lambda: _digest(browser), "the first map")
    size = float(_query(browser)["mb"][0])

    _press(browser, "size", Keys.ARROW_LEFT * 12)
    _until(lambda: _digest(browser) != before, "another map")
    _until(lambda: float(_query(browser)["mb"][0]) < size, "the address to follow")
    size_shown = "return document.querySelector('.genptq .size').textContent"
    assert browser.execute_script(size_shown).endswith("MB")
    _check_no_exception(browser)

    tab = "//*[@role='tab'][contains(., 'Export')]"
    _until(lambda: browser.find_element(By.XPATH, tab).click() is None, "the tab")
    button = ".st-key-download_json button"
    _until(lambda: browser.find_element(By.CSS_SELECTOR, button).click() is None, "Export")
    shown = _until(lambda: _digest(browser), "the map")
    saved = _until(lambda: list(browser.downloads.glob("*.json")), "the download")[0]
    document = json.loads(saved.read_text())
    assert document["digest"].startswith(shown)
    assert shown in saved.name
    assert document["bytes"] <= 1e6 * float(_query(browser)["mb"][0])
    assert len(document["bits"]) > 50

    # The address alone restores the map.
    address = browser.current_url
    browser.get("about:blank")
    browser.get(address)
    assert _until(lambda: _digest(browser), "the restored map") == shown
    _check_no_exception(browser)


# Pairs of texts of the front that overlap, of those that are shown.
OVERLAPS = """
const texts = [...document.querySelectorAll('.front svg text')]
  .filter((e) => e.textContent && getComputedStyle(e).visibility !== 'hidden')
  .map((e) => [e.textContent, e.getBoundingClientRect()]).filter(([, r]) => r.width > 0);
const frame = document.querySelector('.front').getBoundingClientRect();
const bad = texts.flatMap(([a, r], i) => texts.slice(i + 1)
  .filter(([, s]) => r.left < s.right && s.left < r.right && r.top + 2 < s.bottom - 2
    && s.top + 2 < r.bottom - 2)
  .map(([b]) => `${a} | ${b}`));
for (const [a, r] of texts)
  if (r.left < frame.left - 1 || r.right > frame.right + 1) bad.push(`${a} is cut`);
return [bad, texts.length];
"""


@pytest.mark.skipif(
    not (bundled_profiles() / "whisper-tiny.en" / JSON_NAME).is_file(),
    reason="the bundled profile is not here",
)
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_no_two_names_on_the_front_overlap(
    browser: Any, site: Site, width: int, height: int
) -> None:
    device = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    try:
        # At the last size, the pick has a name of its own.
        for model, size in (
            ("whisper-tiny.en", "14"),
            ("made-up", "0.1"),
            ("whisper-tiny.en", "7"),
        ):
            browser.get(site.url(model, mb=size))
            _until(lambda: _digest(browser), "the map")
            overlaps, texts = browser.execute_script(OVERLAPS)
            assert overlaps == [] and texts > 10
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _choose(browser: Any, knob: str, text: str) -> None:
    """Choose what has a text in it from a list."""

    def choose() -> bool:
        box = browser.find_element(By.CSS_SELECTOR, f".st-key-{knob} input")
        browser.execute_script("arguments[0].focus()", box)
        # What is typed filters the list, of which a part is drawn at a time.
        keys = webdriver.ActionChains(browser).send_keys(Keys.ARROW_DOWN)
        keys.key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys(text).perform()
        listed = browser.find_elements(By.CSS_SELECTOR, "[role='option']")
        wanted = [option for option in listed if text in option.text]
        if wanted:
            wanted[0].click()
        return bool(wanted)

    _until(choose, f"{text!r} in the list")


def test_the_format_is_in_the_address(browser: Any, site: Site) -> None:
    browser.get(site.url("formats", target="integer", widths=["3", "8"]))
    first = _until(lambda: _digest(browser), "the first map")
    assert _query(browser)["target"] == ["integer"]
    assert _query(browser)["widths"] == ["3", "8"]

    _choose(browser, "runs", "native")
    native = _until(lambda: _digest(browser) != first and _digest(browser), "the native map")
    _until(lambda: "target" not in _query(browser), "the address to follow")
    assert "widths" not in _query(browser), "the other format's widths are left behind"
    _check_no_exception(browser)

    _choose(browser, "runs", "as runtimes hold")
    shown = _until(lambda: _digest(browser) != native and _digest(browser), "the integer map")
    _until(lambda: _query(browser).get("target") == ["integer"], "the address to follow")
    assert "widths" not in _query(browser)
    _check_no_exception(browser)

    address = browser.current_url
    browser.get("about:blank")
    browser.get(address)
    assert _until(lambda: _digest(browser), "the restored map") == shown
    _check_no_exception(browser)
