"""Exploring in a real browser: charts, layers, demands, sessions, small and dark screens."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest

from dashboard.page.knobs import size_range
from genptq_core.profile import Profile, load_profile

from .conftest import Site

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from .test_browser import _check_no_exception, _digest, _press, _query, _until

DRAWN = "return document.querySelectorAll('.plot[data-revision] .main-svg').length >= 4"


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
    _until(lambda: browser.execute_script(DRAWN), "both charts")
    return str(digest)


def _click_at(browser: Any, key: str, trace: str, index: int) -> None:
    """Click where a chart drew a point of a trace."""
    x, y = browser.execute_script(
        "const plot = document.querySelector(`.st-key-${arguments[0]} .plot`);"
        "plot.scrollIntoView({block: 'center'});"
        "const trace = plot._fullData.find(t => t.name === arguments[1]);"
        "const full = plot._fullLayout, box = plot.getBoundingClientRect();"
        "const axis = (name) => full[name[0] + 'axis' + name.slice(1)];"
        "const [a, b] = [axis(trace.xaxis), axis(trace.yaxis)], i = arguments[2];"
        "const low = trace.type === 'bar' ? 0.5 : 1;"
        "return [box.left + a._offset + a.d2p(trace.x[i]),"
        " box.top + b._offset + b.d2p(trace.y[i] * low)];",
        key,
        trace,
        index,
    )
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        browser.execute_cdp_cmd(
            "Input.dispatchMouseEvent",
            {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1},
        )
        time.sleep(0.3)


def _button(browser: Any, key: str) -> None:
    def press() -> bool:
        found = browser.find_element(By.CSS_SELECTOR, f".st-key-{key} button")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()
        return True

    _until(press, key)


def _text(browser: Any, key: str) -> str:
    return str(browser.find_element(By.CSS_SELECTOR, f".st-key-{key}").text)


def test_a_layer_is_chosen_locked_restored_and_freed(browser: Any, page: Opened) -> None:
    before = _open(browser, page.address)
    bits = browser.execute_script(
        "return document.querySelector('.st-key-layers_chart .plot').data[0].y"
    )
    index = bits.index(min(bits))  # one that can be raised
    _click_at(browser, "layers_chart", "bits", index)
    name = page.profile.units[index].name
    _until(lambda: _query(browser).get("layer") == [name], "the layer in the address")
    _button(browser, "layer_raise")
    locked = _until(lambda: _digest(browser) != before and _digest(browser), "another map")
    pins = _until(lambda: _query(browser).get("pins"), "the lock in the address")
    assert pins[0].startswith(f"{name} = ")
    assert "points" in _until(lambda: _text(browser, "price"), "what it costs")
    _check_no_exception(browser)

    # The address alone restores map, lock and layer.
    assert _open(browser, browser.current_url) == locked
    chosen = "return document.querySelector('.st-key-layers_chart .plot').layout.shapes"
    boxes = [s for s in browser.execute_script(chosen) if s["type"] == "rect"]
    assert [box["x0"] for box in boxes] == [index - 0.5]

    _button(browser, "layer_free")
    _until(lambda: _digest(browser) == before, "the map without the lock")
    _until(lambda: "pins" not in _query(browser), "the address to follow")
    _check_no_exception(browser)


def test_layers_are_tied_and_listed(browser: Any, page: Opened) -> None:
    name = page.profile.units[4].name
    _open(browser, f"{page.address}&layer={name}")
    _button(browser, "layer_tie")
    tie = "[data-testid='stPopoverBody'] [class*='st-key-tie-'] button"
    _until(lambda: browser.find_element(By.CSS_SELECTOR, tie).click() or True, "a tie on offer")
    _until(lambda: _query(browser).get("pins", [""])[0].startswith("tie "), "the tie")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    box = browser.find_element(By.CSS_SELECTOR, ".st-key-locks_box summary")
    browser.execute_script("arguments[0].click()", box)
    table = ".st-key-locks_box [data-testid='stDataFrame']"
    _until(lambda: browser.find_element(By.CSS_SELECTOR, table), "the table of demands")
    _check_no_exception(browser)


def test_a_move_redraws_each_chart_once_and_a_click_on_the_front_sets_the_size(
    browser: Any, page: Opened
) -> None:
    first = _open(browser, page.address)
    count = "return [...document.querySelectorAll('.plot')].map(p => +p.dataset.revision)"
    drawn = browser.execute_script(count)
    layers = "return document.querySelector('.st-key-layers_chart .plot').data[0].y"
    bars = browser.execute_script(layers)
    _press(browser, "mb", Keys.ARROW_LEFT * 1)
    moved = _until(lambda: _digest(browser) != first and _digest(browser), "another map")
    _until(lambda: browser.execute_script(count) == [n + 1 for n in drawn], "one redraw each")
    assert browser.execute_script(layers) != bars
    assert "Last move:" in browser.find_element(By.CSS_SELECTOR, "body").text

    at = "return document.querySelector('.st-key-front_chart .plot')._fullData"
    targets = f"{at}.find(t => t.name === 'sizes to click').customdata.map(c => c[0])"
    sizes = [int(value.removeprefix("size:")) for value in browser.execute_script(targets)]
    place = len(sizes) // 4
    _click_at(browser, "front_chart", "sizes to click", place)
    _until(lambda: _digest(browser) != moved, "the map of that size")
    asked = 1e6 * float(_query(browser)["mb"][0])
    assert sizes[place - 1] < asked < sizes[place + 2]
    star = f"{at}.find(t => t.name.startsWith('your pick')).x[0]"
    _until(lambda: abs(1e6 * browser.execute_script(star) / asked - 1) < 0.1, "the star to follow")
    _check_no_exception(browser)


def test_sessions_keep_to_themselves(browser: Any, page: Opened) -> None:
    mine = _open(browser, page.address)
    first = browser.current_window_handle
    browser.switch_to.new_window("window")
    try:
        _open(browser, page.address)
        _press(browser, "mb", Keys.ARROW_RIGHT * 8)
        other = _until(lambda: _digest(browser) != mine and _digest(browser), "another map")
        browser.switch_to.window(first)
        assert _digest(browser) == mine != other
    finally:
        for window in set(browser.window_handles) - {first}:
            browser.switch_to.window(window)
            browser.close()
        browser.switch_to.window(first)


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_a_phone_shows_all_of_it(browser: Any, page: Opened, scheme: str) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    try:
        _open(browser, page.address)
        plots = browser.find_elements(By.CSS_SELECTOR, ".plot")
        assert all(plot.get_attribute("aria-label") for plot in plots)
        assert all(0 < plot.size["width"] <= 390 for plot in plots)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        # The slider stays in sight beside the chart that it moves; rare knobs come after it.
        tops = browser.execute_script(
            "const top = (s) => document.querySelector(s).getBoundingClientRect().top;"
            "document.querySelector('.plot').scrollIntoView({block: 'center'});"
            "return [top('.st-key-mb'), top('.plot'), top('.st-key-widths')];"
        )
        assert 0 <= tops[0] < tops[1] < tops[2]
        # Text on the chart stands out from the page's ground.
        colours = browser.execute_script(
            "const plot = document.querySelector('.plot');"
            "const parts = (c) => c.match(/[0-9.]+/g).slice(0, 3).map(Number);"
            "const light = (c) => parts(c).reduce((a, v) => a + v, 0) / 765;"
            "const text = getComputedStyle(plot.querySelector('.xtick text')).fill;"
            "const ground = getComputedStyle(document.querySelector('.stApp')).backgroundColor;"
            "return [light(text), light(ground)];"
        )
        assert abs(colours[0] - colours[1]) > 0.5
        assert (colours[1] < 0.5) == (scheme == "dark")
        _check_no_exception(browser)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
