"""What a link or a file can bring onto the page, in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile

from .conftest import Site

MARKUP = "*a* <b>x</b> ![p](http://a.example/p.png) [l](http://a.example) www.b.example :red[r]"


def _soon(find: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        try:
            if found := find():
                return found
        except Exception as error:  # noqa: BLE001 - an element may be redrawn meanwhile
            what = f"{what} ({type(error).__name__})"
        time.sleep(0.2)
    raise AssertionError(what)


def _alert(browser: Any) -> Any:
    return _soon(
        lambda: next(iter(browser.find_elements("css selector", '[data-testid="stAlert"]')), None),
        "no alert",
    )


def test_markup_in_a_link_is_text(browser: Any, site: Site) -> None:
    browser.get(f"{site.url('made-up')}&pins={quote(MARKUP)}")
    alert = _alert(browser)
    shown = alert.text.replace("\u2060", "")
    assert MARKUP in shown
    assert not alert.find_elements("css selector", "a, img, b, em, strong, [style*=color]")


def test_a_recording_of_some_megabytes_is_taken(browser: Any, site: Site, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros((27 * 48_000, 2), dtype=np.float32), 48_000)
    assert 5_000_000 < path.stat().st_size < 8_000_000
    browser.get(site.url("made-up", "Listen"))
    box = _soon(
        lambda: browser.find_elements("css selector", ".st-key-voice_box summary"), "no recorder"
    )
    box[0].click()
    given = _soon(
        lambda: browser.find_elements("css selector", ".st-key-voice_file input[type=file]"),
        "no place for a file",
    )
    given[0].send_keys(str(path))
    _soon(
        lambda: [
            button
            for button in browser.find_elements("css selector", ".st-key-voice_send button")
            if button.is_enabled()
        ],
        "the file was not taken",
    )
