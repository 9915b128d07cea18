"""The first screen in a real browser: one server, one page, each test from where the last ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from genptq_core.measurement.store import ship
from genptq_core.profile import Profile, load_profile, save
from genptq_core.speech.utterances import SpeechSet
from tests.core import synthetic

from .conftest import record, served

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from .test_browser import _check_no_exception, _digest, _query, _until

DESK = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}

# What lies on the first screen: words outside charts, and things that can be worked.
FIRST = """
const shown = (e) => {
  const r = e.getBoundingClientRect(), s = getComputedStyle(e);
  return r.width > 2 && r.height > 2 && r.top < innerHeight && r.bottom > 0
    && s.visibility !== 'hidden' && s.opacity !== '0' && e.checkVisibility();
};
const main = document.querySelector('.stMain');
const chart = (e) => e.closest('.front, .layers, .tip');
const words = [];
const walk = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (e.closest('[data-testid="stIconMaterial"], style, script, .spoken, details > div')) continue;
  const said = walk.currentNode.textContent.split(/\\s+/).filter((word) => /\\w/.test(word));
  if (!chart(e) && shown(e)) words.push(...said);
}
const controls = [...main.querySelectorAll('button, input, select, textarea, summary, [role=tab]')]
  .filter((e) => !chart(e) && shown(e) && !e.closest('details > div'))
  .filter((e) => !(e.tagName === 'BUTTON' && e.closest('[data-baseweb=select], .stSelectbox')));
