"""Slider to redraw in a real browser, and the screenshots in the README.

    python benchmarks/dashboard.py [--moves 40] [--screenshot docs/dashboard.png]

Starts the page on the bundled profile, moves the size slider by its arrow key, and times from the
key press until the pick's digest under the figures has changed and both charts are redrawn. Needs
Chromium and its driver.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parent.parent
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync"
)

SLIDER = '[data-testid="stSlider"] input[type="range"]'

# What a user sees change: the map's digest and the bars of the layers chart.
STATE = """
const caption = [...document.querySelectorAll('[data-testid="stCaptionContainer"] code')];
const paths = [...document.querySelectorAll('.js-plotly-plot .bars path')];
const bars = paths.map(p => p.getAttribute('d'));
const stale = document.querySelectorAll('[data-stale="true"]').length;
return [caption.length ? caption[0].textContent : '', bars.join('|'), stale];
"""


@contextmanager
def server() -> Iterator[str]:
    """The page on a free port of the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py"]
    command += ["--server.port", str(port), "--server.headless", "true"]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "GENPTQ_CACHE": cache}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(200):
                try:
                    with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2):
                        break
                except OSError:
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=20)


@contextmanager
def browser(width: int, height: int) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with a profile of its own."""
    driver_path, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver_path or not chromium:
        sys.exit("Chromium and its driver are needed: apt-get install chromium chromium-driver")
    with tempfile.TemporaryDirectory() as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (*ARGUMENTS.split(), f"--user-data-dir={folder}"):
            options.add_argument(argument)
        options.add_argument(f"--window-size={width},{height}")
        driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
        try:
            yield driver
        finally:
            driver.quit()


def wait_for_charts(driver: webdriver.Chrome) -> None:
    """Wait until both charts are drawn and nothing is stale."""
    WebDriverWait(driver, 90, 0.05).until(
        lambda d: (
            len(d.find_elements(By.CSS_SELECTOR, ".js-plotly-plot .main-svg")) >= 2
            and d.execute_script(STATE)[0]
            and not d.execute_script(STATE)[2]
        )
    )


def round_trips(driver: webdriver.Chrome, moves: int) -> np.ndarray:
    """Milliseconds from key press to redrawn page, one a move."""
    times = []
    slider = driver.find_element(By.CSS_SELECTOR, SLIDER)
    for move in range(moves):
        before = driver.execute_script(STATE)
        started = time.perf_counter()
        # Hidden from sight, which some drivers take for out of reach: focused, it gets the keys.
        driver.execute_script("arguments[0].focus()", slider)
        key = Keys.ARROW_LEFT if move < moves // 2 else Keys.ARROW_RIGHT
        webdriver.ActionChains(driver).send_keys(key).perform()
        WebDriverWait(driver, 30, 0.005).until(
            lambda d, before=before: (
                (now := d.execute_script(STATE))[0] != before[0] and now[1] != before[1]
            )
        )
        times.append(1000 * (time.perf_counter() - started))
        slider = driver.find_element(By.CSS_SELECTOR, SLIDER)
        time.sleep(0.3)
    return np.array(times)


def main() -> None:
    """Time the page, and take its picture where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=40)
    parser.add_argument("--screenshot", type=Path)
    options = parser.parse_args()
    with server() as address, browser(1440, 1500) as driver:
        started = time.perf_counter()
        driver.get(address)
        wait_for_charts(driver)
        print(f"cold start to first charts: {time.perf_counter() - started:.1f} s")
        if options.screenshot:
            options.screenshot.parent.mkdir(parents=True, exist_ok=True)
            time.sleep(2)
            driver.save_screenshot(str(options.screenshot))
        if options.moves:
            times = round_trips(driver, options.moves)
            print(
                f"slider to redraw, {len(times)} moves: median {np.median(times):.0f} ms, "
                f"95th percentile {np.quantile(times, 0.95):.0f} ms"
            )


if __name__ == "__main__":
    main()
