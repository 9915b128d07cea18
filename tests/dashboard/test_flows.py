"""Whole flows in a real browser, with real worker processes on a very small model."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from genptq_core.options import coded_options, grid_options
from genptq_core.profile import Settings, load_profile
from genptq_core.profiling.compute import compute
from genptq_core.speech.utterances import load_manifest

from .conftest import DEMO, Site

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from .test_browser import _check_no_exception, _digest, _press, _query, _until

TABS = ("Listen", "Compare", "Measure", "Export", "Profiles", "Table")
CHART = ".js-plotly-plot .main-svg"


@pytest.fixture(scope="module")
def small(site: Site, random_whisper: Path) -> Path:
    """A very small model, whose profile `small` the page has."""
    from genptq_core.loading import load_model

    settings = Settings(grid_options((3, 4), (8,)) + coded_options((3,)), draws=1)
    model, speech = load_model(str(random_whisper)), load_manifest(DEMO, 2)
    compute(model, speech, site.profiles / "small", settings)
    return random_whisper


def _css(browser: Any, selector: str) -> Any:
    return _until(lambda: browser.find_element(By.CSS_SELECTOR, selector), selector)


def _click(browser: Any, selector: str) -> None:
    def click() -> bool:
        found = browser.find_element(By.CSS_SELECTOR, selector)
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()
        return True

    _until(click, f"a click on {selector}")


def _write(browser: Any, key: str, text: str) -> None:
    field = _css(browser, f".st-key-{key} input")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", field)
    field.send_keys(Keys.CONTROL + "a")
    field.send_keys(text + Keys.TAB)


def _says(browser: Any, text: str) -> None:
    _until(lambda: text in browser.find_element(By.TAG_NAME, "body").text, repr(text))


def _gone(browser: Any, selector: str) -> None:
    """Wait until nothing has it: what is drawn anew lets go of what was there a little later."""
    _until(lambda: not browser.find_elements(By.CSS_SELECTOR, selector), f"the end of {selector}")


def test_picks_are_kept_undone_and_compared(browser: Any, site: Site) -> None:
    browser.get(site.url("made-up", "Compare"))
    first = _until(lambda: _digest(browser), "the first map")
    _click(browser, ".st-key-pick_bar button")
    # Typed without Enter.
    field = _css(browser, ".st-key-keep_name input")
    field.send_keys(Keys.CONTROL + "a")
    field.send_keys("<b>mine</b>")
    _click(browser, ".st-key-keep button")
    _says(browser, "Kept as <b>mine</b>")
    webdriver.ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    _press(browser, "size", Keys.ARROW_LEFT)
    second = _until(lambda: _digest(browser) != first and _digest(browser), "another map")
    _says(browser, "B is")
    _says(browser, "kept: <b>mine</b>")
    for chart in ("transition_chart", "changes_chart"):
        _css(browser, f".st-key-{chart} {CHART}")
    assert not browser.find_elements(By.CSS_SELECTOR, "[data-testid='stMarkdownContainer'] b")

    _click(browser, ".st-key-pick_bar button")
    _click(browser, ".st-key-undo button:not([disabled])")
    _until(lambda: _digest(browser) == first, "the first map again")
    size = _query(browser)["mb"]
    _click(browser, ".st-key-redo button:not([disabled])")
    _until(lambda: _digest(browser) == second, "the second map again")
    _until(lambda: _query(browser)["mb"] != size, "the address to follow")

    browser.refresh()
    _until(lambda: _digest(browser) == second, "the second map after a reload")
    _says(browser, "kept: <b>mine</b>")
    _check_no_exception(browser)


def test_the_report_opens_without_a_network(browser: Any, site: Site) -> None:
    browser.get(site.url("made-up", "Export"))
    shown = _until(lambda: _digest(browser), "the map")
    _click(browser, ".st-key-download_report button")
    saved = _until(lambda: list(browser.downloads.glob("*.html")), "the report")[0]
    assert shown in saved.name
    browser.get_log("browser")
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        browser.get(saved.as_uri())
        _until(lambda: _digest(browser) == shown, "the screen")
        assert shown in browser.find_element(By.TAG_NAME, "body").text
        # The screen works there as it does on the page.
        text = "return document.querySelector('.genptq .size').textContent"
        before = browser.execute_script(text)
        _press(browser, "size", Keys.END)
        _until(lambda: browser.execute_script(text) != before, "a drag in the report")
        # Names from files are shown as text, never as markup.
        _says(browser, "<b>bold</b> *star*")
        assert not browser.find_elements(By.CSS_SELECTOR, "table b")
        assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    finally:
        browser.execute_cdp_cmd("Network.disable", {})


def test_a_measurement_and_an_export_outlive_a_reload(
    browser: Any, site: Site, small: Path
) -> None:
    """One worker does both, one after the other, while the page is elsewhere."""
    browser.get(site.url("small", "Measure"))
    _until(lambda: _digest(browser), "the map")
    _write(browser, "measure_limit", "2")
    _click(browser, ".st-key-measure_this button")
    _css(browser, "[class*='st-key-job-']")
    browser.get("about:blank")
    browser.get(site.url("small", "Export"))
    shown = _until(lambda: _digest(browser), "the map")
    _click(browser, ".st-key-export-native button")
    zipped = "[class*='st-key-zip-'] button"
    _until(lambda: browser.find_elements(By.CSS_SELECTOR, zipped), "the export")
    _click(browser, zipped)
    saved = _until(lambda: list(browser.downloads.glob("*.zip")), "the download")[0]
    with zipfile.ZipFile(io.BytesIO(saved.read_bytes())) as archive:
        assert f"small-{shown}-native/bitmap.json" in archive.namelist()
        assert archive.testzip() is None
    browser.get(site.url("small", "Measure"))
    past = "[class*='st-key-past-']"
    _until(lambda: ": done." in _css(browser, past).text, "both jobs to be done")
    _says(browser, "measured, ")
    _check_no_exception(browser)


def test_a_job_is_cancelled(browser: Any, site: Site, small: Path, tmp_path: Path) -> None:
    lines = []
    for index in range(1000):  # work for minutes
        name = f"{index}.wav"
        soundfile.write(tmp_path / name, np.full(800, 1e-4 * index, dtype=np.float32), 16_000)
        lines.append(f'{{"audio": "{name}", "text": "number {index}"}}')
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    browser.get(site.url("small", "Measure"))
    _until(lambda: _digest(browser), "the map")
    _write(browser, "manifest_whisper", str(tmp_path / "many.jsonl"))
    _write(browser, "measure_limit", "0")
    _click(browser, ".st-key-measure_this button")
    _click(browser, "[class*='st-key-cancel-'] button")
    _says(browser, ": cancelled.")
    _gone(browser, "[class*='st-key-job-']")
    _click(browser, "[class*='st-key-forget-'] button")
    _until(lambda: ": cancelled." not in browser.find_element(By.TAG_NAME, "body").text, "no job")
    _check_no_exception(browser)


def test_a_recording_is_heard_by_both_and_deleted(
    browser: Any, site: Site, small: Path, tmp_path: Path
) -> None:
    path = tmp_path / "my <b>voice.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(path, noise, 16_000)
    browser.get(site.url("small", "Listen"))
    _until(lambda: _digest(browser), "the map")
    _click(browser, ".st-key-voice_box summary")
    _css(browser, ".st-key-voice_file input[type='file']").send_keys(str(path))
    _click(browser, ".st-key-voice_send button:not([disabled])")
    _css(browser, "[class*='st-key-job-']")
    card = "[class*='st-key-voice-result-']"
    text = _until(lambda: browser.find_element(By.CSS_SELECTOR, card).text, "the transcripts")
    assert "my <b>voice" in text and "Full precision" in text
    _until(lambda: not list((site.cache / "uploads").iterdir()), "the recording to be deleted")
    browser.refresh()
    _css(browser, card)
    # Another browser has another cookie, and reads nothing of it.
    browser.delete_all_cookies()
    browser.get(site.url("small", "Listen"))
    _until(lambda: _digest(browser), "the map")
    _css(browser, ".st-key-voice_box")
    assert not browser.find_elements(By.CSS_SELECTOR, card)
    _check_no_exception(browser)


def test_what_is_no_recording_is_refused(
    browser: Any, site: Site, small: Path, tmp_path: Path
) -> None:
    path = tmp_path / "fake.wav"
    path.write_bytes(b"<script>alert(1)</script>")
    browser.get(site.url("small", "Listen"))
    _until(lambda: _digest(browser), "the map")
    _click(browser, ".st-key-voice_box summary")
    _css(browser, ".st-key-voice_file input[type='file']").send_keys(str(path))
    _click(browser, ".st-key-voice_send button:not([disabled])")
    _says(browser, "The recording cannot be decoded as audio")
    _gone(browser, "[class*='st-key-job-']")


def test_a_profile_is_computed_from_the_page(browser: Any, site: Site, small: Path) -> None:
    browser.get(site.url("made-up", "Profiles"))
    _until(lambda: _digest(browser), "the map")
    _write(browser, "profile_model", str(small))
    _write(browser, "profile_name", "mine")
    _write(browser, "profile_limit", "2")
    _click(browser, ".st-key-profile_options summary")
    _write(browser, "pf_bits", "4")
    _write(browser, "pf_groups", "8")
    _write(browser, "pf_rates", "0")
    _says(browser, "--rates 0")
    _click(browser, ".st-key-profile_start button:not([disabled])")
    _css(browser, "[class*='st-key-job-']")
    _until(lambda: (site.profiles / "mine" / "profile.json").is_file(), "the profile")
    assert [option.key for option in load_profile(site.profiles / "mine").menu] == ["4/8", "16"]
    _until(lambda: browser.find_elements(By.CSS_SELECTOR, "[class*='st-key-past-']"), "the end")
    browser.get(site.url("mine", "Profiles"))
    _until(lambda: _digest(browser), "its map")
    _check_no_exception(browser)


def test_nothing_is_wider_than_a_phone(browser: Any, site: Site) -> None:
    narrow = {"width": 390, "height": 1600, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    try:
        browser.get(site.url("made-up", TABS[0]))
        _until(lambda: _digest(browser), "the map")
        for tab in TABS:
            button = f"//*[@role='tab'][contains(., '{tab}')]"
            _until(lambda at=button: browser.find_element(By.XPATH, at).click() is None, tab)
            chosen = f"{button}[@aria-selected='true']"
            _until(lambda at=chosen: browser.find_elements(By.XPATH, at), f"{tab} to open")
            width = browser.execute_script("return document.documentElement.scrollWidth")
            assert width <= 390, tab
            _check_no_exception(browser)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