return [words.join(' '), controls.map((e) => e.tagName + ' ' + (e.textContent || e.ariaLabel))];
"""


@dataclass(frozen=True)
class Page:
    """The open page, and the profile that it shows."""

    browser: Any
    address: str
    profile: Profile

    def script(self, text: str, *values: object) -> Any:
        return self.browser.execute_script(text, *values)

    def text(self, name: str) -> str:
        return str(self.script(f"return document.querySelector('.genptq .{name}').textContent"))

    def revision(self) -> int:
        return int(self.script("return +document.querySelector('.genptq').dataset.revision"))

    def mouse(self, kind: str, x: float, y: float, buttons: int = 1) -> None:
        event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons}
        self.browser.execute_cdp_cmd("Input.dispatchMouseEvent", {**event, "clickCount": 1})

    def click(self, x: float, y: float) -> None:
        for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            self.mouse(kind, x, y, buttons)

    def another(self, digest: str) -> str:
        found = _until(lambda: _digest(self.browser) != digest and _digest(self.browser), "a map")
        _check_no_exception(self.browser)
        return str(found)


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory, demo: SpeechSet) -> Iterator[Page]:
    """One server and one page for the module."""
    profiles = tmp_path_factory.mktemp("profiles")
    made = save(synthetic.profile(1, units=24, width=96), profiles / "made-up")
    maps = [(bits,) * 24 for bits in (3, 4, 6, 8)]
    maps += [(3, 4) * 12, (4, 6) * 12, (3, 8) * 12, (4, 8) * 12, (6, 8) * 12]
    ship(profiles / "made-up", [record(made, widths, demo) for widths in maps])
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", DESK)
    with served(profiles, tmp_path_factory.mktemp("live-cache")) as address:
        browser.get(address)
        _until(lambda: _digest(browser), "the first map")
        awaits = "return document.querySelector('.genptq').dataset.awaits"
        _until(lambda: browser.execute_script(awaits) == "", "all maps")
        yield Page(browser, address, load_profile(profiles / "made-up"))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_first_screen_holds_all_of_it(page: Page) -> None:
    bottoms = page.script(
        "return ['.dial', '.line', '.front', '.layers'].map("
        "(s) => document.querySelector(s).getBoundingClientRect().bottom)"
    )
    assert max(bottoms) <= 900
    words, controls = page.script(FIRST)
    assert len(words.split()) <= 120, words
    assert len(controls) <= 22, controls
    lower = words.lower()
    assert not any(word in lower for word in ("nats", "optimum", "stored bits", "digest"))
    assert len(page.browser.find_elements(By.TAG_NAME, "h1")) == 1
    heads = page.script(
        "return [...document.querySelectorAll('h1,h2,h3')].map(e => e.tagName).slice(0, 3)"
    )
    assert heads == ["H1", "H2", "H2"]
    smallest = page.script(
        "return Math.min(...[...document.querySelectorAll('.genptq svg text')]"
        ".map((e) => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 11
    assert "MB" in page.text("spoken") and "Measured:" in page.script(
        "return document.querySelector('.front .drawing').getAttribute('aria-label')"
    )
    assert page.script("return document.querySelector('link[rel~=icon]').href").endswith(".png")


def test_everything_follows_a_drag_and_the_release_is_exact(page: Page) -> None:
    before, drawn, address = _digest(page.browser), page.revision(), page.browser.current_url
    x, y, left, right = page.script(
        "const s = document.querySelector('[data-knob=size] .slide');"
        "const r = s.getBoundingClientRect();"
        "return [r.left + 8 + (r.width - 16) * s.value / s.max, r.top + r.height / 2,"
        " r.left + 8, r.right - 8];"
    )
    bars = "return [...document.querySelectorAll('.layers g:nth-of-type(2) path')]"
    bars += ".map((e) => e.getAttribute('d')).join()"
    dots = "return document.querySelectorAll('.layers .dots').length"
    star_at = "return document.querySelector('.star').getAttribute('transform')"
    seen = []
    page.mouse("mouseMoved", x, y, 0)
    page.mouse("mousePressed", x, y)
    for share in (0.7, 0.6, 0.5):
        last = page.script(star_at)
        page.mouse("mouseMoved", left + share * (right - left), y)
        star = _until(lambda was=last: page.script(star_at) != was and page.script(star_at), "star")
        seen.append((page.text("size"), page.text("wrong"), star, page.script(bars)))
        assert page.script(dots) > 0, "sensitivities stay"
    assert len({size for size, *_ in seen}) == 3 and len({star for _, _, star, _ in seen}) == 3
    assert len({drawn for *_, drawn in seen}) == 3
    assert page.revision() == drawn and page.browser.current_url == address
    page.mouse("mouseReleased", left + 0.5 * (right - left), y, 0)
    page.another(before)
    assert page.revision() == drawn + 1, "one redraw"
    # The rest of the page follows, and draws nothing of the screen again.
    old = parse_qs(urlsplit(address).query)["mb"]
    _until(lambda: _query(page.browser)["mb"] != old, "the address")
    size = float(_query(page.browser)["mb"][0])
    assert page.revision() == drawn + 1
    assert float(page.text("size").split()[0]) <= round(size, 1) + 0.05
    assert page.script(dots) > 0
    shown = page.script("return document.querySelector('[data-knob=size] .typed').value")
    assert float(shown) == size


def _type(page: Page, knob: str, value: str) -> None:
    field = page.browser.find_element(By.CSS_SELECTOR, f"[data-knob='{knob}'] .typed")
    field.clear()
    field.send_keys(value, Keys.ENTER)


def test_sizes_and_points_are_typed_and_chips_pressed(page: Page) -> None:
    before = _digest(page.browser)
    size = page.script("return +document.querySelector('[data-knob=size] .typed').value") * 1.07
    _type(page, "size", f"{size:.5f}")
    before = page.another(before)
    _until(lambda: float(_query(page.browser)["mb"][0]) == float(f"{size:.5f}"), "the address")
    _type(page, "allowed", "3.3")
    before = page.another(before)
    _until(lambda: _query(page.browser).get("points") == ["3.3"], "points in the address")
    assert _query(page.browser)["by"] == ["accuracy"]
    chips = page.browser.find_elements(By.CSS_SELECTOR, ".genptq .chip")
    next(chip for chip in chips if chip.text == "3 bits").click()
    page.another(before)
    _until(lambda: "by" not in _query(page.browser), "by size again")
    address, shown = page.browser.current_url, _digest(page.browser)
    page.browser.get(address)
    assert _until(lambda: _digest(page.browser), "the same map") == shown


def test_a_click_on_a_measured_map_picks_it_and_the_slider_goes_there(page: Page) -> None:
    place = page.script(
        "const r = document.querySelector('.mark.mixed .shape').getBoundingClientRect();"
        "return [r.left + r.width / 2, r.top + r.height / 2];"
    )
    page.click(*place)
    picked = _until(lambda: _query(page.browser).get("pick"), "the pick in the address")[0]
    _until(lambda: _digest(page.browser) == picked, "the picked map")
    assert "measured" in page.text("reason")
    shown = page.script("return document.querySelector('[data-knob=size] .typed').value")
    assert abs(float(shown) - float(page.text("size").split()[0])) < 0.1
    # Without a mouse: from the picked map to the next.
    page.script("document.querySelector('.mark[tabindex=\"0\"]').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    page.another(picked)
    assert not page.browser.find_elements(By.CSS_SELECTOR, ".genptq b b, .genptq .tip b")


def test_a_layer_is_walked_to_raised_and_freed(page: Page) -> None:
    browser = page.browser
    page.script("document.querySelector('.genptq .walk').focus()")
    walk = browser.switch_to.active_element
    walk.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "encoder" in walk.get_attribute("aria-valuetext")
    walk.send_keys(Keys.ENTER)
    name = page.profile.units[2].name
    _until(lambda: _query(browser).get("layer") == [name], "the layer in the address")

    def labels() -> list[str]:
        return [offer.text for offer in browser.find_elements(By.CSS_SELECTOR, ".panel .offer")]

    said = _until(labels, "offers")
    assert any("points" in text or "costs nothing" in text for text in said)
    before = _digest(browser)

    def lock() -> bool:
        offers = browser.find_elements(By.CSS_SELECTOR, ".panel .offer")
        next(offer for offer in offers if offer.text.startswith(("Raise", "Lower"))).click()
        return True

    _until(lock, "a way to lock it")
    page.another(before)
    _until(lambda: _query(browser).get("pins", [""])[0].startswith(f"{name} ="), "the lock")
    assert "points" in _until(lambda: page.text("notes"), "what it costs")
    _until(lambda: page.script("return document.querySelector('.locks').getAttribute('d')"), "mark")

    def free() -> bool:
        offers = browser.find_elements(By.CSS_SELECTOR, ".panel .offer")
        next(offer for offer in offers if offer.text == "Free it").click()
        return True

    _until(free, "a way to free it")
    _until(lambda: "pins" not in _query(browser), "the lock to go")

    def close() -> bool:
        if "layer" in _query(browser):
            browser.find_element(By.CSS_SELECTOR, ".panel .close").click()
        return "layer" not in _query(browser)

    _until(close, "the panel to close")
    _check_no_exception(browser)


def test_the_front_is_zoomed_by_wheel_and_back(page: Page) -> None:
    x, y = page.script(
        "const r = document.querySelector('.front').getBoundingClientRect();"
        "return [r.left + r.width / 2, r.top + r.height / 2];"
    )
    line = "return document.querySelector('.front path.line').getAttribute('d')"
    whole = page.script(line)
    wheel = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": -240}
    page.browser.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
    _until(lambda: page.script(line) != whole, "the zoom")
    page.browser.find_element(By.CSS_SELECTOR, ".front .whole").click()
    _until(lambda: page.script(line) == whole, "the whole front")


def test_two_fingers_zoom_the_front(page: Page) -> None:
    x, y = page.script(
        "const r = document.querySelector('.front').getBoundingClientRect();"
        "return [r.left + r.width / 2, r.top + r.height / 2];"
    )
    line = "return document.querySelector('.front path.line').getAttribute('d')"
    whole, address = page.script(line), page.browser.current_url

    def touch(kind: str, *apart: float) -> None:
        points = [{"x": x + side, "y": y, "id": i} for i, side in enumerate(apart)]
        event = {"type": kind, "touchPoints": points}
        page.browser.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    touch("touchStart", -40)
    touch("touchStart", -40, 40)
    for apart in (60, 90, 120):
        touch("touchMove", -apart, apart)
    near = _until(lambda: page.script(line) != whole and page.script(line), "the zoom")
    for apart in (100, 80):
        touch("touchMove", -apart, apart)
    _until(lambda: page.script(line) not in (near, whole), "a smaller zoom")
    touch("touchEnd")
    page.browser.find_element(By.CSS_SELECTOR, ".front .whole").click()
    _until(lambda: page.script(line) == whole, "the whole front")
    assert page.browser.current_url == address, "no size was picked by it"


def test_a_pick_off_the_scale_says_so(page: Page) -> None:
    note = "return document.querySelector('.front .starnote').textContent"
    before = _digest(page.browser)
    _type(page, "size", "0")
    page.another(before)
    said = _until(lambda: page.script(note), "the mark")
    assert said.startswith("your pick:") and said.endswith("%")
    star = page.script("return document.querySelector('.star').getBoundingClientRect().top")
    strip = page.script("return document.querySelector('.front .strip').getBoundingClientRect()")
    assert strip["top"] - 20 < star < strip["bottom"]
    before = _digest(page.browser)
    _type(page, "size", "1e9")
    page.another(before)
    _until(lambda: page.script(note) == "", "no mark on the scale")


def test_a_mistyped_demand_is_said_above_and_blanks_nothing(page: Page) -> None:
    page.browser.get(f"{page.address}?pins={quote('*fc1* == wide')}")
    _until(lambda: _digest(page.browser), "a map")
    place = "return document.querySelector('.stAlert')?.getBoundingClientRect().bottom"
    assert _until(lambda: page.script(place), "the error") < 300
    assert page.script("return document.querySelector('.front path.line') !== null")
    assert page.script("return document.querySelectorAll('.layers .dots').length") > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_verdict_slider_and_front(page: Page, scheme: str) -> None:
    browser = page.browser
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    try:
        browser.get(page.address)
        _until(lambda: _digest(browser), "a map")
        bottoms = page.script(
            "return ['.verdict', '.slide', '.front'].map("
            "(s) => document.querySelector('.genptq ' + s).getBoundingClientRect().bottom)"
        )
        assert bottoms == sorted(bottoms) and bottoms[-1] <= 844
        assert page.script("return document.documentElement.scrollWidth") <= 390
        # WCAG 2.1, contrast ratio, of all texts of the screen.
        contrasts = page.script(
            "const canvas = document.createElement('canvas').getContext('2d',"
            " {willReadFrequently: true});"
            "const light = (c) => { canvas.fillStyle = '#000'; canvas.fillStyle = c;"
            " canvas.fillRect(0, 0, 1, 1);"
            " return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)"
            ".map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)"
            ".reduce((a, v, i) => a + v * [0.2126, 0.7152, 0.0722][i], 0); };"
            "const ground = light(getComputedStyle(document.querySelector('.stApp'))"
            ".backgroundColor);"
            "const texts = document.querySelectorAll('.genptq svg text, .genptq .line *,"
            " .genptq .reason, .genptq .name, .genptq .unit, .genptq .chip, .genptq h2');"
            "return [...texts].filter((e) => e.textContent.trim()).map((e) => {"
            " const s = getComputedStyle(e);"
            " const a = light(e.closest('svg') ? s.fill : s.color);"
            " return [(Math.max(a, ground) + 0.05) / (Math.min(a, ground) + 0.05),"
            " e.textContent]; });"
        )
        assert min(contrasts)[0] >= 4.5, min(contrasts)
        _check_no_exception(browser)
    finally:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", DESK)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
